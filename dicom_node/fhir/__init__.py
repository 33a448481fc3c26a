"""FHIR: DiagnosticReport in, and results out as a Bundle in the shape of IHE IMR.

Reading stands here; `dicom_node.fhir.bundle` writes. A receiver that only reads need
not load what writes objects and pictures.
"""

from dicom_node.fhir.outcome import operation_outcome
from dicom_node.fhir.reading import read_reports

__all__ = ["operation_outcome", "read_reports"]
