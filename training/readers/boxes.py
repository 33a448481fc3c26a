"""Bring every spelling of a box to continuous pixel corners."""

from __future__ import annotations

from collections.abc import Sequence
from math import isfinite

__all__ = ["XYXY", "shares_to_xyxy", "xywh_to_xyxy", "xyxy_within"]

XYXY = tuple[float, float, float, float]
"""Left, top, right, bottom: pixel (0, 0) covers [0, 1) x [0, 1)"""

_ROUNDING = 1.5
"""Pixels that a box may reach over the border: annotation tools round, and some count
the last pixel's number as the border. What reaches further is an error."""


def xyxy_within(
    values: Sequence[float], *, rows: float | None = None, columns: float | None = None
) -> XYXY:
    """Check corners and cut them at the border of the picture.

    Parameters
    ----------
    values
        Left, top, right, bottom in pixels.
    rows, columns
        Size of the picture; None: not known, nothing is cut.

    Raises
    ------
    ValueError
        The box is empty, turned inside out, not finite or outside the picture.
    """
    if len(values) != 4 or not all(isfinite(value) for value in values):
        raise ValueError("a box is not four finite numbers")
    left, top, right, bottom = (float(value) for value in values)
    if right <= left or bottom <= top:
        raise ValueError("a box is empty or inside out")
    left, right = _cut(left, right, columns)
    top, bottom = _cut(top, bottom, rows)
    return left, top, right, bottom


def xywh_to_xyxy(
    values: Sequence[float], *, rows: float | None = None, columns: float | None = None
) -> XYXY:
    """Turn left, top, width, height into corners; see `xyxy_within`."""
    if len(values) != 4:
        raise ValueError("a box is not four finite numbers")
    left, top, width, height = values
    corners = (left, top, left + width, top + height)
    return xyxy_within(corners, rows=rows, columns=columns)


def shares_to_xyxy(values: Sequence[float], *, rows: int, columns: int) -> XYXY:
    """Turn corners in shares of the picture, 0 to 1, into pixels; see `xyxy_within`."""
    if len(values) != 4:
        raise ValueError("a box is not four finite numbers")
    left, top, right, bottom = values
    corners = (left * columns, top * rows, right * columns, bottom * rows)
    return xyxy_within(corners, rows=rows, columns=columns)


def _cut(low: float, high: float, size: float | None) -> tuple[float, float]:
    if size is None:
        return low, high
    if low < -_ROUNDING or high > size + _ROUNDING:
        raise ValueError("a box reaches out of its picture")
    low, high = max(low, 0.0), min(high, float(size))
    if high <= low:
        raise ValueError("a box lies outside its picture")
    return low, high
