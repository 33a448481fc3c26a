"""Keep the mask of a volume small: the bits of its bounding box."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["PackedMask"]


@dataclass(frozen=True, eq=False)
class PackedMask:
    """A (slices, rows, columns) mask, of which only the occupied block is kept."""

    origin: tuple[int, int, int]
    shape: tuple[int, int, int]
    """Of the occupied block"""
    full: tuple[int, int, int]
    bits: NDArray[np.uint8]
    areas: NDArray[np.int64]
    """(slices of the whole volume,) pixels set in each"""

    @classmethod
    def pack(cls, mask: NDArray[np.bool_]) -> PackedMask:
        """Pack a whole mask; (rows, columns) counts as one slice."""
        volume = mask[None] if mask.ndim == 2 else mask
        slices, rows, columns = volume.shape
        areas = np.count_nonzero(volume, axis=(1, 2)).astype(np.int64)
        spans = []
        for axes in ((1, 2), (0, 2), (0, 1)):
            filled = np.flatnonzero(volume.any(axis=axes))
            spans.append(
                slice(int(filled[0]), int(filled[-1]) + 1)
                if len(filled)
                else slice(0, 0)
            )
        block = volume[tuple(spans)]
        return cls(
            origin=(spans[0].start, spans[1].start, spans[2].start),
            shape=(block.shape[0], block.shape[1], block.shape[2]),
            full=(slices, rows, columns),
            bits=np.packbits(block),
            areas=areas,
        )

    def plane(self, index: int) -> NDArray[np.bool_]:
        """Return one slice, (rows, columns)."""
        plane = np.zeros(self.full[1:], dtype=np.bool_)
        place = index - self.origin[0]
        if 0 <= place < self.shape[0]:
            size = self.shape[1] * self.shape[2]
            first, offset = divmod(place * size, 8)
            last = (place * size + size + 7) // 8
            bits = np.unpackbits(self.bits[first:last])[offset : offset + size]
            rows = slice(self.origin[1], self.origin[1] + self.shape[1])
            columns = slice(self.origin[2], self.origin[2] + self.shape[2])
            plane[rows, columns] = bits.reshape(self.shape[1:]).astype(np.bool_)
        return plane

    def unpack(self) -> NDArray[np.bool_]:
        """Return the whole mask, (slices, rows, columns)."""
        return np.stack([self.plane(index) for index in range(self.full[0])])

    @property
    def is_empty(self) -> bool:
        """Whether no pixel is set."""
        return not self.areas.any()
