"""Recognise pictures that are nearly the same.

References
----------
The difference hash: whether each of 8 x 8 cells is brighter than its right neighbour.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from training.layout import PictureInfo, to_units

__all__ = [
    "THUMBNAIL",
    "Fingerprint",
    "correlation",
    "fingerprint_of",
    "is_flat",
    "near_pairs",
]

THUMBNAIL = 32
"""Rows and columns of the picture that decides where hashes agree."""
_FLAT = 2.0
"""Standard deviation of grey values below which a thumbnail shows nothing."""
_BITS = 64


@dataclass(frozen=True, eq=False)
class Fingerprint:
    """What of a picture survives scaling and recompression."""

    bits: int
    """Difference hash, 64 bits"""
    thumbnail: NDArray[np.uint8]
    """(32, 32)"""


def fingerprint_of(stored: NDArray[Any], info: PictureInfo) -> Fingerprint:
    """Return hash and thumbnail of a stored picture."""
    values = to_units(stored, info)
    grey = values.mean(axis=2) if values.ndim == 3 else values
    span = max(info.high - info.low, 1e-6)
    shown = np.clip((grey - info.low) / span, 0.0, 1.0).astype(np.float32) * 255.0
    picture = Image.fromarray(shown)
    cells = np.asarray(picture.resize((9, 8), Image.Resampling.BOX))
    small = np.asarray(picture.resize((THUMBNAIL, THUMBNAIL), Image.Resampling.BOX))
    # A difference that rounding can make is no difference.
    brighter = cells[:, :-1] > cells[:, 1:] + 1e-3
    bits = int.from_bytes(np.packbits(brighter).tobytes(), "big")
    return Fingerprint(bits, np.rint(small).astype(np.uint8))


def is_flat(thumbnail: NDArray[np.uint8]) -> bool:
    """Whether a thumbnail shows nothing."""
    return float(thumbnail.std()) < _FLAT


def correlation(one: NDArray[np.uint8], other: NDArray[np.uint8]) -> float:
    """Return Pearson's correlation of two thumbnails; 0 when one shows nothing."""
    a, b = one.astype(np.float64).ravel(), other.astype(np.float64).ravel()
    if is_flat(one) or is_flat(other):
        return 0.0
    return float(np.corrcoef(a, b)[0, 1])


def near_pairs(
    hashes: NDArray[np.uint64],
    *,
    bits: int,
    groups: NDArray[np.int64],
    owners: NDArray[np.int64],
) -> Iterator[tuple[int, int]]:
    """Yield pairs whose hashes differ in at most `bits` bits, each at least once.

    Two such hashes agree in at least one of ``bits + 1`` bands, so only those that
    share a band are compared.

    Parameters
    ----------
    groups
        Only rows of one group are compared: a modality.
    owners
        Rows of one owner belong together already and are left out: a patient.
    """
    ends = np.linspace(0, _BITS, bits + 2).astype(int)
    for low, high in zip(ends[:-1].tolist(), ends[1:].tolist(), strict=True):
        mask = np.uint64((1 << (high - low)) - 1)
        band = (hashes >> np.uint64(low)) & mask
        order = np.lexsort((band, groups))
        cuts = np.flatnonzero(
            (np.diff(band[order]) != 0) | (np.diff(groups[order]) != 0)
        )
        for bucket in np.split(order, cuts + 1):
            yield from _within(bucket, hashes, owners, bits=bits)


def _within(
    bucket: NDArray[np.int64],
    hashes: NDArray[np.uint64],
    owners: NDArray[np.int64],
    *,
    bits: int,
) -> Iterator[tuple[int, int]]:
    for place in range(len(bucket) - 1):
        one = bucket[place]
        rest = bucket[place + 1 :]
        close = np.bitwise_count(hashes[rest] ^ hashes[one]) <= bits
        for other in rest[close & (owners[rest] != owners[one])].tolist():
            yield int(one), other
