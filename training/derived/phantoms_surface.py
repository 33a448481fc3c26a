"""Paint what a camera sees: a polyp in the bowel, a lesion on the skin."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from scipy import ndimage

from training.derived.phantoms import Painted, blob, cloud

__all__ = ["paint_endoscopy", "paint_skin"]

FloatArray = NDArray[np.float32]


def paint_endoscopy(rng: np.random.Generator, shape: tuple[int, int]) -> Painted:
    """Paint a tunnel of folds lit from the camera, with a polyp or none."""
    rows, columns = shape
    y, x = np.mgrid[:rows, :columns]
    lumen = np.array(shape) * rng.uniform(0.25, 0.75, 2)
    away = np.hypot(y - lumen[0], x - lumen[1]) / rows
    angle = np.arctan2(y - lumen[0], x - lumen[1])
    folds = np.sin(
        rng.uniform(10, 24) * np.sqrt(away)
        + rng.uniform(0.2, 1.2) * np.cos(3 * angle + rng.uniform(0, 6))
        + 0.8 * cloud(rng, shape, grain=14)
    )
    height = rng.uniform(2.0, 5.0) * folds + 1.5 * cloud(rng, shape, grain=10)
    light = (0.25 + 1.1 * away / (0.35 + away)).clip(0.05, 1.2)
    colour = np.array([rng.uniform(0.7, 0.95), rng.uniform(0.3, 0.5), 0.3])
    colour[2] = colour[1] * rng.uniform(0.6, 1.0)
    tint = np.ones((*shape, 3)) * colour
    inside = np.zeros(shape, np.bool_)
    for _ in range(int(rng.integers(0, 3))):
        radius = rng.uniform(0.07, 0.24) * rows
        centre = rng.uniform(0.15, 0.85, 2) * shape
        distance = blob(
            rng,
            shape,
            centre=(float(centre[0]), float(centre[1])),
            radius=radius,
            wobble=rng.uniform(0.05, 0.3),
            stretch=rng.uniform(1.0, 1.6),
        )
        dome = np.sqrt((1 - distance.clip(0, 1) ** 2).clip(0.0))
        height = height * (1 - 0.8 * (distance < 1)) + dome * radius * rng.uniform(
            0.5, 1.1
        )
        redder = np.array([1.0, rng.uniform(0.75, 1.05), rng.uniform(0.75, 1.05)])
        tint = np.where((distance < 1)[..., None], tint * redder, tint)
        light = np.where(distance < 1, np.maximum(light, rng.uniform(0.5, 0.9)), light)
        inside |= distance < 1
    slope = np.stack(np.gradient(ndimage.gaussian_filter(height, 0.8)))
    # The lamp sits beside the lens: what faces it is bright, what turns away is dark.
    lamp = rng.normal(0.0, 0.35, 2)
    facing = 1 - slope[0] * lamp[0] - slope[1] * lamp[1]
    to_camera = facing.clip(0.1) / np.sqrt(1 + (slope**2).sum(axis=0) * 0.5)
    shine = (to_camera > np.percentile(to_camera, 98)) & (rng.random(shape) < 0.2)
    shine = ndimage.gaussian_filter(shine.astype(np.float32), 0.7).clip(0, 0.5) * 2
    picture = (
        tint
        * (light * to_camera * (1 + 0.03 * cloud(rng, shape, grain=1.5)))[..., None]
    )
    picture = picture + shine[..., None] * rng.uniform(0.2, 0.9)
    picture = picture + rng.normal(0, rng.exponential(0.015), picture.shape)
    seen = np.ones(shape, np.bool_)
    if rng.random() < 0.6:  # many endoscopes show an octagon
        cut = rng.uniform(0.08, 0.25) * rows
        corner = np.minimum(y, rows - 1 - y) + np.minimum(x, columns - 1 - x)
        seen = corner > cut
    picture = picture * seen[..., None]
    return Painted(picture.clip(0, 1).astype(np.float32), {"polyp": inside & seen})


def paint_skin(rng: np.random.Generator, shape: tuple[int, int]) -> Painted:
    """Paint skin with a pigmented lesion or none, hairs, and the lens' dark rim."""
    rows, columns = shape
    y, x = np.mgrid[:rows, :columns]
    skin = np.array([rng.uniform(0.6, 0.95), 0.0, 0.0])
    skin[1] = skin[0] * rng.uniform(0.65, 0.85)
    skin[2] = skin[1] * rng.uniform(0.7, 0.95)
    picture = np.ones((*shape, 3)) * skin
    picture *= (
        1 + 0.03 * cloud(rng, shape, grain=2) + 0.04 * cloud(rng, shape, grain=20)
    )[..., None]
    inside = np.zeros(shape, np.bool_)
    if rng.random() < 0.85:
        radius = rng.uniform(0.1, 0.38) * rows
        centre = np.array(shape) * rng.uniform(0.35, 0.65, 2)
        distance = blob(
            rng,
            shape,
            centre=(float(centre[0]), float(centre[1])),
            radius=radius,
            wobble=rng.uniform(0.05, 0.5),
            stretch=rng.uniform(1.0, 1.6),
        )
        distance = distance * (1 + 0.08 * cloud(rng, shape, grain=4))
        inside = distance < 1
        soft = rng.uniform(0.05, 0.5)
        cover = ((1 + soft / 2 - distance) / soft).clip(0.0, 1.0)
        depth = rng.uniform(0.3, 0.9)
        pigment = skin * np.array([1 - depth * 0.7, 1 - depth * 0.9, 1 - depth])
        net = 1.1 + 0.12 * cloud(rng, shape, grain=rng.uniform(1.0, 5.0))
        share = (cover * net).clip(0.0, 1.0)[..., None]
        picture = picture * (1 - share) + pigment * share
    sheet = Image.new("L", (columns, rows))
    pen = ImageDraw.Draw(sheet)
    for _ in range(int(rng.integers(0, 14)) if rng.random() < 0.4 else 0):
        ends = rng.uniform(0, 1, (2, 2)) * (columns, rows)
        pen.line([float(v) for v in ends.ravel()], fill=255)
    hair = np.asarray(sheet, np.float32)[..., None] / 255
    picture = picture * (1 - 0.7 * hair)
    if rng.random() < 0.35:
        rim = np.hypot(y - rows / 2, x - columns / 2) / (0.5 * columns)
        picture = picture * (rim < rng.uniform(0.85, 1.15))[..., None]
    picture = picture + rng.normal(0, rng.exponential(0.01), picture.shape)
    return Painted(picture.clip(0, 1).astype(np.float32), {"skin_lesion": inside})
