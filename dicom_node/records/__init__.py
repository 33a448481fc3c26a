"""The frozen records that rooms hand on: what flows through the house.

Grids: an ``ImageSeries`` orders its frames once; every mask and box of a result
counts frames in that order (``frame_index`` from 0) and pixels in the source's
own rows and columns. Nothing that leaves the node is in another grid.
"""

from dicom_node.records.images import FrameReference, ImageSeries
from dicom_node.records.phrases import Code, Finding, Laterality, Phrase, PhraseStatus
from dicom_node.records.reports import (
    IncomingReport,
    Report,
    ReportChannel,
    ReportStatus,
)
from dicom_node.records.results import (
    BoundingBox,
    Mask,
    ObjectReference,
    PhraseResult,
    Region,
    ResultObject,
    StudyResult,
)
from dicom_node.records.studies import (
    NotProcessed,
    PriorStudy,
    ReceivedInstance,
    StoredInstance,
    StudyReady,
)

__all__ = [
    "BoundingBox",
    "Code",
    "Finding",
    "FrameReference",
    "ImageSeries",
    "IncomingReport",
    "Laterality",
    "Mask",
    "NotProcessed",
    "ObjectReference",
    "Phrase",
    "PhraseResult",
    "PhraseStatus",
    "PriorStudy",
    "ReceivedInstance",
    "Region",
    "Report",
    "ReportChannel",
    "ReportStatus",
    "ResultObject",
    "StoredInstance",
    "StudyReady",
    "StudyResult",
]
