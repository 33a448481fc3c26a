"""Draw slices of a labelled volume: deform the patient, colour it, add the room."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from model.config import MedGLIPConfig
from training.derived.appearance import add_surroundings, disturb, randomise_contrast
from training.derived.augment import contrast_phase, draw_slab, synthetic_ct
from training.derived.elsewhere import absent_from
from training.derived.source import LabelledPicture
from training.derived.volumes import STRUCTURES, LabelledVolume

__all__ = ["VolumeSource"]


@dataclass(frozen=True, eq=False)
class VolumeSource:
    """Slices of one CT or MR volume with a unified label map."""

    volume: LabelledVolume
    body_part: str | None = None
    """Told to the network for every second slice; None: it never is"""

    @property
    def name(self) -> str:
        """Name of the volume."""
        return self.volume.name

    @property
    def structures(self) -> tuple[str, ...]:
        """Return the unified table."""
        return STRUCTURES

    @property
    def label_space(self) -> frozenset[str]:
        """Structures that would have been labelled, and those of other places."""
        return self.volume.label_space | absent_from("torso")

    @property
    def unknown(self) -> frozenset[str]:
        """Concepts about which the labels say nothing."""
        return self.volume.unknown

    def draw(
        self,
        rng: np.random.Generator,
        *,
        config: MedGLIPConfig,
        shape: tuple[int, int],
    ) -> LabelledPicture:
        """Draw one augmented slice with its neighbours."""
        slab = draw_slab(
            self.volume,
            rng,
            offsets_mm=config.slice_offsets_mm,
            shape=shape,
            pixel_mm=config.pixel_spacing_mm,
        )
        modality = self.volume.modality
        kind = rng.random()
        if modality == "MR":
            if kind < 0.7:
                slab, modality = synthetic_ct(slab, rng), "CT"
        elif kind < 0.75:
            slab = contrast_phase(slab, rng)
        image = slab.image
        if modality == "CT":
            if rng.random() < 0.6:
                image = add_surroundings(image, slab.labels, rng)
            image = disturb(image, rng)
        elif rng.random() < 0.5:
            image = randomise_contrast(image, rng)
        if modality == "CT" and rng.random() < 0.08:
            # A picture whose grey values mean nothing belongs to no CT.
            image = randomise_contrast(image, rng)
            modality = str(rng.choice(["MR", "OT", "PT"]))
        is_told = rng.random() < 0.5
        return LabelledPicture(
            image=image,
            labels=slab.labels[len(slab.labels) // 2][None],
            modality=modality,
            body_part=self.body_part if is_told else None,
        )
