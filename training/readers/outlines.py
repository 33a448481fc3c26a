"""Paint COCO's outlines: polygons and run lengths of either kind."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from training.readers.source import Mask
from training.records import Rle
from training.rle import decode_rle

__all__ = ["fill_polygons", "paint_segmentation"]


def paint_segmentation(segmentation: Any, *, rows: int, columns: int) -> Mask:
    """Paint one annotation's ``segmentation``.

    Parameters
    ----------
    segmentation
        A list of polygons ``[x, y, x, y, ...]``, or ``{"size", "counts"}`` with counts
        as a list (column-major, the first run is background) or compressed to text.

    Raises
    ------
    ValueError
        It is neither, or is not of the picture's size.
    """
    if isinstance(segmentation, list):
        return fill_polygons(segmentation, rows=rows, columns=columns)
    known: dict[str, Any] = segmentation if isinstance(segmentation, dict) else {}
    size, counts = known.get("size"), known.get("counts")
    if size != [rows, columns]:
        raise ValueError("a segmentation is no outline of its picture's size")
    if isinstance(counts, str):
        return decode_rle(Rle((rows, columns), counts))
    return _paint_counts(counts, rows=rows, columns=columns)


def fill_polygons(polygons: Sequence[Any], *, rows: int, columns: int) -> Mask:
    """Fill polygons and return their union.

    A pixel belongs to a polygon when its centre lies inside (even-odd rule): the area
    is unbiased, and polygons that share an edge share no pixel.

    Raises
    ------
    ValueError
        A polygon is not a list of at least three x, y pairs.
    """
    union = np.zeros((rows, columns), dtype=np.bool_)
    for polygon in polygons:
        points = np.asarray(polygon, dtype=np.float64)
        if points.ndim != 1 or points.size < 6 or points.size % 2:
            raise ValueError("a polygon is not three or more pairs of x and y")
        if not np.isfinite(points).all():
            raise ValueError("a polygon has a corner that is not finite")
        _fill(union, points.reshape(-1, 2))
    return union


def _fill(mask: Mask, points: Any) -> None:
    rows, columns = mask.shape
    starts, ends = points, np.roll(points, -1, axis=0)
    first = max(int(np.floor(points[:, 1].min())), 0)
    last = min(int(np.ceil(points[:, 1].max())), rows)
    centres = np.arange(columns) + 0.5
    for row in range(first, last):
        y = row + 0.5
        crossing = (starts[:, 1] <= y) != (ends[:, 1] <= y)
        one, other = starts[crossing], ends[crossing]
        share = (y - one[:, 1]) / (other[:, 1] - one[:, 1])
        edges = np.sort(one[:, 0] + share * (other[:, 0] - one[:, 0]))
        # Inside are the centres with an odd number of edges to their left.
        mask[row] |= np.searchsorted(edges, centres) % 2 == 1


def _paint_counts(counts: Any, *, rows: int, columns: int) -> Mask:
    if not isinstance(counts, list) or not all(isinstance(run, int) for run in counts):
        raise ValueError("run lengths are not whole numbers")
    if any(run < 0 for run in counts) or sum(counts) != rows * columns:
        raise ValueError("run lengths do not fill their picture")
    flat = np.repeat(np.arange(len(counts)) % 2 == 1, counts)
    return np.ascontiguousarray(flat.reshape(columns, rows).T)
