"""The durable work: processing and delivery that survive a crash at any point."""

from dicom_node.workflows.leftovers import remove_unfinished
from dicom_node.workflows.pipeline_processor import PipelineProcessor
from dicom_node.workflows.processing import RESULTS, StudyProcessor, Threaded
from dicom_node.workflows.workflows import DRAINING, PAUSED, Workflows

__all__ = [
    "DRAINING",
    "PAUSED",
    "RESULTS",
    "PipelineProcessor",
    "StudyProcessor",
    "Threaded",
    "Workflows",
    "remove_unfinished",
]
