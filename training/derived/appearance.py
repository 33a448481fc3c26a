"""Vary what the scanner and the room add: arms, couch, noise, sharpness, units."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

__all__ = ["add_surroundings", "disturb", "randomise_contrast"]

FloatArray = NDArray[np.float32]


def add_surroundings(
    image: FloatArray, labels: NDArray[np.uint8], rng: np.random.Generator
) -> FloatArray:
    """Put arms beside and a couch behind the patient where there is only air.

    Parameters
    ----------
    image
        (offsets, rows, columns) in HU.
    labels
        Unified labels of the same shape; labelled pixels are never covered.
    """
    result = image.copy()
    _, rows, columns = image.shape
    y, x = np.mgrid[:rows, :columns]
    free = (image < -500) & (labels == 0)
    free &= ndimage.distance_transform_edt(free[0])[None] > 0
    outside = _outside(image)
    if rng.random() < 0.4:
        height = rows * rng.uniform(0.35, 0.75)
        for side in (rng.uniform(-0.01, 0.09), rng.uniform(0.91, 1.01)):
            radius = rng.uniform(9, 20, 2)
            centre = (height + rng.normal(0, 4), columns * side)
            distance = np.hypot(
                (y - centre[0]) / radius[0], (x - centre[1]) / radius[1]
            )
            tissue = np.where(distance > 0.85, -100.0, rng.uniform(30, 65))
            bone = rng.uniform(0.2, 0.35)
            tissue = np.where(distance < bone, rng.uniform(300, 900), tissue)
            tissue = np.where(distance < bone * 0.5, rng.uniform(-50, 200), tissue)
            result = np.where(free & outside & (distance < 1), tissue, result)
    if rng.random() < 0.4:
        curve = rows * rng.uniform(0.75, 1.0) + rng.uniform(-0.01, 0.0) * (
            (x - columns / 2) ** 2 / 10
        )
        thick = rng.uniform(0.6, 2.0)
        band = np.abs(y - curve) < thick
        result = np.where(free & outside & band, rng.uniform(-500, 100), result)
    return result.astype(np.float32)


def _outside(image: FloatArray) -> NDArray[np.bool_]:
    """Return the air connected with the picture's edge."""
    result = np.zeros(image.shape, dtype=np.bool_)
    for i, plane in enumerate(image):
        pieces, _ = ndimage.label(plane < -300)
        edge = np.unique(
            np.concatenate([pieces[0], pieces[-1], pieces[:, 0], pieces[:, -1]])
        )
        result[i] = np.isin(pieces, edge[edge > 0])
    return result


def disturb(image: FloatArray, rng: np.random.Generator) -> FloatArray:
    """Blur or sharpen, add noise of a random grain, bend the grey scale slightly."""
    result = image.astype(np.float32)
    sharpness = rng.normal(0.0, 0.5)
    blurred = ndimage.gaussian_filter(result, (0, 0.8, 0.8))
    if sharpness > 0:
        result = result + min(sharpness, 1.0) * (blurred - result)
    else:
        result = result + min(-sharpness, 0.7) * (result - blurred)
    grain = rng.uniform(0.0, 1.2)
    noise = ndimage.gaussian_filter(rng.normal(size=image.shape), (0, grain, grain))
    level = rng.exponential(10.0)
    result = result + noise * (level / max(float(noise.std()), 1e-6))
    gain = np.exp(rng.normal(0.0, 0.05))
    return np.asarray(result * gain + rng.normal(0.0, 8.0), dtype=np.float32)


def randomise_contrast(image: FloatArray, rng: np.random.Generator) -> FloatArray:
    """Send grey values through a random smooth curve: contrast loses its meaning."""
    low, high = np.percentile(image, (1.0, 99.0))
    knots = np.linspace(low, high, 6)
    values = np.sort(rng.uniform(-200, 260, 6))
    values = values + rng.normal(0.0, 25.0, 6)
    if rng.random() < 0.3:
        values = values[::-1]
    return np.interp(image, knots, values).astype(np.float32)
