"""Draw slices as a tracer would show them: uptake by organ, and hot spots.

The anatomy is real, from the labels of a CT; the uptake is the usual one of FDG with
much chance in it; the hot spots are painted.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from model.config import MedGLIPConfig
from training.derived.augment import draw_slab
from training.derived.elsewhere import PLACES, absent_from
from training.derived.source import LabelledPicture
from training.derived.volumes import STRUCTURES, LabelledVolume

__all__ = ["TracerSource"]

FloatArray = NDArray[np.float32]

_UPTAKE: dict[str, tuple[float, float]] = {
    "liver": (1.6, 3.2),
    "spleen": (1.3, 2.6),
    "kidney": (2.0, 9.0),
    "urinary_bladder": (3.0, 30.0),
    "heart": (1.2, 9.0),
    "aorta": (1.2, 2.0),
    "inferior_vena_cava": (1.2, 2.0),
    "stomach": (1.0, 3.0),
    "colon": (0.6, 4.0),
    "small_bowel": (0.8, 3.0),
    "duodenum": (0.8, 2.5),
    "vertebrae": (1.0, 2.2),
    "sacrum": (1.0, 2.0),
    "hip": (0.9, 1.8),
    "lung": (0.2, 0.6),
    "spinal_cord": (0.8, 1.8),
    "pancreas": (1.0, 2.2),
}
"""Usual standard uptake by the start of the structure's name."""
_HOT = STRUCTURES.index("hot_spot") + 1


@dataclass(frozen=True, eq=False)
class TracerSource:
    """Slices of a CT's anatomy in the look of FDG PET."""

    volume: LabelledVolume

    @property
    def name(self) -> str:
        """Name of the volume, and that it is not the volume itself."""
        return f"{self.volume.name}_tracer"

    @property
    def structures(self) -> tuple[str, ...]:
        """The unified table, which holds the hot spot."""
        return STRUCTURES

    @property
    def label_space(self) -> frozenset[str]:
        """What takes the tracer up, hot spots, and what is elsewhere."""
        seen = {s for s in self.volume.label_space if s.startswith(tuple(_UPTAKE))}
        return frozenset(seen) | PLACES["tracer"] | absent_from("torso", "tracer")

    @property
    def unknown(self) -> frozenset[str]:
        """Concepts that the CT's labels cannot judge."""
        return self.volume.unknown

    def draw(
        self,
        rng: np.random.Generator,
        *,
        config: MedGLIPConfig,
        shape: tuple[int, int],
    ) -> LabelledPicture:
        """Draw one slice with its neighbours."""
        slab = draw_slab(
            self.volume,
            rng,
            offsets_mm=config.slice_offsets_mm,
            shape=shape,
            pixel_mm=config.pixel_spacing_mm,
        )
        body = ndimage.binary_opening(slab.image > -400, np.ones((1, 3, 3)))
        uptake = rng.uniform(0.3, 0.9) * body.astype(np.float32)
        for start, (low, high) in _UPTAKE.items():
            ids = [i + 1 for i, s in enumerate(STRUCTURES) if s.startswith(start)]
            level = float(np.exp(rng.uniform(np.log(low), np.log(high))))
            uptake[np.isin(slab.labels, ids)] = level
        hot = _hot_spots(rng, body, config)
        uptake = np.where(hot, uptake.max() * rng.uniform(0.5, 1.5) + 2.0, uptake)
        blur = rng.uniform(0.6, 1.4)
        uptake = ndimage.gaussian_filter(uptake, (0.0, blur, blur))
        noise = ndimage.gaussian_filter(rng.normal(size=uptake.shape), (0.0, 0.9, 0.9))
        uptake = uptake + noise * rng.uniform(0.05, 0.5) * np.sqrt(uptake + 0.02)
        ceiling = rng.uniform(4.0, 15.0)
        middle = len(uptake) // 2
        labels = slab.labels[middle]
        spots = np.where(hot[middle], _HOT, 0).astype(np.uint8)
        return LabelledPicture(
            image=uptake.clip(0.0, ceiling).astype(np.float32),
            labels=np.stack([labels, spots]),
            modality=str(rng.choice(["PT", "NM"])),
            weight=0.5,
        )


def _hot_spots(
    rng: np.random.Generator, body: NDArray[np.bool_], config: MedGLIPConfig
) -> NDArray[np.bool_]:
    """Place balls of 1 to 4 cm in the body, in half of the pictures none."""
    hot = np.zeros(body.shape, dtype=np.bool_)
    places = np.argwhere(body[len(body) // 2])
    if not len(places) or rng.random() < 0.5:
        return hot
    y, x = np.mgrid[: body.shape[1], : body.shape[2]]
    for _ in range(int(rng.integers(1, 5))):
        centre = places[rng.integers(len(places))]
        radius = rng.uniform(5.0, 20.0)
        depth = rng.normal(0.0, 0.4) * radius
        away = np.hypot(y - centre[0], x - centre[1]) * config.pixel_spacing_mm
        for plane, offset in zip(hot, config.slice_offsets_mm, strict=True):
            plane |= np.hypot(away, offset - depth) < radius
    return hot & body
