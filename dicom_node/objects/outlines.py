"""Outlines of masks: polygons along the edges of pixels, exact to the last pixel."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

__all__ = ["closed_outlines"]

_Point = tuple[int, int]


def closed_outlines(mask: npt.NDArray[np.bool_]) -> tuple[npt.NDArray[np.int64], ...]:
    """Trace the edges between the pixels of a mask and what surrounds them.

    Filling the polygons by the even-odd rule gives the mask back: what lies in a
    hole is outside. Pixels that touch at a corner only have polygons of their own.

    Parameters
    ----------
    mask : numpy.ndarray
        Shape ``(rows, columns)``.

    Returns
    -------
    tuple of numpy.ndarray
        Polygons of shape ``(points, 2)``, each point ``(column, row)`` of a corner
        of a pixel; the top left corner of pixel (0, 0) is (0, 0). The last point is
        the first one again, and no point lies on the line between its neighbours.
        Outer edges run clockwise as seen, edges of holes counterclockwise.

    References
    ----------
    PS3.3 C.10.5: PIXEL units of graphic annotations have their origin there too.

    """
    follow = _directed_edges(mask)
    found = []
    for start in sorted(follow, key=lambda point: (point[1], point[0])):
        while follow[start]:
            corners = list(_corners(follow, start))
            found.append(np.array([*corners, corners[0]], np.int64))
    return tuple(found)


def _directed_edges(mask: npt.NDArray[np.bool_]) -> dict[_Point, list[_Point]]:
    """Map each corner to the unit steps (column, row) that leave it.

    Steps keep the mask on their right hand.
    """
    padded = np.pad(mask.astype(bool, copy=False), 1)
    inside = padded[1:-1, 1:-1]
    follow: dict[_Point, list[_Point]] = {}
    for outside, corner, step in (
        (~padded[:-2, 1:-1], (0, 0), (1, 0)),  # top
        (~padded[1:-1, 2:], (1, 0), (0, 1)),  # right
        (~padded[2:, 1:-1], (1, 1), (-1, 0)),  # bottom
        (~padded[1:-1, :-2], (0, 1), (0, -1)),  # left
    ):
        rows, columns = np.nonzero(inside & outside)
        starts = zip(
            (columns + corner[0]).tolist(), (rows + corner[1]).tolist(), strict=True
        )
        for start in starts:
            follow.setdefault(start, []).append(step)
    return follow


def _corners(follow: dict[_Point, list[_Point]], start: _Point) -> Iterator[_Point]:
    """Walk once around from a corner, take the steps away, and yield the turns."""
    # The first row and column of a polygon is always a turn: yield it when left.
    point, step = start, follow[start].pop()
    yield start
    while True:
        point = (point[0] + step[0], point[1] + step[1])
        if point == start:
            return
        steps = follow[point]
        right = (-step[1], step[0])
        # Two steps leave where pixels touch at a corner: the right one stays with
        # the pixel at hand.
        following = right if right in steps else steps[0]
        steps.remove(following)
        if following != step:
            yield point
        step = following
