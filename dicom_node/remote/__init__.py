"""Models elsewhere: what leaves for them is de-identified, what returns is put back."""

from dicom_node.remote.gateway import RemoteGateway
from dicom_node.remote.grounder import RemoteAnswers
from dicom_node.remote.model import RemoteModel

__all__ = ["RemoteAnswers", "RemoteGateway", "RemoteModel"]
