"""What the node found, and the objects that say so."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from dicom_node.records.images import ImageSeries
from dicom_node.records.phrases import Phrase, PhraseStatus
from dicom_node.records.reports import Report
from dicom_node.records.studies import NotProcessed, PriorStudy, StoredInstance

__all__ = [
    "BoundingBox",
    "Mask",
    "ObjectReference",
    "PhraseResult",
    "Region",
    "ResultObject",
    "StudyResult",
]

Mask: TypeAlias = npt.NDArray[np.bool_]
"""A binary mask of shape ``(frames, rows, columns)``."""


@dataclass(frozen=True, slots=True)
class BoundingBox:
    """A box on one frame: ``xyxy`` in pixels, pixel (0, 0) covers [0, 1) x [0, 1)."""

    frame_index: int
    xyxy: tuple[float, float, float, float]
    score: float


@dataclass(frozen=True, eq=False)
class Region:
    """Where a phrase is in one series.

    ``mask`` is cropped to its bounding box and starts at ``mask_origin``
    ``(frame_index, row, column)`` of the series' grid.
    """

    series_instance_uid: str
    mask: Mask
    mask_origin: tuple[int, int, int]
    boxes: tuple[BoundingBox, ...]
    score: float
    uncertainty: float
    tracking_id: str
    tracking_uid: str
    stack_number: int = 1
    """With the series UID it names the ``ImageSeries`` whose grid this is in."""
    probability: npt.NDArray[np.uint8] | None = None
    """Of each voxel of the mask's box, 255 for certain; None: nobody asked, or the
    model gives none."""


@dataclass(frozen=True, eq=False)
class PhraseResult:
    """A phrase with what the model found for it.

    ``status`` is the final word: the report's ABSENT, or the model's "not
    present" for phrases that no report states, or the report's own status.
    ``regions`` is empty when nothing is drawn; ``score`` is the model's
    probability that the phrase is in the images, None when it was not asked.
    """

    phrase: Phrase
    status: PhraseStatus
    regions: tuple[Region, ...] = ()
    score: float | None = None
    uncertainty: float | None = None


@dataclass(frozen=True, slots=True)
class ObjectReference:
    """A reference to a DICOM object (PS3.3 10.8)."""

    sop_class_uid: str
    sop_instance_uid: str
    series_instance_uid: str
    study_instance_uid: str


@dataclass(frozen=True, slots=True)
class ResultObject:
    """A DICOM object that the node made, as a file. ``path`` is absolute.

    ``segments`` maps a region's tracking UID to its segment number (SEG only).
    """

    path: Path
    reference: ObjectReference
    sha256: str
    transfer_syntax_uid: str
    segments: Mapping[str, int] = field(default_factory=dict)
    profile: str = "default"
    """The destination profile it was made for; only destinations with this profile
    get it."""


@dataclass(frozen=True, eq=False)
class StudyResult:
    """Everything the node found in one version of a study."""

    study_instance_uid: str
    content_version: str
    series: tuple[ImageSeries, ...]
    reports: tuple[Report, ...]
    phrases: tuple[PhraseResult, ...]
    not_processed: tuple[NotProcessed, ...]
    model_name: str
    model_version: str
    model_sha256: str
    configuration_sha256: str
    """Hash of what else shapes the content: given phrases and report, software, what
    was not processed and why, predecessors."""
    content_datetime: datetime
    """The latest date and time found in the source instances: results carry it as
    their content date, so that the same input gives the same bytes wherever and
    whenever it is processed."""
    predecessors: tuple[ObjectReference, ...] = ()
    priors: tuple[PriorStudy, ...] = ()
    """Earlier studies, as `StudyReady.priors`."""
    instances: tuple[StoredInstance, ...] = ()
    """Every instance of the study: where the study module comes from when no series
    could be processed."""
    computed_on: tuple[str, ...] = ()
    """The devices that the model answered on (`GroundedPrompt.computed_on`): the last
    digits of its answers depend on them."""
