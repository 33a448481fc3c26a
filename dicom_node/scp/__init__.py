"""The SCP: from a socket to instances, and to answers that keep what they say."""

from dicom_node.scp.server import DicomServer, OnRelease, ServerStatistics

__all__ = ["DicomServer", "OnRelease", "ServerStatistics"]
