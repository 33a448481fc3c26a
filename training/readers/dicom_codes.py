"""What SEG, RTSTRUCT and SR share: codes, sides, and regions at a place."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field

from pydicom import Dataset

from training.readers.dicom_series import PlacedSeries
from training.readers.source import Laterality, SourceRegion
from training.records import Status
from training.registry.spec import Tier

__all__ = [
    "ALGORITHM_TIERS",
    "Code",
    "Placement",
    "SegmentWords",
    "code_of",
    "first_item",
    "is_structure",
    "plain_label",
    "side_of_codes",
]

Code = tuple[str, str, str]
"""Value, scheme, meaning"""

ALGORITHM_TIERS: dict[str, Tier] = {
    "MANUAL": "manual",
    "SEMIAUTOMATIC": "manual",
    "AUTOMATIC": "pseudo",
}
"""Segment Algorithm Type (0062,0008) and ROI Generation Algorithm (3006,0036): who
draws with the help of a program still answers for the outline."""

_STRUCTURES = frozenset({"91723000", "123037004"})
"""Segmented Property Category "Anatomical Structure": the code of the standard, and the
one that TotalSegmentator's table and dcmqi's examples have."""

_SIDES: dict[tuple[str, str], Laterality] = {
    ("SCT", "7771000"): "L",
    ("SCT", "24028007"): "R",
    ("SCT", "51440002"): "B",
    ("SRT", "G-A101"): "L",
    ("SRT", "G-A100"): "R",
    ("SRT", "G-A102"): "B",
}
"""CID 244, by scheme and value, with the retired codes."""


@dataclass(frozen=True, eq=False)
class Placement:
    """A region and the picture that it is on."""

    placed: PlacedSeries
    frame: int | None
    """Index of the frame that is a picture; None: the volume"""
    region: SourceRegion


@dataclass(frozen=True, slots=True, kw_only=True)
class SegmentWords:
    """What a report says of a segment."""

    label: str
    phrase: str | None
    status: Status = "present"
    laterality: Laterality | None = None
    codes: dict[str, Code] = field(default_factory=dict)


def first_item(ds: Dataset, keyword: str) -> Dataset:
    """Return the first item of a sequence; an empty data set where there is none."""
    items = ds.get(keyword)
    return items[0] if items else Dataset()


def code_of(item: Dataset) -> Code | None:
    """Return a code sequence item as (value, scheme, meaning); None: it is empty."""
    value = (
        item.get("CodeValue") or item.get("LongCodeValue") or item.get("URNCodeValue")
    )
    if not value:
        return None
    scheme = str(item.get("CodingSchemeDesignator") or "")
    return str(value), scheme, str(item.get("CodeMeaning") or value)


def is_structure(code: Code | None) -> bool:
    """Tell whether a category is that of anatomical structures."""
    return code is not None and code[0] in _STRUCTURES


def side_of_codes(items: Iterable[Dataset]) -> Laterality | None:
    """Return the side that one of some code items names."""
    for item in items:
        code = code_of(item)
        if code is not None and (code[1], code[0]) in _SIDES:
            return _SIDES[code[1], code[0]]
    return None


def plain_label(meaning: str, side: Laterality | None = None) -> str:
    """Return a code's meaning as a label in lower case, its side before it."""
    words = re.sub(r"\s+", " ", meaning).strip().lower()
    name = {"L": "left", "R": "right", "B": "bilateral", None: ""}[side]
    return words if not name or name in words.split() else f"{name} {words}"
