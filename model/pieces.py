"""Find the connected pieces of planes from their runs, without labelling pixels."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

__all__ = ["Pieces", "find_pieces"]

_Integers = NDArray[np.int64]


_AT_ONCE = 1 << 22
"""Pixels of the planes that are looked at together. Noise has a run for each other
pixel, and takes forty bytes for each of them."""


@dataclass(frozen=True, eq=False)
class Pieces:
    """Pieces in the order of their first pixels: plane by plane, row by row."""

    planes: _Integers
    """Which plane each is in"""
    pixels: _Integers
    """How many each has"""
    boxes: _Integers
    """(pieces, 4): top, left, bottom, right; the last two lie behind the last pixel"""


def find_pieces(planes: NDArray[np.bool_]) -> Pieces:
    """Find what hangs together in each plane, over corners too.

    A radiograph has five million pixels and few thousand runs of true ones in its
    rows: these are made into a graph, in which those of neighbouring rows that touch
    are joined.

    Parameters
    ----------
    planes
        (planes, rows, columns)

    References
    ----------
    L. He et al., A run-based two-scan labeling algorithm, IEEE Transactions on Image
    Processing 17(5), 2008.
    """
    _, rows, columns = planes.shape
    count = max(1, _AT_ONCE // max(1, rows * columns))
    parts = [
        _find(planes[start : start + count], start)
        for start in range(0, len(planes), count)
    ]
    empty = Pieces(*(np.zeros(s, dtype=np.int64) for s in (0, 0, (0, 4))))
    return Pieces(
        np.concatenate([empty.planes, *(part.planes for part in parts)]),
        np.concatenate([empty.pixels, *(part.pixels for part in parts)]),
        np.concatenate([empty.boxes, *(part.boxes for part in parts)]),
    )


def _find(planes: NDArray[np.bool_], first_plane: int) -> Pieces:
    """Find the pieces of planes that lie below one another, a row of nothing between.

    Two columns of nothing besides: no run touches one of the row after the next.
    """
    count, rows, columns = planes.shape
    height, width = rows + 1, columns + 2
    framed = np.zeros((count, height, width), dtype=np.bool_)
    framed[:, :-1, 1:-1] = planes
    flat = framed.ravel()
    turns = np.flatnonzero(flat[1:] != flat[:-1])
    start, stop = turns[::2], turns[1::2]
    row = start // width
    left, right = start - row * width, stop - row * width
    piece = _joined(start, stop, width)
    found = piece.max(initial=-1) + 1
    low = np.full((found, 2), max(count * height, width), dtype=np.int64)
    high = np.zeros((found, 2), dtype=np.int64)
    np.minimum.at(low[:, 0], piece, row)
    np.minimum.at(low[:, 1], piece, left)
    np.maximum.at(high[:, 0], piece, row + 1)
    np.maximum.at(high[:, 1], piece, right)
    pixels = np.zeros(found, dtype=np.int64)
    np.add.at(pixels, piece, right - left)
    plane = low[:, 0] // height
    boxes = np.concatenate((low, high), axis=1)
    boxes[:, ::2] -= plane[:, None] * height
    return Pieces(plane + first_plane, pixels, boxes)


def _joined(start: _Integers, stop: _Integers, width: int) -> _Integers:
    """Return the piece that each run is of, from where runs start and stop."""
    # Of the next row: from the first run that ends no earlier than this one starts,
    # to the last that starts no later than it ends.
    first = np.searchsorted(stop, start + width, side="left")
    behind = np.searchsorted(start, stop + width, side="right")
    counts = np.maximum(behind - first, 0)
    above = np.repeat(np.arange(len(start)), counts)
    before = np.cumsum(counts) - counts
    below = np.arange(len(above)) + np.repeat(first - before, counts)
    touching = coo_array(
        (np.ones(len(above), dtype=np.bool_), (above, below)),
        shape=(len(start), len(start)),
    )
    _, piece = connected_components(touching, directed=False)
    return np.asarray(piece, np.int64)
