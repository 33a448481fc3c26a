"""Turn water lengths into a radiograph: beam, scatter, noise, film, things in the way.

Values grow with what the ray met, as in MONOCHROME2: bone is bright, air is dark.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from scipy import ndimage

__all__ = ["collimate", "draw_masses", "expose", "hang_things"]

FloatArray = NDArray[np.float32]
BoolArray = NDArray[np.bool_]


def expose(
    soft_mm: FloatArray, bone_mm: FloatArray, rng: np.random.Generator
) -> FloatArray:
    """Return the picture of (rows, columns) water lengths in [0, 1].

    A soft beam (low kV) shows more bone; scatter flattens what is thick; the film
    curve, local contrast enhancement and grain differ from maker to maker.
    """
    weakening = rng.uniform(0.016, 0.023)  # of water, per mm
    bone_share = rng.uniform(0.7, 2.6)
    scatter, spread = rng.uniform(0.0, 0.7), rng.uniform(8.0, 24.0)
    enhancement, radius = rng.uniform(-0.2, 1.4), rng.uniform(4.0, 24.0)
    grain, level = rng.uniform(0.0, 0.9), rng.exponential(0.03)
    is_linear = rng.random() < 0.3
    low, high = rng.uniform(0.0, 8.0), rng.uniform(97.0, 100.0)
    gamma, sigmoid = np.exp(rng.normal(0.0, 0.35)), rng.uniform(0.0, 5.0)

    length = weakening * (soft_mm + bone_share * bone_mm)
    arriving = np.exp(-length)
    haze = ndimage.gaussian_filter(arriving, spread)
    arriving = arriving + scatter * haze
    # Some devices store the logarithm of what arrives, others what arrives.
    picture = -arriving if is_linear else -np.log(arriving + 1e-5)
    if enhancement > 0:
        picture += enhancement * (picture - ndimage.gaussian_filter(picture, radius))
    noise = ndimage.gaussian_filter(rng.normal(size=picture.shape), grain)
    noise *= level / max(float(noise.std()), 1e-6) * float(picture.std())
    # Fewer quanta arrive behind what is thick.
    picture += noise * np.exp((length - length.mean()) / 2).clip(0.3, 3.0)
    bottom, top = np.percentile(picture, (low, high))
    picture = ((picture - bottom) / max(float(top - bottom), 1e-6)).clip(0.0, 1.0)
    picture = picture**gamma
    if sigmoid > 1.0:
        curve = 1 / (1 + np.exp(-sigmoid * (picture - 0.5)))
        ends = 1 / (1 + np.exp(sigmoid * np.array([0.5, -0.5])))
        picture = (curve - ends[0]) / (ends[1] - ends[0])
    return np.asarray(picture, dtype=np.float32)


def draw_masses(
    lungs: BoolArray, rng: np.random.Generator, *, pixel_mm: float
) -> tuple[FloatArray, BoolArray]:
    """Draw round masses and hazy opacities into the lungs.

    Returns
    -------
    (rows, columns) water length to add in mm, and where a round mass can be seen.
    Haze (a consolidation, an effusion, breast or muscle) is added but not marked.
    """
    added = np.zeros(lungs.shape, dtype=np.float32)
    marked = np.zeros(lungs.shape, dtype=np.bool_)
    rows, columns = np.nonzero(lungs)
    if len(rows) < 50:
        return added, marked
    y, x = np.mgrid[: lungs.shape[0], : lungs.shape[1]]
    for _ in range(int(rng.integers(1, 6)) if rng.random() < 0.45 else 0):
        at = rng.integers(len(rows))
        radius = rng.uniform(6.0, 32.0) / pixel_mm * np.exp(rng.normal(0, 0.12, 2))
        distance = np.hypot((y - rows[at]) / radius[0], (x - columns[at]) / radius[1])
        thick = 2 * float(radius.mean()) * pixel_mm * rng.uniform(0.6, 1.0)
        added += thick * np.sqrt((1 - distance**2).clip(0.0))
        marked |= (distance < 0.95) & lungs
    for _ in range(int(rng.integers(1, 5)) if rng.random() < 0.5 else 0):
        at = rng.integers(len(rows))
        radius = rng.uniform(15.0, 70.0, 2) / pixel_mm
        distance = np.hypot((y - rows[at]) / radius[0], (x - columns[at]) / radius[1])
        cloud = ndimage.gaussian_filter(rng.normal(size=lungs.shape), 3.0)
        haze = (1 + 4 * cloud).clip(0.0) * np.exp(-(distance**2))
        added += rng.uniform(5.0, 60.0) * haze * lungs
    return ndimage.gaussian_filter(added, 0.6).astype(np.float32), marked


def hang_things(picture: FloatArray, rng: np.random.Generator) -> FloatArray:
    """Put a side marker and leads on a picture in [0, 1].

    Columns grow towards the patient's left, so the marker on the left says R.
    """
    rows, columns = picture.shape
    marker, leads = rng.random() < 0.5, rng.random() < 0.3
    sheet = Image.new("L", (columns, rows))
    pen = ImageDraw.Draw(sheet)
    if marker:
        side = int(rng.integers(2))
        at = (columns * (0.03 + 0.87 * side), rows * rng.uniform(0.0, 0.85))
        pen.text(at, "RL"[side], fill=255)
    for _ in range(int(rng.integers(1, 4)) if leads else 0):
        points = rng.uniform(0.1, 0.9, (4, 2)) * (columns, rows)
        points[0] = rng.uniform(0, columns), rng.choice([0, rows])
        pen.line([(float(px), float(py)) for px, py in _curve(points)], fill=200)
        pen.ellipse((*(points[-1] - 1.5), *(points[-1] + 1.5)), fill=255)
    drawn = np.asarray(sheet, dtype=np.float32) / 255
    return np.maximum(picture, drawn * np.float32(rng.uniform(0.7, 1.0)))


def collimate(
    picture: FloatArray, rng: np.random.Generator
) -> tuple[FloatArray, BoolArray]:
    """Shut the edges of a picture in [0, 1], sometimes; return it and what is open."""
    rows, columns = picture.shape
    shut, is_bright = rng.random() < 0.35, rng.random() < 0.3
    left, right = (rng.uniform(0.0, 0.08, 2) * columns * shut).astype(int)
    top, bottom = (rng.uniform(0.0, 0.08, 2) * rows * shut).astype(int)
    is_open = np.zeros(picture.shape, dtype=np.bool_)
    is_open[top : rows - bottom, left : columns - right] = True
    shade = np.float32(1.0 if is_bright else 0.0)
    return np.where(is_open, picture, shade), is_open


def _curve(points: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return 24 points of the cubic Bezier curve of four control points."""
    t = np.linspace(0, 1, 24)[:, None]
    a, b, c, d = points
    curve: NDArray[np.float64] = (
        (1 - t) ** 3 * a + 3 * (1 - t) ** 2 * t * b + 3 * (1 - t) * t**2 * c + t**3 * d
    )
    return curve
