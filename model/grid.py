"""Move between a stack's own pixels and the model's three-millimetre grid.

The model grid covers exactly the same extent as the source, so both directions are
one division: position 0 is the outer edge of the first pixel on either side.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage
from scipy.sparse import csr_array
from torch.nn import functional

__all__ = [
    "ModelGrid",
    "body_window",
    "choose_grid",
    "shrink",
    "upsample_box",
    "upsample_planes",
]

Window = tuple[slice, slice]
"""Rows and columns of the model grid."""

_Neighbours = tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float32]]
"""The lower and the higher model place of each voxel, and the higher one's share."""


@dataclass(frozen=True)
class ModelGrid:
    """How a stack is sampled for the model."""

    source_shape: tuple[int, int, int]
    """(slices, rows, columns)"""
    rows: int
    columns: int
    slice_positions: tuple[float, ...]
    """Source slice index of each model slice, rising; may be fractional."""
    slice_mm: float
    """Distance between source slices; 0 for independent pictures."""
    pixel_mm: float
    """Side of a model pixel, nominal when the spacing is unknown."""

    @property
    def step_mm(self) -> float:
        """Distance between model slices, 1 for independent pictures."""
        if len(self.slice_positions) < 2 or not self.slice_mm:
            return self.slice_mm or 1.0
        first, second = self.slice_positions[:2]
        return (second - first) * self.slice_mm

    def to_source(self, points_zyx: NDArray[np.float64]) -> NDArray[np.float64]:
        """Map continuous model positions (slice centres, pixel edges) to the source."""
        _, rows, columns = self.source_shape
        z = np.interp(
            points_zyx[..., 0],
            np.arange(len(self.slice_positions)),
            self.slice_positions,
        )
        y = points_zyx[..., 1] * rows / self.rows
        x = points_zyx[..., 2] * columns / self.columns
        return np.stack((z, y, x), axis=-1)

    def to_model(self, points_zyx: NDArray[np.float64]) -> NDArray[np.float64]:
        """Map continuous source positions to the model grid: inverse of to_source."""
        _, rows, columns = self.source_shape
        z = np.interp(
            points_zyx[..., 0],
            self.slice_positions,
            np.arange(len(self.slice_positions)),
        )
        y = points_zyx[..., 1] * self.rows / rows
        x = points_zyx[..., 2] * self.columns / columns
        return np.stack((z, y, x), axis=-1)


def choose_grid(
    shape: tuple[int, int, int],
    spacing_mm: tuple[float, float, float] | None,
    *,
    is_volume: bool,
    pixel_mm: float,
) -> ModelGrid:
    """Choose the model grid of a stack.

    A picture whose size is unknown, or is no size of a person (under 10 cm or over
    80 cm across), is laid on 128 pixels along its longer side.

    Parameters
    ----------
    shape
        (slices, rows, columns) of the stack.
    spacing_mm
        (between slices, between rows, between columns) or None.
    """
    slices, rows, columns = shape
    if spacing_mm is None:
        spacing_mm = (0.0, 0.0, 0.0)
    extent = (rows * spacing_mm[1], columns * spacing_mm[2])
    if 100.0 <= max(extent) <= 800.0:
        sides = (round(extent[0] / pixel_mm), round(extent[1] / pixel_mm))
    else:
        longest = max(rows, columns)
        sides = (round(128 * rows / longest), round(128 * columns / longest))
        if max(extent) > 0:  # the pixel is as large as it really is
            pixel_mm = max(extent) / 128
    slice_mm = spacing_mm[0] if is_volume else 0.0
    step = 1.0
    if slice_mm and slice_mm < pixel_mm:
        step = pixel_mm / slice_mm
    # Both ends of a volume are seen, however thin it is.
    count = max(2, 1 + round((slices - 1) / step))
    positions = np.linspace(0, slices - 1, count) if slices > 1 else np.zeros(1)
    return ModelGrid(
        source_shape=shape,
        rows=max(1, sides[0]),
        columns=max(1, sides[1]),
        slice_positions=tuple(float(position) for position in positions),
        slice_mm=slice_mm,
        pixel_mm=pixel_mm,
    )


def shrink(
    pixels: NDArray[Any], grid: ModelGrid, *, chunk: int = 16
) -> NDArray[np.float32]:
    """Resample every source slice in its plane, with a low-pass filter.

    A chunk at a time: a mapped volume is never held whole.

    Parameters
    ----------
    pixels
        (slices, rows, columns), or (slices, rows, columns, 3) in colour.

    Returns
    -------
    (source slices, grid.rows, grid.columns) float32
    """
    whole = np.empty((len(pixels), grid.rows, grid.columns), dtype=np.float32)
    for start in range(0, len(pixels), chunk):
        some = _grey(pixels[start : start + chunk])
        small = functional.interpolate(
            torch.from_numpy(some)[:, None],
            size=(grid.rows, grid.columns),
            mode="bilinear",
            antialias=True,
        )
        whole[start : start + chunk] = small[:, 0].numpy()
    return whole


