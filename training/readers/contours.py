"""Fill outlines: points of a closed curve become the pixels inside it."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from training.readers.source import Mask

__all__ = ["combine_outlines", "fill_polygon"]

Points = npt.NDArray[np.float64]
"""(n, 2): row, column; the centre of the first pixel is (0, 0)"""


def fill_polygon(points: Points, shape: tuple[int, int]) -> Mask:
    """Return the pixels whose centre lies inside a polygon, by the even-odd rule.

    A centre on the border belongs to the polygon on the left or top border and not on
    the others, so that polygons that share a border share no pixel.

    Parameters
    ----------
    points : numpy.ndarray
        (n, 2) row and column of the corners; the last is joined to the first.
    shape : tuple of int
        Rows and columns of the mask.
    """
    rows, columns = shape
    toggles = np.zeros((rows, columns + 1), dtype=np.int64)
    following = np.roll(points, -1, axis=0)
    for start, end in zip(points.tolist(), following.tolist(), strict=True):
        # Always downwards, so that a border gives two neighbours the same crossings.
        (row0, column0), (row1, column1) = sorted((start, end))
        # An edge crosses the lines of pixels from its upper end up to its lower one.
        first = max(0, math.ceil(row0))
        last = min(rows, math.ceil(row1))
        if first >= last:
            continue
        lines = np.arange(first, last)
        crossing = column0 + (lines - row0) * (column1 - column0) / (row1 - row0)
        starts = np.clip(np.ceil(crossing), 0, columns).astype(np.int64)
        np.add.at(toggles, (lines, starts), 1)
    return np.asarray(np.cumsum(toggles, axis=1)[:, :columns] % 2 == 1)


def combine_outlines(outlines: Sequence[Mask], *, exclusive: bool = False) -> Mask:
    """Join the outlines of one structure on one slice.

    Parameters
    ----------
    outlines : sequence of numpy.ndarray
        At least one filled outline, all of one shape.
    exclusive : bool
        Whether the curves were drawn to be combined by exclusive or
        (CLOSEDPLANAR_XOR, PS3.3 C.8.8.6). Otherwise one that lies wholly within what
        is already there is a hole, as planning systems write them; others add to it.
    """
    ordered = sorted(outlines, key=lambda one: -int(np.count_nonzero(one)))
    joined = ordered[0].copy()
    seen = [ordered[0]]
    for one in ordered[1:]:
        if not exclusive and any(np.array_equal(one, other) for other in seen):
            continue  # drawn twice
        seen.append(one)
        if exclusive or not (one & ~joined).any():
            joined ^= one
        else:
            joined |= one
    return joined
