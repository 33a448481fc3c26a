"""`dicom-node serve`: every room wired, in the order in which each may trust others."""

from dicom_node.service.claim import LOCK_FILE
from dicom_node.service.daemon import run_node
from dicom_node.service.node import NodeService

__all__ = ["LOCK_FILE", "NodeService", "run_node"]