def _grey(pixels: NDArray[Any]) -> NDArray[np.float32]:
    """Return (slices, rows, columns) float32; colour becomes its luminance.

    References
    ----------
    Rec. ITU-R BT.601-7, section 2.5.1.
    """
    if pixels.ndim == 4:
        weights = np.array([0.299, 0.587, 0.114], dtype=np.float32)
        return np.ascontiguousarray(pixels @ weights, dtype=np.float32)
    return np.ascontiguousarray(pixels, dtype=np.float32)


def body_window(
    pixels: NDArray[np.float32], *, multiple: int, margin: int = 8
) -> Window:
    """Return the part of a CT that holds the patient, grown to a whole multiple.

    Thin things (couch, tubes) do not count. The window may reach over the picture's
    edge; the caller pads.

    Parameters
    ----------
    pixels
        (slices, rows, columns) in HU on the model grid.
    """
    solid = (pixels > -500).mean(axis=0) > 0.1
    solid = ndimage.binary_opening(solid, np.ones((5, 5)))
    if not solid.any():
        solid = np.ones(pixels.shape[1:], dtype=np.bool_)
    window = []
    for axis in (0, 1):
        line = np.nonzero(solid.any(axis=1 - axis))[0]
        first = max(0, int(line[0]) - margin)
        last = min(solid.shape[axis], int(line[-1]) + 1 + margin)
        grown = -(-(last - first) // multiple) * multiple
        first -= (grown - (last - first)) // 2
        window.append(slice(first, first + grown))
    return window[0], window[1]


def upsample_box(
    values: NDArray[np.float32],
    grid: ModelGrid,
    *,
    box: tuple[slice, slice, slice],
) -> NDArray[np.float32]:
    """Interpolate model-grid values linearly at the source voxels of a box.

    Parameters
    ----------
    values
        (model slices, grid.rows, grid.columns)
    box
        Source slices, rows and columns.
    """
    shape = tuple(part.stop - part.start for part in box)
    whole = np.zeros(shape, dtype=np.float32)
    for place, plane in upsample_planes(values, grid, box=box):
        whole[place] = plane
    return whole


def upsample_planes(
    values: NDArray[np.float32],
    grid: ModelGrid,
    *,
    box: tuple[slice, slice, slice],
) -> Iterator[tuple[int, NDArray[np.float32]]]:
    """Interpolate one source slice of a box after the other, but for those of zeros.

    Columns first and slices last: little is interpolated three times, and a plane is
    done while the processor's cache holds it.

    Yields
    ------
    Place in the box, and (rows, columns) values that are not to be changed.
    """
    _, rows, columns = values.shape
    across = _neighbours(grid, box[2], axis=2, size=columns)
    along = _neighbours(grid, box[1], axis=1, size=rows)
    has_any: NDArray[np.bool_] = np.any(values, axis=(1, 2))
    taking = _taking(along, size=rows)
    wide: dict[int, NDArray[np.float32]] = {}
    between = zip(*_neighbours(grid, box[0], axis=0, size=len(values)), strict=True)
    for place, (low, high, share) in enumerate(between):
        if not (has_any[low] or has_any[high]):
            continue
        wide = {
            index: wide[index]
            if index in wide
            else _widen(values[index], taking, across)
            for index in sorted({int(low), int(high) if share else int(low)})
        }
        plane = wide[int(low)]
        if share:
            plane = plane * (1 - share) + wide[int(high)] * share
        yield place, plane


def _taking(along: _Neighbours, *, size: int) -> csr_array:
    """Return the matrix that interpolates rows: two shares in each of its own.

    numpy would write a whole picture five times for what this writes once.
    """
    low, high, share = along
    shares = np.stack((1 - share, share), axis=1).ravel()
    places = np.stack((low, high), axis=1).ravel()
    ends = np.arange(0, len(places) + 1, 2)
    return csr_array((shares, places, ends), shape=(len(low), size))


def _widen(
    plane: NDArray[np.float32], taking: csr_array, across: _Neighbours
) -> NDArray[np.float32]:
    """Interpolate one plane: its columns, then its rows."""
    low, high, share = across
    wide = plane[:, low] * (1 - share) + plane[:, high] * share
    return np.asarray(taking @ wide, np.float32)


def _neighbours(grid: ModelGrid, part: slice, *, axis: int, size: int) -> _Neighbours:
    """Return the model places around each source voxel of an axis."""
    index = np.arange(part.start, part.stop, dtype=np.float64)
    points = np.zeros((len(index), 3))
    points[:, axis] = index if axis == 0 else index + 0.5
    model = grid.to_model(points)[:, axis]
    position = (model if axis == 0 else model - 0.5).clip(0, size - 1)
    low = np.floor(position).astype(np.int64)
    return low, np.minimum(low + 1, size - 1), (position - low).astype(np.float32)
