"""Serve painted pictures: what every phantom shares, whatever it imitates.

A phantom is synthetic: a picture drawn from geometry and chance for a kind of image
of which no open labelled one could be found. It teaches words and shapes, and nothing
about disease.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from model.config import MedGLIPConfig
from training.derived.elsewhere import absent_from
from training.derived.frame import lay, place
from training.derived.source import LabelledPicture

__all__ = ["LUMINANCE", "Painted", "PhantomSource", "blob", "cloud", "luminance"]

FloatArray = NDArray[np.float32]
BoolArray = NDArray[np.bool_]

LUMINANCE = (0.299, 0.587, 0.114)
"""Shares of red, green and blue: what serving sees of a colour picture.

References: Rec. ITU-R BT.601-7, section 2.5.1.
"""
_WEIGHT = 0.5
"""How much the labels of a synthetic picture count beside those of a real one."""


@dataclass(frozen=True, eq=False)
class Painted:
    """A picture and where each of its structures is."""

    picture: FloatArray
    """(rows, columns) grey, or (rows, columns, 3) red, green, blue, in [0, 1]"""
    masks: Mapping[str, BoolArray]
    """(rows, columns) by structure; one that is not painted may be missing"""


Painter = Callable[[np.random.Generator, tuple[int, int]], Painted]


@dataclass(frozen=True, eq=False)
class PhantomSource:
    """Pictures that one painter draws."""

    name: str
    paint: Painter
    structures: tuple[str, ...]
    places: tuple[str, ...]
    """Keys of ``PLACES`` that the picture may show"""
    modalities: tuple[str, ...]
    body_part: str | None = None
    unknown: frozenset[str] = frozenset()
    aspects: tuple[float, float] = (0.7, 1.0)
    """Range of rows divided by columns"""
    mirrors: bool = True
    weight: float = _WEIGHT
    tier: str = "synthetic"

    @property
    def label_space(self) -> frozenset[str]:
        """What is painted, and what no such picture can show."""
        return frozenset(self.structures) | absent_from(*self.places)

    def draw(
        self,
        rng: np.random.Generator,
        *,
        config: MedGLIPConfig,
        shape: tuple[int, int],
    ) -> LabelledPicture:
        """Paint one picture and lay it into the frame, cut off where it is larger."""
        longest = rng.uniform(0.65, 1.05) * max(shape)
        aspect = rng.uniform(*self.aspects)
        size = (
            max(16, round(longest * min(1.0, aspect))),
            max(16, round(longest / max(1.0, aspect))),
        )
        painted = self.paint(rng, size)
        grey = luminance(painted.picture)
        masks = dict(painted.masks)
        if self.mirrors and rng.random() < 0.5:
            grey = grey[:, ::-1]
            masks = {name: mask[:, ::-1] for name, mask in masks.items()}
        top, left = place(grey.shape, shape, rng)
        image = np.full(shape, grey.min(), dtype=np.float32)
        lay(grey, image, top=top, left=left)
        labels = np.zeros((len(self.structures), *shape), dtype=np.uint8)
        for value, name in enumerate(self.structures, start=1):
            if name in masks:
                mask = masks[name].astype(np.uint8) * value
                lay(mask, labels[value - 1], top=top, left=left)
        is_told = rng.random() < 0.5
        return LabelledPicture(
            image=image[None],
            labels=labels,
            modality=str(rng.choice(self.modalities)),
            body_part=self.body_part if is_told else None,
            weight=self.weight,
        )


def luminance(picture: FloatArray) -> FloatArray:
    """Return (rows, columns): the picture as serving sees it."""
    if picture.ndim == 2:
        return picture
    return np.asarray(picture @ np.array(LUMINANCE, np.float32), dtype=np.float32)


def cloud(
    rng: np.random.Generator, shape: tuple[int, int], *, grain: float
) -> FloatArray:
    """Return smooth noise of unit variance; `grain` is its size in pixels."""
    noise = ndimage.gaussian_filter(rng.normal(size=shape), grain, mode="wrap")
    return np.asarray(noise / max(float(noise.std()), 1e-6), dtype=np.float32)


def blob(
    rng: np.random.Generator,
    shape: tuple[int, int],
    *,
    centre: tuple[float, float],
    radius: float,
    wobble: float,
    stretch: float = 1.0,
) -> FloatArray:
    """Return the distance from a blob's centre as a share of its edge's: 1 on the edge.

    Parameters
    ----------
    centre
        (row, column) in pixels.
    wobble
        How far the outline leaves an ellipse, as a share of the radius.
    stretch
        Longer radius divided by the shorter one.
    """
    y, x = np.mgrid[: shape[0], : shape[1]]
    turn = rng.uniform(0, np.pi)
    down, across = y - centre[0], x - centre[1]
    u = np.cos(turn) * across + np.sin(turn) * down
    v = (np.cos(turn) * down - np.sin(turn) * across) * stretch
    angle = np.arctan2(v, u)
    edge = np.ones(shape)
    for order in range(2, 7):
        strength = rng.normal(0.0, wobble / order)
        edge += strength * np.cos(order * angle + rng.uniform(0, 2 * np.pi))
    distance = np.hypot(u, v) / (radius * np.maximum(edge, 0.3))
    return np.asarray(distance, dtype=np.float32)
