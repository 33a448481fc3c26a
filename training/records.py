"""Hold one image and its phrases: a superset of ODVG, one JSON object a line.

MM-Grounding-DINO and Open-GroundingDino read what ``python -m training export`` makes
of these lines, not the lines themselves: a region may have no box at all (the phrase
was looked for and is not there), which breaks one loader, several boxes break the
other, and the pictures are 16 bit PNG files inside tar files.

References
----------
mmdetection, object detection and visual grounding (ODVG) dataset format.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from training.errors import RecordError

__all__ = ["SCHEMA", "ImageRecord", "PhraseRegion", "Rle", "Status", "VolumePlace"]

SCHEMA = "medglip-odvg/1"
"""Value of ``schema`` in every line."""

Status = Literal["present", "absent", "uncertain"]
XYXY = tuple[float, float, float, float]


@dataclass(frozen=True, slots=True)
class Rle:
    """A mask as COCO's compressed run lengths, column-major."""

    size: tuple[int, int]
    """(rows, columns)"""
    counts: str


@dataclass(frozen=True, slots=True)
class VolumePlace:
    """Where a slice lies in its volume."""

    series: str
    """Pseudonym of the volume"""
    index: int
    spacing_mm: tuple[float, float, float]
    """(between slices, between rows, between columns)"""
    slices: int


@dataclass(frozen=True, slots=True, kw_only=True)
class PhraseRegion:
    """One phrase of an image and its places."""

    region_id: str
    phrase: str
    tokens_positive: tuple[tuple[int, int], ...]
    """Character spans [start, end) of the phrase in the caption"""
    label: str | None = None
    """What the phrase means, as `ImageRecord.label_space` spells it; None: itself"""
    bbox: tuple[XYXY, ...] = ()
    """Left, top, right, bottom in continuous pixels; none when absent"""
    mask: tuple[Rle, ...] | None = None
    """One per box, in the same order; None: only boxes are known"""
    label_path: tuple[str, ...] = ()
    """Body region, class, label: from general to fine"""
    level: int = 0
    status: Status = "present"
    laterality: str | None = None
    codes: dict[str, tuple[str, str, str]] = field(default_factory=dict)
    attributes: dict[str, str] = field(default_factory=dict)
    progression: str | None = None
    reader: str | None = None
    source: str = "manual"
    weight: float = 1.0
    ignore: bool = False
    """Neither positive nor negative"""
    complete: bool = True
    """False: more of the same may be on the picture, so that outside the boxes and
    masks the phrase is unknown, not absent"""


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageRecord:
    """One picture or one slice, with its phrases."""

    image_id: str
    filename: str
    sha256: str
    """Of the decoded pixels"""
    phash: str
    """64-bit difference hash, hexadecimal"""
    height: int
    width: int
    modality: str
    body_part: str | None
    view: str | None
    dataset: str
    licence: str
    tier: str
    patient_key: str
    study_key: str | None
    split: str | None
    cluster: str | None
    volume: VolumePlace | None
    prior: str | None
    report: str | None
    label_space: tuple[str, ...] | None
    """Labels that were looked for: those without a region are absent; None: a missing
    label says nothing"""
    caption: str
    regions: tuple[PhraseRegion, ...]
    spacing_mm: tuple[float, float] | None = None
    """(between rows, between columns) of the stored picture"""

    def to_json(self) -> str:
        """Return the record as one line without its newline."""
        raw = {"schema": SCHEMA, **asdict(self)}
        raw["grounding"] = {
            "caption": raw.pop("caption"),
            "regions": raw.pop("regions"),
        }
        return json.dumps(raw, ensure_ascii=False, separators=(",", ":"))

    @classmethod
    def from_json(cls, line: str | bytes) -> ImageRecord:
        """Read one line.

        Raises
        ------
        RecordError
            It is no JSON object, of another schema, or a field is missing or unknown.
        """
        try:
            raw = json.loads(line)
            if raw.pop("schema") != SCHEMA:
                raise RecordError(f"not of schema {SCHEMA}")
            grounding = raw.pop("grounding")
            regions = tuple(_region(region) for region in grounding["regions"])
            volume = raw.pop("volume")
            return cls(
                **{key: _frozen(value) for key, value in raw.items()},
                volume=None if volume is None else _volume(volume),
                caption=grounding["caption"],
                regions=regions,
            )
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise RecordError(f"not a record: {error}") from error


def _region(raw: dict[str, Any]) -> PhraseRegion:
    masks = raw.pop("mask")
    codes = raw.pop("codes")
    attributes = raw.pop("attributes")
    return PhraseRegion(
        **{key: _frozen(value) for key, value in raw.items()},
        codes={key: _frozen(value) for key, value in codes.items()},
        attributes=attributes,
        mask=None
        if masks is None
        else tuple(Rle(_frozen(mask["size"]), mask["counts"]) for mask in masks),
    )


def _volume(raw: dict[str, Any]) -> VolumePlace:
    return VolumePlace(**{key: _frozen(value) for key, value in raw.items()})


def _frozen(value: Any) -> Any:
    if isinstance(value, list):
        return tuple(_frozen(item) for item in value)
    return value
