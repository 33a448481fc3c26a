"""Write masks as COCO's compressed run lengths, and read them again.

References
----------
pycocotools, ``maskApi.c``: runs in column-major order, the first one of zeros, each
from the third on as the difference to the run two before it, in groups of five bits.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from training.records import Rle

__all__ = ["decode_rle", "encode_rle", "rle_area"]


def encode_rle(mask: NDArray[np.bool_]) -> Rle:
    """Encode a (rows, columns) mask."""
    rows, columns = mask.shape
    runs = _runs(mask)
    text = bytearray()
    for place, run in enumerate(runs):
        value = run - runs[place - 2] if place > 2 else run
        while True:
            group = value & 0x1F
            value >>= 5
            more = value != (-1 if group & 0x10 else 0)
            text.append((group | (0x20 if more else 0)) + 48)
            if not more:
                break
    return Rle((rows, columns), text.decode("ascii"))


def decode_rle(rle: Rle) -> NDArray[np.bool_]:
    """Decode into (rows, columns).

    Raises
    ------
    ValueError
        The runs do not fill the picture, or are no run lengths.
    """
    rows, columns = rle.size
    runs = _parse(rle.counts)
    lengths = np.asarray(runs, dtype=np.int64)
    if (lengths < 0).any() or int(lengths.sum()) != rows * columns:
        raise ValueError(f"runs do not fill a picture of {rows} x {columns}")
    values = np.arange(len(runs)) % 2 == 1
    flat = np.repeat(values, lengths)
    return np.ascontiguousarray(flat.reshape(columns, rows).T)


def rle_area(rle: Rle) -> int:
    """Return how many pixels are set, without decoding the mask."""
    return sum(_parse(rle.counts)[1::2])


def _runs(mask: NDArray[np.bool_]) -> list[int]:
    flat = np.asarray(mask, dtype=np.bool_).T.ravel()
    if not flat.size:
        return []
    edges = np.flatnonzero(flat[1:] != flat[:-1]) + 1
    bounds = np.concatenate(([0], edges, [flat.size]))
    runs: list[int] = np.diff(bounds).tolist()
    return [0, *runs] if flat[0] else runs


def _parse(counts: str) -> list[int]:
    runs: list[int] = []
    value = shift = 0
    for byte in counts.encode("ascii"):
        group = byte - 48
        if not 0 <= group < 64:
            raise ValueError("not a run length")
        value |= (group & 0x1F) << shift
        shift += 5
        if group & 0x20:
            continue
        if group & 0x10:
            value -= 1 << shift
        runs.append(value + runs[-2] if len(runs) > 2 else value)
        value = shift = 0
    if shift:
        raise ValueError("a run length ends in its middle")
    return runs
