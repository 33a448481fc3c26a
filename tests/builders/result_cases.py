"""Every kind of source that results are made for, with regions drawn in it."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from pathlib import Path

from dicom_node.records import (
    ImageSeries,
    Laterality,
    NotProcessed,
    ObjectReference,
    PhraseResult,
    PhraseStatus,
    Report,
    ReportStatus,
    StudyResult,
)
from tests.builders.dicom_series import (
    make_ct_series,
    make_dx_image,
    make_enhanced_ct,
)
from tests.builders.other_images import make_cine, make_photograph
from tests.builders.study_results import (
    EFFUSION,
    image_series,
    make_phrase,
    make_result,
    one_region_each,
)

__all__ = ["SERIES", "TEXTS", "full_result", "result_of"]

TEXTS = ("left kidney", "Small effusion on the right", "kidney")

_C, _S = math.cos(0.4), math.sin(0.4)
_CORONAL = ((1.0, 0.0, 0.0), (0.0, 0.0, -1.0))
_SAGITTAL = ((0.0, 1.0, 0.0), (0.0, 0.0, -1.0))
_OBLIQUE = ((_C, _S, 0.0), (-_S * _C, _C * _C, _S))
_PRONE = ((-1.0, 0.0, 0.0), (0.0, -1.0, 0.0))


def _ct(**options: object) -> Callable[[Path], ImageSeries]:
    def build(folder: Path) -> ImageSeries:
        return image_series(make_ct_series(folder, **options).instances)  # type: ignore[arg-type]

    return build


SERIES: Mapping[str, Callable[[Path], ImageSeries]] = {
    "axial": _ct(),
    "reversed": _ct(reverse=True),
    "coronal": _ct(orientation=_CORONAL),
    "sagittal": _ct(orientation=_SAGITTAL),
    "oblique": _ct(orientation=_OBLIQUE),
    "prone": _ct(orientation=_PRONE),
    "one slice": _ct(slices=1),
    "odd volume": _ct(slices=2, rows=511, columns=643),
    "no frame of reference": _ct(changes={"FrameOfReferenceUID": None}),
    "radiograph": lambda folder: image_series(make_dx_image(folder).instances),
    "odd radiograph": lambda folder: image_series(
        make_dx_image(folder, rows=511, columns=643).instances
    ),
    "radiograph without spacing": lambda folder: image_series(
        make_dx_image(folder, spacing_mm=None).instances
    ),
    "enhanced": lambda folder: image_series(make_enhanced_ct(folder).instances),
    "cine": lambda folder: image_series([make_cine(folder)]),
    "odd cine": lambda folder: image_series([make_cine(folder, rows=43, columns=31)]),
    "photograph": lambda folder: image_series([make_photograph(folder)]),
}
"""Name to builder: sources with and without a place in the patient."""


def result_of(name: str, folder: Path, texts: tuple[str, ...] = TEXTS) -> StudyResult:
    """Return a result with one region for each text; regions overlap."""
    series = SERIES[name](folder)
    return make_result([series], one_region_each(series, texts))


def full_result(folder: Path) -> StudyResult:
    """Return a result with everything one may hold.

    Two series; phrases that are found, negated, hedged and not found; a phrase of
    a report document and of an HL7 message; series left out; a report and a SEG that
    it supersedes.
    """
    ct = SERIES["axial"](folder)
    dx = SERIES["radiograph"](folder)
    study = ct.study_instance_uid
    report = Report(
        text="Small effusion on the right. No pneumothorax.",
        source="sr:2.25.77",
        sop_instance_uid="2.25.77",
        sop_class_uid="1.2.840.10008.5.1.4.1.1.88.11",
        series_instance_uid="2.25.78",
        status=ReportStatus.PRELIMINARY,
    )
    sent = Report(text="Possible mass.", source="hl7:7", status=ReportStatus.CORRECTED)
    found = one_region_each(
        ct,
        ["Small effusion on the right"],
        finding=EFFUSION,
        laterality=Laterality.RIGHT,
        source=report.source,
    )
    kidney = one_region_each(dx, ["left kidney"], laterality=Laterality.LEFT)
    absent = make_phrase(
        "No pneumothorax",
        finding=EFFUSION,
        status=PhraseStatus.ABSENT,
        source=report.source,
    )
    hedged = make_phrase(
        "Possible mass", status=PhraseStatus.UNCERTAIN, source=sent.source
    )
    predecessors = (
        ("1.2.840.10008.5.1.4.1.1.88.34", "2.25.81", "2.25.82"),
        ("1.2.840.10008.5.1.4.1.1.66.4", "2.25.83", "2.25.84"),
    )
    return make_result(
        [ct, dx],
        (
            *found,
            *kidney,
            PhraseResult(absent, PhraseStatus.ABSENT),
            PhraseResult(hedged, PhraseStatus.UNCERTAIN, score=0.25, uncertainty=0.5),
        ),
        reports=(report, sent),
        not_processed=(NotProcessed("2.25.99", "the pixels cannot be decoded"),),
        predecessors=tuple(
            ObjectReference(sop_class, instance, series, study)
            for sop_class, instance, series in predecessors
        ),
    )
