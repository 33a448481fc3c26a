"""Paint mammograms: a breast at one edge, glandular tissue, a mass or none."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from training.derived.phantoms import Painted, blob, cloud

__all__ = ["paint_mammogram"]


def paint_mammogram(rng: np.random.Generator, shape: tuple[int, int]) -> Painted:
    """Paint the left or right breast, chest wall at the left edge of the picture."""
    rows, columns = shape
    y, x = np.mgrid[:rows, :columns]
    height, width = rng.uniform(0.35, 0.55) * rows, rng.uniform(0.45, 0.95) * columns
    middle = rows * rng.uniform(0.45, 0.6)
    round_edge = ((y - middle) / height) ** 2 + (x / width) ** 2
    breast = round_edge < 1
    thick = np.sqrt((1 - round_edge).clip(0.0))
    gland = cloud(rng, shape, grain=5) + 0.7 * cloud(rng, shape, grain=1.5)
    density = rng.uniform(0.05, 0.6) * (0.5 + 0.35 * gland).clip(0.0)
    strands = np.abs(cloud(rng, shape, grain=2.5))
    picture = thick**0.4 * (0.25 + density) + 0.06 * (1 - strands).clip(0) * breast
    if rng.random() < 0.5:  # the muscle in the upper corner of an oblique view
        muscle = (x / (columns * 0.4) + y / (rows * rng.uniform(0.4, 0.8))) < 1
        picture = picture + 0.3 * ndimage.gaussian_filter(muscle.astype(float), 1.5)
    inside = np.zeros(shape, np.bool_)
    room = np.argwhere(ndimage.distance_transform_edt(breast) > 5)
    for _ in range(int(rng.integers(0, 3)) if len(room) else 0):
        centre = room[rng.integers(len(room))]
        radius = rng.uniform(0.03, 0.12) * rows
        distance = blob(
            rng,
            shape,
            centre=(float(centre[0]), float(centre[1])),
            radius=radius,
            wobble=rng.uniform(0.05, 0.7),
            stretch=rng.uniform(1.0, 1.5),
        )
        bump = np.sqrt((1.1 - distance).clip(0.0, 1.0))
        picture = picture + rng.uniform(0.2, 0.5) * bump
        inside |= (distance < 1) & breast
    picture = ndimage.gaussian_filter(picture, 0.4) * (breast | (picture > 0.28))
    picture = picture + rng.normal(0, rng.exponential(0.012), shape)
    picture = (picture / max(float(picture.max()), 1e-6)).clip(0, 1)
    return Painted(picture.astype(np.float32), {"breast_mass": inside})
