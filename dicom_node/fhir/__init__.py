"""FHIR: DiagnosticReport in, and results out as a Bundle in the shape of IHE IMR."""

from dicom_node.fhir.bundle import make_bundle, write_fhir_json
from dicom_node.fhir.outcome import operation_outcome
from dicom_node.fhir.reading import read_reports

__all__ = ["make_bundle", "operation_outcome", "read_reports", "write_fhir_json"]
