"""The answers about one study, as models."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal

from pydantic import Field

from dicom_node.store.corrections import CorrectionAction
from dicom_node.web.answers import Answer, StudySummary

__all__ = [
    "Box",
    "Coded",
    "CorrectionAnswer",
    "CorrectionBrief",
    "CorrectionFrame",
    "DeliveryRow",
    "EventAnswer",
    "LeftOut",
    "ModelAnswer",
    "ObjectAnswer",
    "ObjectKind",
    "PhraseAnswer",
    "RegionAnswer",
    "RegionPixels",
    "ReportAnswer",
    "SegmentAnswer",
    "SeriesAnswer",
    "Sides",
    "StudyDetail",
    "VersionAnswer",
    "WindowAnswer",
]

ObjectKind = Literal["SEG", "SR", "PR", "SC", "KO", "PDF", "other"]
"""What a result object is."""


class Coded(Answer):
    """A coded concept, PS3.3 8."""

    scheme: str
    value: str
    meaning: str


class VersionAnswer(Answer):
    """One content version of the study."""

    content_version: str
    state: str
    reason: str | None
    run: int
    rule: str | None
    model: str | None
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    is_latest: bool
    has_result: bool
    corrected_regions: int
    """How many of its regions people judged; that stays with this version."""


class ReportAnswer(Answer):
    """A report; the spans of phrases with the same ``source`` count its characters."""

    source: str
    channel: str
    status: str | None
    text: str
    received_at: datetime | None
    is_current: bool
    is_prior: bool
    study_date: str | None


class Box(Answer):
    """A box on one frame, in pixels; ``frame`` counts the series' frames from 0."""

    frame: int
    xyxy: tuple[float, float, float, float]
    score: float | None


class SegmentAnswer(Answer):
    """The segment that outlines a region."""

    sop_instance_uid: str
    segment_number: int


class CorrectionBrief(Answer):
    """What was said last of a region."""

    action: CorrectionAction
    person: str
    at: datetime
    comment: str


class RegionAnswer(Answer):
    """Where a phrase is in one series."""

    tracking_uid: str
    series: int
    colour: str
    score: float | None
    uncertainty: float | None
    first_frame: int
    best_frame: int
    """The one with most of it."""
    last_frame: int
    boxes: list[Box]
    segment: SegmentAnswer | None
    correction: CorrectionBrief | None


class PhraseAnswer(Answer):
    """A phrase and where it is."""

    index: int
    text: str
    source: str
    span: tuple[int, int] | None
    """Characters (code points) of the report's text."""
    section: str | None
    status: Literal["present", "uncertain", "absent"]
    is_stated: bool
    code: Coded
    site: Coded | None
    laterality: str | None
    score: float | None
    uncertainty: float | None
    regions: list[RegionAnswer]


class Sides(Answer):
    """What the edges of the image are of the patient."""

    left: str
    right: str
    top: str
    bottom: str


class WindowAnswer(Answer):
    """A window, in the values that frames are sent in."""

    name: str
    centre: float
    width: float
    function: Literal["LINEAR", "LINEAR_EXACT", "SIGMOID"]
    """VOI LUT Function (PS3.3 C.11.2.1.3)."""


class SeriesAnswer(Answer):
    """A series whose frames can be shown."""

    index: int
    series_instance_uid: str
    stack_number: int
    modality: str
    description: str
    body_part: str | None
    frames: int
    rows: int
    columns: int
    is_colour: bool
    pixel_spacing_mm: tuple[float, float] | None
    """Between rows, between columns."""
    pixel_aspect: float
    """Height of a pixel by its width, also where the spacing is unknown."""
    sides: Sides | None
    windows: list[WindowAnswer]
    dtype: Literal["int16", "uint8", "rgb8"]
    slope: float
    """A value that is sent, times this, plus ``intercept``, is the modality's."""
    intercept: float


class LeftOut(Answer):
    """What was not processed, and why."""

    series_instance_uid: str
    reason: str


class ModelAnswer(Answer):
    """What found the regions."""

    name: str
    version: str
    sha256: str
    computed_on: tuple[str, ...] = ()
    """The devices that it answered on"""


class ObjectAnswer(Answer):
    """A result object."""

    sop_instance_uid: str
    kind: ObjectKind
    profile: str
    size_bytes: int
    transfer_syntax_uid: str


class DeliveryRow(Answer):
    """One result object at one destination."""

    destination: str
    sop_instance_uid: str
    kind: ObjectKind
    state: str
    attempts: int
    last_status: int | None
    last_comment: str | None
    last_attempt_at: datetime | None
    next_attempt_at: datetime | None
    delivered_at: datetime | None


class EventAnswer(Answer):
    """A line of the audit trail."""

    at: datetime
    kind: str
    subject: str | None
    detail: dict[str, Any]


class StudyDetail(Answer):
    """Everything of one study; phrases and series are of its newest results."""

    study: StudySummary
    shown_version: str | None
    shown_results: str | None
    """Names the results: another run of the same content may find others."""
    versions: list[VersionAnswer]
    reports: list[ReportAnswer]
    phrases: list[PhraseAnswer]
    series: list[SeriesAnswer]
    not_processed: list[LeftOut]
    model: ModelAnswer | None
    warning: str
    objects: list[ObjectAnswer]
    deliveries: list[DeliveryRow]
    events: list[EventAnswer]


class CorrectionFrame(Answer):
    """An outline on one frame: start, length, start, length ... row by row."""

    frame: int = Field(ge=0)
    runs: list[int] = Field(max_length=200_000)


class RegionPixels(Answer):
    """A region as it is in its segmentation."""

    rows: int
    columns: int
    frames: list[CorrectionFrame]


class CorrectionAnswer(CorrectionBrief):
    """What a person said of a region."""

    id: int
    content_version: str
    tracking_uid: str
    frames: list[CorrectionFrame]
