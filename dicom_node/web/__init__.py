"""What the node shows over HTTP."""

from dicom_node.web.app import make_app
from dicom_node.web.health import Check, HealthReport, check_disk, examine
from dicom_node.web.metrics import NodeCollector
from dicom_node.web.parts import NodeNumbers, WebParts, make_parts
from dicom_node.web.server import WebServer

__all__ = [
    "Check",
    "HealthReport",
    "NodeCollector",
    "NodeNumbers",
    "WebParts",
    "WebServer",
    "check_disk",
    "examine",
    "make_app",
    "make_parts",
]
