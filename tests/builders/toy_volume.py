"""Build a patient of three blocks: enough to learn from in a minute."""

from __future__ import annotations

import numpy as np

from training.derived.volumes import STRUCTURES, LabelledVolume

__all__ = ["BLOCKS", "make_volume"]

BLOCKS = {"liver": 120.0, "spleen": 60.0, "aorta": 220.0}
"""Structure and its grey value."""


def make_volume(
    *, size: int = 24, seed: int = 0, without: frozenset[str] = frozenset()
) -> LabelledVolume:
    """Return a noisy trunk with one block per structure, always at the same side."""
    rng = np.random.default_rng(seed)
    image = np.full((size, 60, 72), -1000.0, dtype=np.float32)
    labels = np.zeros(image.shape, dtype=np.uint8)
    image[:, 6:54, 6:66] = 0.0
    places = {
        "liver": (slice(14, 40), slice(12, 34)),
        "spleen": (slice(18, 36), slice(44, 60)),
        "aorta": (slice(38, 48), slice(33, 43)),
    }
    for name, place in places.items():
        if name not in without:
            image[:, *place] = BLOCKS[name]
            labels[:, *place] = STRUCTURES.index(name) + 1
    image += rng.normal(0, 8, image.shape).astype(np.float32)
    return LabelledVolume(
        name="toy",
        modality="CT",
        image=image,
        labels=labels,
        spacing_mm=(3.0, 3.0, 3.0),
        label_space=frozenset(BLOCKS),
    )
