"""The numbers of a region: how sure the model is, how large a person drew it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from highdicom import sr
from pydicom.sr.codedict import codes

from dicom_node.reports.codes import PRIVATE_SCHEME

if TYPE_CHECKING:
    from dicom_node.records import BoundingBox, Finding, ImageSeries

__all__ = ["extent_of", "numbers_of"]

_PREDICTIVE_UNCERTAINTY = sr.CodedConcept(
    "uncertainty", PRIVATE_SCHEME, "Predictive uncertainty of the model"
)
"""A number from 0 (the model is sure) to 1 (it guesses). No public code says it."""

_LOCALIZATION_CERTAINTY = sr.CodedConcept(
    "local-certainty", PRIVATE_SCHEME, "Certainty of the localization"
)
"""In percent, beside a finding that is more than its site: the model places "the
liver is enlarged" on the liver, and says nothing about its size."""

_WIDTH = sr.CodedConcept("103355008", "SCT", "Width")


def numbers_of(
    finding: Finding, score: float | None, uncertainty: float | None
) -> Iterator[tuple[sr.CodedConcept, float, sr.CodedConcept]]:
    """Yield certainty and uncertainty: concept, value, unit.

    (111012, DCM, "Certainty of Finding") is what a device gives its own finding, in
    percent (PS3.16 D): here, a structure that it has found. What else the report says
    of it is not the device's. The uncertainty has no unit.
    """
    concept = sr.CodedConcept.from_code
    if score is not None:
        is_structure = finding.finding == finding.site
        yield (
            concept(codes.DCM.CertaintyOfFinding)
            if is_structure
            else _LOCALIZATION_CERTAINTY,
            round(100 * float(score), 4),
            concept(codes.UCUM.Percent),
        )
    if uncertainty is not None:
        yield (
            _PREDICTIVE_UNCERTAINTY,
            round(float(uncertainty), 6),
            concept(codes.UCUM.NoUnits),
        )


def extent_of(
    series: ImageSeries, box: BoundingBox
) -> Iterator[tuple[sr.CodedConcept, float, sr.CodedConcept]]:
    """Yield width and height of a box: what is known of a person's drawing."""
    x0, y0, x1, y1 = box.xyxy
    rows_mm, columns_mm = series.pixel_spacing_mm or (1.0, 1.0)
    unit = sr.CodedConcept.from_code(codes.UCUM.Millimeter)
    if series.pixel_spacing_mm is None:
        unit = sr.CodedConcept("{pixels}", "UCUM", "pixels")
    yield _WIDTH, round((x1 - x0) * columns_mm, 2), unit
    yield (
        sr.CodedConcept.from_code(codes.DCM.Height),
        round((y1 - y0) * rows_mm, 2),
        unit,
    )
