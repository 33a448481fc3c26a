"""DICOMweb on what the node holds: search, retrieve and store (PS3.18 10)."""

from dicom_node.dicomweb.service import DicomwebService

__all__ = ["DicomwebService"]
