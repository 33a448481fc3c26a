"""What a corruption is, and the random fields that several are made of."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

__all__ = ["Corruption", "Random", "Values", "blurred", "normal", "planes", "smooth"]

Values = NDArray[np.float32]
"""(slices, rows, columns) or (slices, rows, columns, 3); 0 to 1 is the visible range,
values beyond it are kept."""

Random = np.random.Generator


@dataclass(frozen=True)
class Corruption:
    """One way to spoil a picture."""

    apply: Callable[[Values, float, Random], Values]
    """Takes values, strength and generator; returns values of the same shape"""
    strengths: tuple[float, float, float, float, float]
    meaning: str
    """What a strength is"""


def normal(values: Values, rng: Random) -> Values:
    """Draw standard normal numbers, one per value."""
    return rng.standard_normal(values.shape, dtype=np.float32)


def blurred(values: Values, sigma: float) -> Values:
    """Smooth each slice with a Gaussian of `sigma` pixels."""
    sigmas = (0, sigma, sigma, 0)[: values.ndim]
    smoothed = ndimage.gaussian_filter(values, sigmas, mode="nearest")
    return np.asarray(smoothed, dtype=np.float32)


def smooth(
    shape: tuple[int, ...], rng: Random, *, share: float = 0.2
) -> NDArray[np.float64]:
    """Draw a smooth field in [-1, 1]; one bump is about `share` of the side."""
    field = ndimage.gaussian_filter(rng.normal(size=shape), share * min(shape))
    centred = field - field.mean()
    scaled: NDArray[np.float64] = centred / max(float(np.abs(centred).max()), 1e-12)
    return scaled


def planes(plane: NDArray[Any], values: Values) -> Values:
    """Give a (rows, columns) plane the axes of `values`."""
    shaped = plane[None, ..., None] if values.ndim == 4 else plane[None]
    return np.asarray(shaped, dtype=np.float32)
