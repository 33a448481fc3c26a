"""Build a head of nested boxes in soft tissue maps."""

from __future__ import annotations

import numpy as np

from training.derived.brain import BRAIN_STRUCTURES, TISSUES, HeadAtlas

__all__ = ["make_head"]


def make_head(*, has_scalp: bool = True) -> HeadAtlas:
    """Return fat round bone round grey round white round a ventricle; left is larger.

    The brain's left half reaches from column 30 to 49, its right one from 14 to 29.
    """
    shape = (40, 56, 60)
    names = np.full(shape, -1)

    def fill(tissue: str, margin: int) -> None:
        inner = (slice(margin, -margin),) * 2
        names[4:36, inner[0], 6 + margin : 58 - margin] = TISSUES.index(tissue)

    if has_scalp:
        fill("fat", 4)
        fill("bone", 6)
    fill("grey", 8)
    fill("white", 12)
    names[14:26, 24:32, 26:34] = TISSUES.index("fluid")
    maps = np.stack([names == i for i in range(len(TISSUES))]).astype(np.float32)
    column = np.arange(shape[2])
    brain = maps[:3].sum(axis=0) > 0
    parts = {
        "cerebrospinal_fluid": maps[0] > 0,
        "grey_matter": maps[1] > 0,
        "white_matter": maps[2] > 0,
        "brain_half_left": brain & (column >= 30),
        "brain_half_right": brain & (column < 30),
        "brain_ventricles": maps[0] > 0,
    }
    codes = np.zeros(shape, dtype=np.uint8)
    for bit, name in enumerate(BRAIN_STRUCTURES):
        codes |= parts[name].astype(np.uint8) << bit
    brightness = np.array([0.2, 0.5, 0.8, 0.05, 0.4, 1.0], dtype=np.float32)
    return HeadAtlas(
        name="toy_head",
        t1=np.tensordot(brightness, maps, axes=1).astype(np.float32),
        maps=maps,
        codes=codes,
        spacing_mm=2.0,
        has_scalp=has_scalp,
    )
