"""Models elsewhere: what leaves for them is de-identified, what returns is put back."""

from dicom_node.remote.gateway import RemoteGateway, RemoteModel
from dicom_node.remote.grounder import RemoteAnswers

__all__ = ["RemoteAnswers", "RemoteGateway", "RemoteModel"]
