"""Cut the training field out of a resampled picture, and move places with it."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch.nn import functional

__all__ = [
    "BoolArray",
    "Field",
    "FloatArray",
    "fill_boxes",
    "resize",
    "shrink_mask",
    "tight_box",
]

FloatArray = NDArray[np.float32]
BoolArray = NDArray[np.bool_]
Box = tuple[float, float, float, float]


@dataclass(frozen=True)
class Field:
    """Where the field lies on the resampled picture."""

    size: tuple[int, int]
    """(rows, columns) of the resampled picture"""
    offset: tuple[int, int]
    """Of the field's first pixel; negative: it begins before the picture"""
    shape: tuple[int, int]
    mirror: bool

    def cut(self, planes: NDArray[np.float32], fill: float) -> FloatArray:
        """Return (n, *shape) of (n, *size), mirrored where that was drawn."""
        result = np.full((len(planes), *self.shape), fill, dtype=np.float32)
        spans = []
        for size, offset, length in zip(
            self.size, self.offset, self.shape, strict=True
        ):
            first, last = max(0, offset), min(size, offset + length)
            spans.append((slice(first, last), slice(first - offset, last - offset)))
        (y_from, y_to), (x_from, x_to) = spans
        result[:, y_to, x_to] = planes[:, y_from, x_from]
        return result[..., ::-1] if self.mirror else result

    def move(
        self, boxes: NDArray[np.float64], source: tuple[int, int]
    ) -> NDArray[np.float64]:
        """Map (n, 4) boxes of a `source` (rows, columns) picture to the field."""
        scale = np.array([self.size[1] / source[1], self.size[0] / source[0]] * 2)
        moved: NDArray[np.float64] = boxes * scale - np.array(
            [self.offset[1], self.offset[0]] * 2
        )
        if self.mirror:
            moved[:, [0, 2]] = self.shape[1] - moved[:, [2, 0]]
        return moved


def resize(planes: FloatArray, size: tuple[int, int]) -> FloatArray:
    """Return (n, *size) of (n, rows, columns), low-pass filtered as in serving."""
    tensor = torch.from_numpy(np.ascontiguousarray(planes))[:, None]
    small = functional.interpolate(tensor, size=size, mode="bilinear", antialias=True)
    result: FloatArray = small[:, 0].numpy()
    return result


def shrink_mask(mask: BoolArray, size: tuple[int, int]) -> BoolArray:
    """Return a mask of `size`: pixels that are covered by half at least.

    What is too thin for that keeps the pixels it covers most. Only what the mask's
    box holds is looked at.
    """
    result = np.zeros(size, dtype=np.bool_)
    box = tight_box(mask)
    if box[2] <= box[0]:
        return result
    columns = _span_of(box[0], box[2], size[1], mask.shape[1])
    rows = _span_of(box[1], box[3], size[0], mask.shape[0])
    part = mask[rows.near, columns.near].astype(np.uint8) * np.uint8(255)
    cover = np.asarray(
        Image.fromarray(part).resize(
            (columns.stop - columns.start, rows.stop - rows.start),
            Image.Resampling.BOX,
            box=(columns.low, rows.low, columns.high, rows.high),
        )
    )
    found = cover >= min(128, max(int(cover.max()), 1))
    result[rows.start : rows.stop, columns.start : columns.stop] = found
    return result


@dataclass(frozen=True, slots=True)
class _Span:
    """A stretch of target pixels, and what it covers of the source."""

    start: int
    stop: int
    near: slice
    """Source pixels that the stretch touches"""
    low: float
    high: float
    """Its ends, counted from the first of them"""


def _span_of(low: float, high: float, target: int, source: int) -> _Span:
    scale = source / target
    start, stop = int(low / scale), min(math.ceil(high / scale), target)
    first, last = int(start * scale), min(math.ceil(stop * scale), source)
    return _Span(
        start,
        stop,
        slice(first, last),
        start * scale - first,
        min(stop * scale, source) - first,
    )


def tight_box(mask: BoolArray) -> Box:
    """Return left, top, right, bottom of what a mask holds; zeros for nothing."""
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    if not len(rows):
        return 0.0, 0.0, 0.0, 0.0
    return (
        float(columns[0]),
        float(rows[0]),
        float(columns[-1] + 1),
        float(rows[-1] + 1),
    )


def fill_boxes(boxes: NDArray[np.float64], shape: tuple[int, int]) -> BoolArray:
    """Return (n, rows, columns): pixels whose centres a box holds, one at least."""
    masks = np.zeros((len(boxes), *shape), dtype=np.bool_)
    for mask, (left, top, right, bottom) in zip(masks, boxes.tolist(), strict=True):
        if right <= left or bottom <= top:
            continue
        rows = _pixels(top, bottom, shape[0])
        columns = _pixels(left, right, shape[1])
        mask[rows, columns] = True
    return masks


def _pixels(low: float, high: float, length: int) -> slice:
    first, last = round(low), round(high)
    if last <= first:
        first = min(int((low + high) / 2), length - 1)
        last = first + 1
    return slice(first, last)
