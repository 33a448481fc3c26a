"""Show cell nuclei: crops of one real labelled picture, and painted ones."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

from training.derived.phantoms import Painted, blob, cloud

__all__ = ["NucleiPainter", "load_nuclei"]

FloatArray = NDArray[np.float32]
BoolArray = NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class NucleiPainter:
    """Paints nuclei; every second picture is a crop of the real one."""

    picture: FloatArray
    """(rows, columns) in [0, 1]: fluorescence"""
    nuclei: NDArray[np.int32]
    """(rows, columns): 0 or the number of a nucleus, outlined by hand"""

    def __call__(self, rng: np.random.Generator, shape: tuple[int, int]) -> Painted:
        """Paint one picture."""
        crop = self._crop if rng.random() < 0.5 else _paint
        light, nuclei = crop(rng, shape)
        if rng.random() < 0.45:
            return Painted(_stained(rng, light, nuclei), {"cell_nucleus": nuclei})
        noise = rng.normal(0, rng.exponential(0.02), shape)
        light = (light * rng.uniform(0.6, 1.3) + noise).clip(0, 1)
        return Painted(light.astype(np.float32), {"cell_nucleus": nuclei})

    def _crop(
        self, rng: np.random.Generator, shape: tuple[int, int]
    ) -> tuple[FloatArray, BoolArray]:
        """Cut, turn and scale a part of the real picture."""
        rows, columns = self.picture.shape
        scale = rng.uniform(1.2, rows / max(shape) * 0.98)
        height, width = (min(round(side * scale), rows) for side in shape)
        top = int(rng.integers(0, rows - height + 1))
        left = int(rng.integers(0, columns - width + 1))
        turns = int(rng.integers(4))
        part = np.s_[top : top + height, left : left + width]
        light = np.rot90(np.rot90(self.picture, turns)[part], 2 * (turns % 2))
        names = np.rot90(np.rot90(self.nuclei, turns)[part], 2 * (turns % 2))
        size = (shape[1], shape[0])
        small = Image.fromarray(np.ascontiguousarray(light)).resize(
            size, Image.Resampling.BOX
        )
        share = Image.fromarray((names > 0).astype(np.float32)).resize(
            size, Image.Resampling.BOX
        )
        gamma = np.exp(rng.normal(-0.3, 0.3))
        return np.asarray(small) ** np.float32(gamma), np.asarray(share) > 0.5


def load_nuclei(folder: Path) -> NucleiPainter:
    """Read the labelled fluorescence picture of the stardist package.

    Parameters
    ----------
    folder
        Holds ``img2d.tif`` and ``mask2d.tif``.
    """
    with Image.open(folder / "img2d.tif") as image:
        picture = np.asarray(image, dtype=np.float32)
    with Image.open(folder / "mask2d.tif") as image:
        nuclei = np.asarray(image, dtype=np.int32)
    low, high = np.percentile(picture, (1.0, 99.8))
    light = ((picture - low) / (high - low)).clip(0.0, 1.0)
    return NucleiPainter(light.astype(np.float32), nuclei)


def _paint(
    rng: np.random.Generator, shape: tuple[int, int]
) -> tuple[FloatArray, BoolArray]:
    """Paint ovals of one tissue: similar in size, some touching."""
    light = np.full(shape, rng.uniform(0.0, 0.1), np.float32)
    nuclei = np.zeros(shape, np.bool_)
    radius = rng.uniform(2.5, 9.0)
    count = int(rng.uniform(0.05, 0.35) * shape[0] * shape[1] / (np.pi * radius**2))
    for _ in range(min(count, 120)):
        own = radius * np.exp(rng.normal(0, 0.2))
        centre = rng.uniform(0, 1, 2) * shape
        reach = int(3 * own) + 2
        top, left = (int(c) - reach for c in centre)
        distance = blob(
            rng,
            (2 * reach, 2 * reach),
            centre=(centre[0] - top, centre[1] - left),
            radius=own,
            wobble=0.08,
            stretch=rng.uniform(1.0, 1.7),
        )
        rows = slice(max(0, top), min(shape[0], top + 2 * reach))
        columns = slice(max(0, left), min(shape[1], left + 2 * reach))
        part = distance[
            rows.start - top : rows.stop - top,
            columns.start - left : columns.stop - left,
        ]
        nuclei[rows, columns] |= part < 1
        glow = rng.uniform(0.3, 1.0) * (1.2 - part).clip(0, 0.4) / 0.4
        light[rows, columns] = np.maximum(light[rows, columns], glow)
    texture = 1 + 0.15 * cloud(rng, shape, grain=0.8)
    blurred = ndimage.gaussian_filter(light * texture, rng.uniform(0.3, 0.9))
    return blurred.clip(0, 1).astype(np.float32), nuclei


def _stained(
    rng: np.random.Generator, light: FloatArray, nuclei: BoolArray
) -> FloatArray:
    """Turn fluorescence into a haematoxylin and eosin look: dark nuclei on pink."""
    pink = np.array([rng.uniform(0.8, 0.98), rng.uniform(0.5, 0.8), 0.85])
    violet = np.array([rng.uniform(0.25, 0.5), rng.uniform(0.15, 0.35), 0.6])
    fibres = 1 + 0.08 * cloud(rng, nuclei.shape, grain=rng.uniform(1, 5))
    share = (nuclei * 0.5 + 0.5 * light).clip(0, 1)[..., None] * rng.uniform(0.7, 1.0)
    picture = (pink * fibres[..., None]) * (1 - share) + violet * share
    picture = picture + rng.normal(0, rng.exponential(0.015), picture.shape)
    return np.asarray(picture.clip(0, 1), dtype=np.float32)
