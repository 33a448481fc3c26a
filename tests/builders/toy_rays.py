"""Build a chest of boxes to shine through."""

from __future__ import annotations

import numpy as np

from training.derived.project import Pose
from training.derived.thorax import RayVolume

__all__ = ["make_chest", "straight"]

STRUCTURES = ("lung_left", "lung_right", "heart")


def make_chest(*, spacing_mm: float = 4.0) -> RayVolume:
    """Return a water box, 160 x 120 x 200 mm, with two lungs round a heart.

    The lungs run down behind a dome of abdomen; the heart lies to the left.
    """
    shape = tuple(round(s / spacing_mm) for s in (160, 120, 200))
    z, y, x = np.meshgrid(
        *((np.arange(n) + 0.5) * spacing_mm for n in shape), indexing="ij"
    )
    labels = np.zeros(shape, dtype=np.uint8)
    lungs = (z > 40) | ((y > 84) & (z > 12))
    lungs &= (y > 16) & (y < 104) & (z < 148)
    labels[lungs & (x > 112) & (x < 188)] = 1
    labels[lungs & (x > 12) & (x < 88)] = 2
    heart = (z > 40) & (z < 100) & (y > 16) & (y < 80) & (x > 80) & (x < 150)
    labels[heart] = 3
    image = np.where(np.isin(labels, (1, 2)), -850.0, 0.0)
    image[:, :, :2] = image[:, :, -2:] = -1000.0
    chest = np.isin(labels, (1, 2, 3)) | ((x > 12) & (x < 188) & (z <= 40))
    return RayVolume(
        name="toy",
        image=image.astype(np.float32),
        labels=labels,
        structures=STRUCTURES,
        chest=chest,
        spacing_mm=spacing_mm,
        heart_zyx=(70 / spacing_mm, 48 / spacing_mm, 115 / spacing_mm),
    )


def straight(view: str = "frontal", **changes: object) -> Pose:
    """Return a pose that changes nothing."""
    options = {
        "view": view,
        "angles_deg": (0.0, 0.0, 0.0),
        "scale": (1.0, 1.0, 1.0),
        "divergence": 0.0,
        "heart_scale": 1.0,
        "bend": np.zeros((3, 4, 4, 4)),
    }
    return Pose(**(options | changes))  # type: ignore[arg-type]
