"""What the page's canvas must show: projected masks, and strokes of its brush."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image
from scipy import ndimage

__all__ = ["bitmap_of", "edge_band", "line_of", "on_canvas", "read_canvas", "rgb_of"]

Bitmap = npt.NDArray[np.bool_]


def read_canvas(capture: Mapping[str, Any]) -> npt.NDArray[np.float64]:
    """Return the canvas of a capture, shape ``(height, width, 3)``, 0 to 255."""
    with Image.open(Path(capture["picture"])) as picture:
        return np.asarray(picture.convert("RGB"), np.float64)


def on_canvas(mask: Bitmap, capture: Mapping[str, Any]) -> Bitmap:
    """Project a mask of shape ``(rows, columns)`` onto the canvas of a capture."""
    height, width = read_canvas(capture).shape[:2]
    a, d, e, f = capture["view"]
    columns = np.floor((np.arange(width) + 0.5 - e) / a).astype(int)
    rows = np.floor((np.arange(height) + 0.5 - f) / d).astype(int)
    is_row = (rows >= 0) & (rows < mask.shape[0])
    is_column = (columns >= 0) & (columns < mask.shape[1])
    found = np.zeros((height, width), bool)
    found[np.ix_(is_row, is_column)] = mask[np.ix_(rows[is_row], columns[is_column])]
    return found


def edge_band(mask: Bitmap, pixels: int) -> Bitmap:
    """Return what is no further than so many pixels from a mask's edge."""
    square = np.ones((3, 3), bool)
    grown = ndimage.binary_dilation(mask, square, iterations=pixels)
    shrunk = ndimage.binary_erosion(mask, square, iterations=pixels)
    return np.asarray(grown & ~shrunk)


def rgb_of(colour: str) -> npt.NDArray[np.float64]:
    """Read ``#rrggbb``."""
    return np.array([int(colour[at : at + 2], 16) for at in (1, 3, 5)], np.float64)


def bitmap_of(runs: Sequence[int], shape: tuple[int, int]) -> Bitmap:
    """Fill a bitmap from row-major runs: start, length, start, length."""
    flat = np.zeros(shape[0] * shape[1], bool)
    for start, length in zip(runs[::2], runs[1::2], strict=True):
        flat[start : start + length] = True
    return flat.reshape(shape)


def line_of(
    start: Mapping[str, float],
    end: Mapping[str, float],
    radius: float,
    shape: tuple[int, int],
) -> Bitmap:
    """Return the pixels whose centres are no further than a radius from a line."""
    rows, columns = np.meshgrid(
        np.arange(shape[0]) + 0.5, np.arange(shape[1]) + 0.5, indexing="ij"
    )
    first = np.array([start["row"], start["column"]])
    step = np.array([end["row"], end["column"]]) - first
    points = np.stack([rows, columns], axis=-1) - first
    length = float(step @ step)
    share = np.clip(points @ step / length, 0, 1) if length else np.zeros(shape)
    distance = np.linalg.norm(points - share[..., None] * step, axis=-1)
    return np.asarray(distance <= radius)
