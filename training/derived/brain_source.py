"""Draw slices of heads in any contrast: the grey of each tissue is a matter of chance.

After SynthSeg [1]_: a network that has seen every contrast relies on none.

References
----------
.. [1] B. Billot et al., "SynthSeg: segmentation of brain MRI scans of any contrast and
   resolution without retraining", Medical Image Analysis 86, 2023.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from model.config import MedGLIPConfig
from training.derived.augment import draw_slab
from training.derived.brain import BRAIN_STRUCTURES, TISSUES, HeadAtlas
from training.derived.elsewhere import PLACES, absent_from
from training.derived.source import LabelledPicture
from training.derived.volumes import LabelledVolume

__all__ = ["BrainSource", "swap_halves"]

FloatArray = NDArray[np.float32]

_LOOKS: dict[str, tuple[float, ...]] = {
    "T1": (0.15, 0.55, 0.85, 0.05, 0.45, 1.0),
    "T2": (1.0, 0.6, 0.4, 0.05, 0.25, 0.7),
    "PD": (0.8, 0.9, 0.7, 0.1, 0.6, 0.9),
    "FLAIR": (0.1, 0.7, 0.55, 0.05, 0.35, 0.6),
}
"""Usual brightness of ``TISSUES``, share of the brightest."""
_HOUNSFIELD = (8.0, 38.0, 29.0, 900.0, 50.0, -90.0)
"""The same in HU."""
_LEFT, _RIGHT = (
    BRAIN_STRUCTURES.index(f"brain_half_{side}") for side in ("left", "right")
)


@dataclass(frozen=True, eq=False)
class BrainSource:
    """Axial slices of one head: template, usual sequences, random greys and CT."""

    atlas: HeadAtlas

    @property
    def name(self) -> str:
        """Name of the head."""
        return self.atlas.name

    @property
    def structures(self) -> tuple[str, ...]:
        """Tissues, halves and ventricles of the brain."""
        return BRAIN_STRUCTURES

    @property
    def label_space(self) -> frozenset[str]:
        """The brain's structures, and everything that is in no head."""
        return PLACES["head"] | absent_from("head", "torso") | _BELOW_THE_NECK

    @property
    def unknown(self) -> frozenset[str]:
        """Parts of the head without labels."""
        return _UNLABELLED

    def draw(
        self,
        rng: np.random.Generator,
        *,
        config: MedGLIPConfig,
        shape: tuple[int, int],
    ) -> LabelledPicture:
        """Draw one slice with its neighbours."""
        is_ct = self.atlas.has_scalp and rng.random() < 0.12
        image = self._hounsfield(rng) if is_ct else self._paint(rng)
        codes = self.atlas.codes
        thickness = rng.uniform(0.0, 1.3)  # voxels of slice profile
        image = ndimage.gaussian_filter1d(image, thickness, axis=0)
        if rng.random() < 0.5:
            image, codes = image[:, :, ::-1], swap_halves(codes[:, :, ::-1])
        modality = "CT" if is_ct else "MR"
        spacing = self.atlas.spacing_mm
        slab = draw_slab(
            LabelledVolume(
                name=self.name,
                modality=modality,
                image=image,
                labels=codes,
                spacing_mm=(spacing, spacing, spacing),
                label_space=frozenset(),
            ),
            rng,
            offsets_mm=config.slice_offsets_mm,
            shape=shape,
            pixel_mm=config.pixel_spacing_mm,
        )
        code = slab.labels[len(slab.labels) // 2]
        labels = np.stack(
            [(code >> bit & 1) * (bit + 1) for bit in range(len(BRAIN_STRUCTURES))]
        )
        is_told = rng.random() < 0.5
        return LabelledPicture(
            image=_scan(slab.image, rng, is_ct=is_ct),
            labels=labels.astype(np.uint8),
            modality=modality,
            body_part=str(rng.choice(["HEAD", "BRAIN"])) if is_told else None,
        )

    def _paint(self, rng: np.random.Generator) -> FloatArray:
        """Give every tissue a brightness, usual or random."""
        kind = rng.random()
        stripped = rng.random() < 0.2
        if kind < 0.3:
            image = self.atlas.t1 ** np.float32(np.exp(rng.normal(0.0, 0.3)))
        else:
            if kind < 0.65:
                look = np.array(_LOOKS[str(rng.choice(list(_LOOKS)))])
                greys = (look + rng.normal(0.0, 0.08, len(TISSUES))).clip(0.0)
            else:
                greys = rng.uniform(0.0, 1.0, len(TISSUES))
            image = np.tensordot(greys.astype(np.float32), self.atlas.maps, axes=1)
        if stripped and self.atlas.has_scalp:
            image = image * self.atlas.maps[:3].sum(axis=0)
        return np.asarray(image, dtype=np.float32)

    def _hounsfield(self, rng: np.random.Generator) -> FloatArray:
        """Paint the head in HU."""
        spread = np.array((3.0, 3.0, 3.0, 200.0, 10.0, 10.0))
        greys = np.array(_HOUNSFIELD) + rng.normal(0.0, 1.0, len(TISSUES)) * spread
        maps = self.atlas.maps
        filled = maps.sum(axis=0).clip(0.0, 1.0)
        image = np.tensordot(greys.astype(np.float32), maps, axes=1)
        return np.asarray(image - 1000.0 * (1.0 - filled), dtype=np.float32)


def _scan(image: FloatArray, rng: np.random.Generator, *, is_ct: bool) -> FloatArray:
    """Add coil shading, texture and noise to a slab."""
    if is_ct:
        noise = ndimage.gaussian_filter(rng.normal(size=image.shape), (0, 0.7, 0.7))
        return np.asarray(image + noise * rng.exponential(12.0), dtype=np.float32)
    coarse = rng.normal(0.0, rng.uniform(0.0, 0.4), (2, 4, 4))
    zoom = [n / m for n, m in zip(image.shape, coarse.shape, strict=True)]
    shading = np.exp(ndimage.zoom(coarse, zoom, order=1))
    texture = ndimage.gaussian_filter(rng.normal(size=image.shape), (0, 0.8, 0.8))
    level = rng.exponential(0.03, 2)
    result = image * shading * (1 + level[0] * 3 * texture)
    noise = rng.normal(0.0, level[1], (2, *image.shape))
    # The magnitude of two noisy channels: the noise of air is bright, too.
    return np.asarray(np.hypot(result + noise[0], noise[1]), dtype=np.float32)


def swap_halves(codes: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Exchange the two halves in codes of ``BRAIN_STRUCTURES``; its own inverse."""
    left, right = codes >> _LEFT & 1, codes >> _RIGHT & 1
    rest = codes & ~np.uint8(1 << _LEFT | 1 << _RIGHT)
    return np.asarray(rest | left << _RIGHT | right << _LEFT, dtype=np.uint8)


_UNLABELLED = frozenset(
    {"cerebellum", "pituitary gland", "eyes", "skull", "paranasal sinuses", "teeth"}
    | {"tongue", "parotid", "larynx", "cervical spine", "inner ear", "brain findings"}
)
_BELOW_THE_NECK = frozenset(
    name
    for name in PLACES["torso"]
    if not name.startswith(("spinal_cord", "vertebrae", "thyroid", "trachea"))
    and not name.startswith(("intervertebral", "common_carotid", "esophagus"))
)
