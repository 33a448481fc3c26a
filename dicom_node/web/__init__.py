"""What the node shows over HTTP.

The application is `dicom_node.web.app`, the server `dicom_node.web.server`; the node
loads them when it already receives studies, and what stands here before.
"""

from dicom_node.web.health import Check, HealthReport, check_disk, examine
from dicom_node.web.metrics import NodeCollector

__all__ = ["Check", "HealthReport", "NodeCollector", "check_disk", "examine"]
