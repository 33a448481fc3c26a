"""What goes into grounding and what comes out of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["Box", "ImageStack", "PhraseGrounding"]


@dataclass(frozen=True, eq=False)
class ImageStack:
    """Pictures of one series, decoded and ordered."""

    pixels: NDArray[Any]
    """(slices, rows, columns) in modality units (HU for CT; otherwise stored values
    after the modality LUT), MONOCHROME2 sense; or (slices, rows, columns, 3) uint8"""
    spacing_mm: tuple[float, float, float] | None
    """(between slices, between rows, between columns); None: unknown"""
    modality: str
    """DICOM Modality (0008,0060)"""
    body_part: str | None
    """BodyPartExamined (0018,0015), or None"""
    is_volume: bool
    """True: a volume in canonical axes S, P, L: the slice index grows towards the
    head, rows from anterior to posterior, columns from the patient's right to left.
    False: independent two-dimensional pictures."""


@dataclass(frozen=True, eq=False)
class Box:
    """A rectangle on one picture."""

    slice_index: int
    xyxy: tuple[float, float, float, float]
    """Left, top, right, bottom in continuous pixels: pixel (0, 0) covers
    [0, 1) x [0, 1)"""
    score: float
    """Confidence in this piece, in [0, 1]"""


@dataclass(frozen=True, eq=False)
class PhraseGrounding:
    """The answer for one phrase."""

    phrase: str
    score: float
    """P(the phrase is in the image), in [0, 1], calibrated as the model card says"""
    is_present: bool
    uncertainty: float
    """In [0, 1]; see ``model.inference``"""
    mask: NDArray[np.bool_]
    """(d, h, w) in source voxels, cropped to its bounding box; (0, 0, 0) when absent"""
    mask_origin: tuple[int, int, int]
    """(slice, row, column) of ``mask[0, 0, 0]`` in the stack"""
    boxes: tuple[Box, ...]
    """One per connected piece and slice, tight"""
    probability: NDArray[np.uint8] | None = None
    """Shape of ``mask``: P(the voxel belongs to the phrase), 255 for certain; None
    when it was not asked for, or the engine has none"""
