"""Turn stored grey values into modality values: rescaled, mirrored, without padding."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["GreyScale", "darken_outside"]


_MOST = 2**22
"""Whole numbers below four times this are exact in single precision, sums of two ends
with their pixels among them."""


@dataclass(frozen=True, slots=True)
class GreyScale:
    """A linear map of stored integers (PS3.3 C.11.1).

    Attributes
    ----------
    slope, intercept : float
        Rescale Slope and Rescale Intercept.
    ends : tuple of float
        What the smallest and the largest stored value become.
    is_inverse : bool
        MONOCHROME1: mirrored within the range that the stored bits can express, so
        that equal values stay equal over the frames of a series.
    padding : tuple of int, optional
        Smallest and largest stored value that is not of the patient.

    """

    slope: float
    intercept: float
    ends: tuple[float, float]
    is_inverse: bool = False
    padding: tuple[int, int] | None = None

    def apply(
        self, stored: npt.NDArray[np.integer], *, out: npt.NDArray[np.float32]
    ) -> None:
        """Write the modality values of stored integers.

        Parameters
        ----------
        stored : numpy.ndarray
            Integers.
        out : numpy.ndarray
            Receives them, float32 of the same shape.

        """
        is_whole = self.slope == 1 and self.intercept == int(self.intercept)
        if stored.dtype.itemsize <= 2 and is_whole and abs(self.intercept) < _MOST:
            # Single precision holds every 16-bit integer, and these sums.
            offset = np.float32(self.intercept)
            np.add(stored, offset, out=out, dtype=np.float32, casting="unsafe")
            if self.is_inverse:
                np.subtract(np.float32(sum(self.ends)), out, out=out)
        else:
            values = stored.astype(np.float64) * self.slope + self.intercept
            if self.is_inverse:
                values = sum(self.ends) - values
            out[...] = values
        if self.padding is not None:
            low, high = self.padding
            darken_outside(out, (stored >= low) & (stored <= high))


def darken_outside(values: npt.NDArray[Any], outside: npt.NDArray[np.bool_]) -> None:
    """Make what is not of the patient as dark as the picture gets.

    See PS3.3 C.7.5.1.1.2.
    """
    if outside.any():
        inside = values[~outside]
        values[outside] = inside.min() if inside.size else 0.0
