"""Work from a UPS-RS worklist: claimed, done, and told (IHE AI Workflow)."""

from dicom_node.worklist.client import WorklistClient
from dicom_node.worklist.performer import WorklistPerformer

__all__ = ["WorklistClient", "WorklistPerformer"]
