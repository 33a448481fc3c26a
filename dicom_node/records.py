"""The frozen records that rooms hand on: what flows through the house.

Grids: an ``ImageSeries`` orders its frames once; every mask and box of a result
counts frames in that order (``frame_index`` from 0) and pixels in the source's
own rows and columns. Nothing that leaves the node is in another grid.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

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

Mask: TypeAlias = npt.NDArray[np.bool_]
"""A binary mask of shape ``(frames, rows, columns)``."""


class PhraseStatus(StrEnum):
    """What the report says about a phrase."""

    PRESENT = "present"
    """The report states it."""
    ABSENT = "absent"
    """The report negates it: it is reported and never drawn."""
    UNCERTAIN = "uncertain"
    """The report hedges."""


class Laterality(StrEnum):
    """Side of the body, CID 244."""

    LEFT = "left"
    RIGHT = "right"
    BILATERAL = "bilateral"


@dataclass(frozen=True, slots=True)
class Code:
    """A coded concept (PS3.3 8): scheme designator, value and meaning."""

    scheme: str
    value: str
    meaning: str


@dataclass(frozen=True, slots=True)
class ReceivedInstance:
    """An instance that lies durably in the spool and not yet in the database.

    ``path`` is relative to the data folder. UIDs are as received: they may be
    empty, and a study or series without one is named by ``assembly``.
    """

    sop_instance_uid: str
    sop_class_uid: str
    transfer_syntax_uid: str
    study_instance_uid: str
    series_instance_uid: str
    path: Path
    sha256: str
    size_bytes: int
    calling_ae_title: str
    peer_address: str
    received_at: datetime
    is_own_result: bool = False
    """True: this node made it; it is kept and never processed."""
    study: Mapping[str, str] = field(default_factory=dict)
    """What it says of patient and study, by keyword (`header.InstanceHeader`)."""
    series: Mapping[str, str] = field(default_factory=dict)
    """What it says of its series."""
    image: Mapping[str, int] = field(default_factory=dict)
    """Instance Number, rows, columns and frames."""


class ReportStatus(StrEnum):
    """How far a report is: HL7 table 0123 and FHIR DiagnosticReport.status."""

    PRELIMINARY = "preliminary"
    FINAL = "final"
    CORRECTED = "corrected"
    """It replaces what was sent before."""
    CANCELLED = "cancelled"
    """It is withdrawn: nothing of it counts."""


class ReportChannel(StrEnum):
    """The door that a report came in by."""

    HL7 = "hl7"
    FHIR = "fhir"
    REST = "rest"


@dataclass(frozen=True, slots=True)
class IncomingReport:
    """A report as a sender hands it over, before a study is found for it.

    At least one of ``study_instance_uid`` and ``accession_number`` is set.
    """

    text: str
    channel: ReportChannel
    status: ReportStatus
    identifier: str
    """What its sender calls it: filler order number, resource id; another text with
    the same sender and identifier replaces it. Empty: one report for each study."""
    sender: str
    """Sending application, or the person who wrote it here."""
    received_at: datetime
    study_instance_uid: str | None = None
    accession_number: str | None = None
    patient_id: str | None = None
    """Where both the report and the study have one, they must agree."""


@dataclass(frozen=True, slots=True)
class StoredInstance:
    """An instance of a study as the workflow sees it: ``path`` is absolute."""

    sop_instance_uid: str
    sop_class_uid: str
    transfer_syntax_uid: str
    series_instance_uid: str
    path: Path
    sha256: str


@dataclass(frozen=True, slots=True)
class StudyReady:
    """A study whose images have stopped arriving.

    ``content_version`` is the SHA-256 over the sorted hashes of its instances and of
    the reports that were sent; with the study UID it names the workflow.
    ``predecessor_version`` is the content version whose results this one supersedes.
    """

    study_instance_uid: str
    content_version: str
    instances: tuple[StoredInstance, ...]
    predecessor_version: str | None = None
    reports: tuple[Report, ...] = ()
    """Reports that came by another way than as documents of the study."""
    priors: tuple[PriorStudy, ...] = ()
    """Earlier studies of the patient that are here, newest first."""


@dataclass(frozen=True, slots=True)
class Report:
    """Report text and where it came from.

    ``source`` is ``sr:<SOP Instance UID>``, ``pdf:<SOP Instance UID>``,
    ``cda:<SOP Instance UID>``, ``hl7:<number>``, ``fhir:<number>``,
    ``rest:<number>`` (the number is the node's own), ``tag:<keyword>``,
    ``prior:<source>``, ``file`` or ``argument``. ``sop_class_uid`` is set for
    documents, so that results can refer to them.
    """

    text: str
    source: str
    sop_instance_uid: str | None = None
    sop_class_uid: str | None = None
    series_instance_uid: str | None = None
    status: ReportStatus | None = None
    """None: its source does not say."""

    @property
    def is_document(self) -> bool:
        """Whether results can refer to it: it is an object of the study."""
        return bool(
            self.sop_instance_uid and self.sop_class_uid and self.series_instance_uid
        )

    @property
    def is_weak(self) -> bool:
        """Whether it asks rather than states: the reason for the study."""
        return self.source.startswith("tag:")


@dataclass(frozen=True, slots=True)
class PriorStudy:
    """An earlier study of the same patient: shown as such, never drawn on this one."""

    study_instance_uid: str
    study_date: str
    """DA as in the study, YYYYMMDD; empty where it has none."""
    reports: tuple[Report, ...]
    instances: tuple[StoredInstance, ...] = ()
    """Its instances that are here: report documents are read from them."""
    phrases: tuple[Phrase, ...] = ()
    """What its reports say, once they are read."""
    not_processed: tuple[NotProcessed, ...] = ()
    """Its documents that could not be read."""


@dataclass(frozen=True, slots=True)
class Finding:
    """How a phrase is coded in SEG and SR.

    ``category`` and ``type`` are the Segmented Property codes (CID 7150, 7151),
    ``finding`` the SR Finding (121071, DCM), ``site`` its Finding Site.
    """

    category: Code
    type: Code
    finding: Code
    site: Code | None = None


@dataclass(frozen=True, slots=True)
class Phrase:
    """A phrase to ground.

    ``report.text[start:end] == text`` when the phrase comes from a report;
    ``start`` and ``end`` are None otherwise. ``source`` is the report's source,
    ``argument`` or ``vocabulary``. ``prompt`` is what the model is asked: the
    phrase in its own words, with the laterality spelled out.
    """

    text: str
    source: str
    status: PhraseStatus
    finding: Finding
    prompt: str
    laterality: Laterality | None = None
    start: int | None = None
    end: int | None = None
    section: str | None = None
    measurements_mm: tuple[float, ...] = ()

    @property
    def is_stated(self) -> bool:
        """Whether a report states it; otherwise the model alone decides about it."""
        return self.source not in {"argument", "vocabulary"} and not (
            self.source.startswith("tag:")
        )


@dataclass(frozen=True, slots=True)
class FrameReference:
    """One frame of a series, in the series' order.

    ``position_lps`` is Image Position (Patient) in millimetres, or None.
    """

    sop_instance_uid: str
    sop_class_uid: str
    frame_number: int
    """Frame Number (0008,1160), from 1; 1 for single-frame instances."""
    path: Path
    position_lps: tuple[float, float, float] | None = None
    number_of_frames: int = 1
    """Frames of the instance, of which the series may hold fewer."""

    @property
    def referenced_frame_number(self) -> int | None:
        """Referenced Frame Number (0008,1160): None for an instance of one frame.

        A reference to a multi-frame instance without it means every frame (PS3.3
        10.3).
        """
        return self.frame_number if self.number_of_frames > 1 else None


@dataclass(frozen=True, eq=False)
class ImageSeries:
    """The frames of one series that share rows, columns, spacing and orientation.

    A volume has its frames sorted along the normal (the cross product of the
    direction of a row and that of a column, so the frames of an axial series in
    standard orientation run from feet to head) with even spacing, and its
    ``affine_lps`` maps ``(frame, row, column)`` indices to the centre of the voxel
    in LPS millimetres (PS3.3 C.7.6.2.1.1); a single slice is a volume whose
    spacing along the normal is its thickness. Slices of one orientation that do
    not form such a grid (tilted gantry, uneven spacing) are sorted along the normal
    and have no affine. Images without a place in the patient keep instance order.
    One DICOM series may yield several of these (phases, echoes, two stacks), told
    apart by ``stack_number``.
    """

    study_instance_uid: str
    series_instance_uid: str
    modality: str
    body_part: str | None
    frames: tuple[FrameReference, ...]
    rows: int
    columns: int
    is_colour: bool
    pixel_spacing_mm: tuple[float, float] | None
    """Between rows, between columns; None: unknown."""
    affine_lps: npt.NDArray[np.float64] | None
    frame_of_reference_uid: str | None
    series_description: str = ""
    orientation_lps: tuple[float, float, float, float, float, float] | None = None
    """Image Orientation (Patient): direction of a row, then of a column."""
    stack_number: int = 1
    """Counts, from 1, the groups that the DICOM series falls into."""

    @property
    def is_volume(self) -> bool:
        """Whether the frames form an evenly spaced stack in patient space."""
        return self.affine_lps is not None


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
class NotProcessed:
    """A series, or an instance of it, that was left out, and why."""

    series_instance_uid: str
    reason: str


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
