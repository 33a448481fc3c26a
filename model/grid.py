"""Move between a stack's own pixels and the model's three-millimetre grid.

The model grid covers exactly the same extent as the source, so both directions are
one division: position 0 is the outer edge of the first pixel on either side.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage
from torch.nn import functional

__all__ = ["ModelGrid", "body_window", "choose_grid", "shrink", "upsample_box"]

Window = tuple[slice, slice]
"""Rows and columns of the model grid."""


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
    pixels: NDArray[np.float32], grid: ModelGrid, *, chunk: int = 16
) -> NDArray[np.float32]:
    """Resample every source slice in its plane, with a low-pass filter.

    Returns
    -------
    (source slices, grid.rows, grid.columns) float32
    """
    parts = []
    for start in range(0, len(pixels), chunk):
        some = np.ascontiguousarray(pixels[start : start + chunk], dtype=np.float32)
        small = functional.interpolate(
            torch.from_numpy(some)[:, None],
            size=(grid.rows, grid.columns),
            mode="bilinear",
            antialias=True,
        )
        parts.append(small[:, 0].numpy())
    return np.concatenate(parts)


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
    axes = []
    for axis, part in enumerate(box):
        index = np.arange(part.start, part.stop, dtype=np.float64)
        centre = index if axis == 0 else index + 0.5
        points = np.zeros((len(index), 3))
        points[:, axis] = centre
        model = grid.to_model(points)[:, axis]
        model = model if axis == 0 else model - 0.5
        axes.append(model.clip(0, values.shape[axis] - 1))
    result = values
    for axis, position in enumerate(axes):
        low = np.floor(position).astype(np.int64)
        high = np.minimum(low + 1, values.shape[axis] - 1)
        share = (position - low).astype(np.float32)
        share = share.reshape([-1 if i == axis else 1 for i in range(3)])
        result = result.take(low, axis) * (1 - share) + result.take(high, axis) * share
    return result
