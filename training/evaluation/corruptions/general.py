"""Corruptions that happen to every kind of picture."""

from __future__ import annotations

import io

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

from training.evaluation.corruptions.kind import (
    Corruption,
    Random,
    Values,
    blurred,
    normal,
)

__all__ = ["GENERAL"]


def _gaussian_noise(values: Values, strength: float, rng: Random) -> Values:
    return np.asarray(values + strength * normal(values, rng), dtype=np.float32)


def _gaussian_blur(values: Values, strength: float, rng: Random) -> Values:
    sigma = strength * min(values.shape[1:3])
    return blurred(values, sigma)


def _motion_blur(values: Values, strength: float, rng: Random) -> Values:
    """Average along a straight path of that share of the picture."""
    length = max(2, round(strength * min(values.shape[1:3])))
    angle = rng.uniform(0, np.pi)
    total = np.zeros_like(values)
    for step in np.linspace(-length / 2, length / 2, length):
        shift = (0, step * np.sin(angle), step * np.cos(angle), 0)[: values.ndim]
        total += ndimage.shift(values, shift, order=1, mode="nearest")
    return np.asarray(total / length, dtype=np.float32)


def _low_resolution(values: Values, strength: float, rng: Random) -> Values:
    """Sample every n-th pixel of a smoothed picture and interpolate back."""
    smooth = blurred(values, strength / 2)
    rows, columns = values.shape[1:3]
    step = round(strength)
    y = np.arange(rows) / step
    x = np.arange(columns) / step
    coarse = smooth[:, ::step, ::step]
    y, x = y.clip(0, coarse.shape[1] - 1), x.clip(0, coarse.shape[2] - 1)
    return np.asarray(
        _between(_between(coarse, y, axis=1), x, axis=2), dtype=np.float32
    )


def _jpeg(values: Values, strength: float, rng: Random) -> Values:
    """Export to eight bits as JPEG of that quality; the range is stretched first."""
    low, high = float(values.min()), float(values.max())
    span = max(high - low, 1e-6)
    planes = []
    for plane in values:
        eight = np.rint((plane - low) / span * 255).astype(np.uint8)
        stream = io.BytesIO()
        Image.fromarray(eight).save(stream, "JPEG", quality=round(strength))
        with Image.open(stream) as picture:
            planes.append(np.asarray(picture, dtype=np.float32))
    return np.asarray(np.stack(planes) / 255 * span + low, dtype=np.float32)


def _brightness(values: Values, strength: float, rng: Random) -> Values:
    return np.asarray(values + strength * rng.choice((-1.0, 1.0)), dtype=np.float32)


def _contrast(values: Values, strength: float, rng: Random) -> Values:
    """Pull everything towards the mean of the visible part."""
    middle = values.clip(0, 1).mean()
    return np.asarray(middle + (values - middle) * strength, dtype=np.float32)


def _gamma(values: Values, strength: float, rng: Random) -> Values:
    """Bend the visible range; what lies beyond it keeps its value."""
    power = strength if rng.random() < 0.5 else 1 / strength
    return np.asarray(
        np.where((values > 0) & (values < 1), values.clip(0, 1) ** power, values),
        dtype=np.float32,
    )


def _between(values: Values, at: NDArray[np.float64], *, axis: int) -> Values:
    """Interpolate linearly along one axis."""
    low = np.floor(at).astype(np.int64)
    high = np.minimum(low + 1, values.shape[axis] - 1)
    share = (at - low).astype(np.float32)
    share = share.reshape([-1 if i == axis else 1 for i in range(values.ndim)])
    return np.asarray(
        values.take(low, axis) * (1 - share) + values.take(high, axis) * share,
        dtype=np.float32,
    )


GENERAL: dict[str, Corruption] = {
    "gaussian noise": Corruption(
        _gaussian_noise, (0.04, 0.08, 0.12, 0.18, 0.26), "standard deviation"
    ),
    "gaussian blur": Corruption(
        _gaussian_blur, (0.004, 0.008, 0.012, 0.018, 0.026), "sigma, share of the side"
    ),
    "motion blur": Corruption(
        _motion_blur, (0.015, 0.03, 0.045, 0.065, 0.09), "path, share of the side"
    ),
    "low resolution": Corruption(_low_resolution, (2, 3, 4, 6, 8), "pixels per sample"),
    "jpeg": Corruption(_jpeg, (60, 35, 20, 10, 5), "quality"),
    "brightness": Corruption(
        _brightness, (0.05, 0.1, 0.16, 0.24, 0.34), "shift of the visible range"
    ),
    "contrast": Corruption(_contrast, (0.8, 0.65, 0.5, 0.35, 0.2), "contrast left"),
    "gamma": Corruption(_gamma, (1.2, 1.45, 1.75, 2.2, 3.0), "exponent or its inverse"),
}
"""By name."""
