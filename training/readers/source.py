"""What a reader hands on: one picture or volume with what is said about it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from training.records import Status
from training.registry import DatasetSpec
from training.registry.spec import Tier

__all__ = ["Picture", "Reader", "SourceImage", "SourceRegion"]

Mask = NDArray[np.bool_]
Laterality = Literal["L", "R", "B"]


@dataclass(frozen=True, eq=False)
class Picture:
    """Pixels as the dataset stores them, in a known orientation."""

    pixels: NDArray[Any]
    """(rows, columns); (rows, columns, 3) uint8; or, of a volume, (slices, rows,
    columns) in canonical axes S, P, L: slices grow towards the head, rows from
    anterior to posterior, columns from the patient's right to left. In modality units
    (HU for CT), MONOCHROME2 sense."""
    spacing_mm: tuple[float, float, float] | None
    """(between slices, between rows, between columns), the first 0 for a single
    picture; None: unknown"""
    is_volume: bool


@dataclass(frozen=True, eq=False, kw_only=True)
class SourceRegion:
    """One thing that annotators said about an image."""

    label: str
    """As the dataset spells it; ``DatasetSpec.phrase_of`` gives the phrase"""
    phrase: str | None = None
    """Verbatim words of a report or an expression; None: made from the label"""
    status: Status = "present"
    boxes_xyxy: tuple[tuple[float, float, float, float], ...] = ()
    """Continuous pixels of the picture: pixel (0, 0) covers [0, 1) x [0, 1)"""
    mask: Callable[[], Mask] | None = None
    """Loads (rows, columns), or (slices, rows, columns) of a volume"""
    laterality: Laterality | None = None
    codes: dict[str, tuple[str, str, str]] = field(default_factory=dict)
    """category, type, site: (value, scheme, meaning)"""
    attributes: dict[str, str] = field(default_factory=dict)
    progression: str | None = None
    reader: str | None = None
    """Who drew it; several readers of one finding are fused by the build"""
    ignore: bool = False
    """Neither positive nor negative: no loss, no count"""
    tier: Tier | None = None
    """How this label came to be; None: as the dataset's specification says"""
    complete: bool = True
    """False: more of the same may be in the image and is not outlined, so that what
    lies outside the mask or the boxes is unknown, not negative"""


@dataclass(frozen=True, eq=False, kw_only=True)
class SourceImage:
    """One picture or volume of a dataset."""

    image_id: str
    """Unique in its dataset, made of the dataset's own names"""
    load: Callable[[], Picture]
    regions: tuple[SourceRegion, ...]
    modality: str
    body_part: str | None = None
    view: str | None = None
    patient_id: str | None = None
    """As the dataset names patients; hashed before it is written anywhere"""
    study_id: str | None = None
    split: Literal["train", "val", "test"] | None = None
    """The dataset's own split"""
    label_space: tuple[str, ...] | None = None
    """Phrases looked for in this image; None: as the dataset's specification says"""
    report: str | None = None
    prior: str | None = None
    """``image_id`` of the earlier image that it was compared with"""


class Reader(Protocol):
    """Reads one layout."""

    def __call__(self, root: Path, spec: DatasetSpec) -> Iterator[SourceImage]:
        """Yield every image below `root` in a stable order, without loading pixels.

        Raises
        ------
        training.errors.DatasetError
            A file that the layout needs is missing or says something impossible;
            the message names file and line.
        """
        ...
