"""Lay a picture of any size into a frame of fixed size."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["lay", "place"]


def place(
    size: tuple[int, ...], shape: tuple[int, int], rng: np.random.Generator
) -> tuple[int, int]:
    """Draw where the picture's corner lies in the frame; negative: it is cut off."""
    top, left = (
        round((there - own) * float(rng.beta(4.0, 4.0)))
        for own, there in zip(size, shape, strict=True)
    )
    return top, left


def lay(part: NDArray[Any], whole: NDArray[Any], *, top: int, left: int) -> None:
    """Copy what of `part` lies inside `whole`."""
    bottom = max(0, min(whole.shape[0], top + part.shape[0]))
    right = max(0, min(whole.shape[1], left + part.shape[1]))
    rows, columns = slice(max(0, top), bottom), slice(max(0, left), right)
    if rows.start < rows.stop and columns.start < columns.stop:
        whole[rows, columns] = part[
            rows.start - top : rows.stop - top,
            columns.start - left : columns.stop - left,
        ]
