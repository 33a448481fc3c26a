"""Paint ultrasound pictures: speckle in a fan, a cyst or a mass, and their shadows."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from training.derived.phantoms import Painted, blob, cloud

__all__ = ["paint_ultrasound"]

FloatArray = NDArray[np.float32]


def paint_ultrasound(rng: np.random.Generator, shape: tuple[int, int]) -> Painted:
    """Paint a B-mode picture: a curved or straight probe on layered tissue.

    A cyst is black with a bright band behind it; a solid mass is darker or brighter
    than what surrounds it, and may throw a shadow.
    """
    depth, seen = _field(rng, shape)
    layers = np.sin(depth * rng.uniform(8, 40) + cloud(rng, shape, grain=12) * 0.8)
    echo = rng.uniform(0.25, 0.55) * (1 + rng.uniform(0.0, 0.35) * layers)
    echo = echo * (1 + 0.25 * cloud(rng, shape, grain=rng.uniform(4, 14)))
    masks = {"cyst": np.zeros(shape, np.bool_), "solid_mass": np.zeros(shape, np.bool_)}
    gain = np.ones(shape)
    for _ in range(int(rng.integers(0, 4))):
        name = "cyst" if rng.random() < 0.55 else "solid_mass"
        inside = _lesion(rng, shape, seen, name=name)
        if inside is None:
            continue
        masks["cyst"] &= ~inside
        masks["solid_mass"] &= ~inside
        masks[name] |= inside
        behind = _below(inside)
        if name == "cyst":
            echo = np.where(inside, rng.uniform(0.0, 0.06), echo)
            gain = np.where(behind, gain * rng.uniform(1.2, 1.9), gain)
        else:
            level = (
                rng.uniform(0.25, 0.6) if rng.random() < 0.75 else rng.uniform(1.4, 2)
            )
            texture = 1 + 0.3 * cloud(rng, shape, grain=rng.uniform(1, 3))
            echo = np.where(inside, echo.mean() * level * texture, echo)
            shade = rng.uniform(0.3, 1.0) if rng.random() < 0.5 else 1.0
            gain = np.where(behind, gain * shade, gain)
    gain = ndimage.gaussian_filter(gain, (2.0, 1.0))
    fading = np.exp(-rng.uniform(0.0, 1.6) * depth)
    return Painted(_speckled(rng, echo * gain * fading, seen), masks)


def _field(
    rng: np.random.Generator, shape: tuple[int, int]
) -> tuple[FloatArray, NDArray[np.bool_]]:
    """Return the depth of each pixel, 0 to 1, and what the probe sees."""
    rows, columns = shape
    y, x = np.mgrid[:rows, :columns]
    if rng.random() < 0.4:  # a straight probe fills a rectangle
        margin = rng.uniform(0.0, 0.15) * columns
        seen = (x >= margin) & (x < columns - margin)
        return (y / rows).astype(np.float32), seen
    apex = np.array([-rng.uniform(0.02, 0.5) * rows, columns * rng.uniform(0.45, 0.55)])
    distance = np.hypot(y - apex[0], x - apex[1])
    angle = np.arctan2(x - apex[1], y - apex[0])
    near = -apex[0] + rng.uniform(0.0, 0.08) * rows
    far = rows - apex[0] - rng.uniform(0.0, 0.06) * rows
    half = rng.uniform(0.45, 0.95) * np.arctan2(columns / 2, near + 0.5 * rows)
    half = max(half, 0.35)
    seen = (distance > near) & (distance < far) & (np.abs(angle) < half)
    depth = ((distance - near) / (far - near)).clip(0.0, 1.0)
    return depth.astype(np.float32), seen


def _lesion(
    rng: np.random.Generator,
    shape: tuple[int, int],
    seen: NDArray[np.bool_],
    *,
    name: str,
) -> NDArray[np.bool_] | None:
    """Place a lesion of some size where the probe sees it; None: no room."""
    radius = rng.uniform(0.05, 0.22) * min(shape)
    room = ndimage.distance_transform_edt(seen) > 0.6 * radius
    rows, columns = np.nonzero(room)
    if not len(rows):
        return None
    at = rng.integers(len(rows))
    wobble = rng.uniform(0.0, 0.15) if name == "cyst" else rng.uniform(0.05, 0.45)
    distance = blob(
        rng,
        shape,
        centre=(float(rows[at]), float(columns[at])),
        radius=radius,
        wobble=wobble,
        stretch=rng.uniform(1.0, 1.7),
    )
    inside: NDArray[np.bool_] = (distance < 1) & seen
    return inside


def _below(inside: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return what lies deeper than a lesion in its columns."""
    behind: NDArray[np.bool_] = np.maximum.accumulate(inside, axis=0) & ~inside
    return behind


def _speckled(
    rng: np.random.Generator, echo: FloatArray, seen: NDArray[np.bool_]
) -> FloatArray:
    """Multiply by Rayleigh speckle and compress the range as a scanner does."""
    waves = rng.normal(size=(2, *echo.shape))
    size = rng.uniform(0.3, 0.9), rng.uniform(0.5, 1.6)
    waves = np.stack([ndimage.gaussian_filter(wave, size) for wave in waves])
    speckle = np.hypot(*waves)
    speckle /= speckle.mean()
    decibels = rng.uniform(35, 60)
    sound = np.maximum(echo * speckle, 1e-4)
    picture = 1 + 20 * np.log10(sound / np.percentile(sound, 99.5)) / decibels
    return np.asarray(picture.clip(0.0, 1.0) * seen, dtype=np.float32)
