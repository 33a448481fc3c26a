"""Build a MedGLIP of a few thousand random weights, and stacks to show it."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
import torch

from model.config import MedGLIPConfig
from model.inference import GroundingModel
from model.medglip import MedGLIP
from model.records import ImageStack
from model.text import TextBatch

__all__ = ["TINY", "make_grounding_model", "make_model", "make_stack", "make_text"]

TINY = MedGLIPConfig(
    name="tiny",
    trunk_channels=(8, 16, 16, 16, 16),
    bottleneck_heads=2,
    phrase_dim=32,
    dense_dim=16,
    core_dim=32,
    core_heads=2,
    core_layers=2,
    core_ffn=64,
    core_queries=6,
    core_mask_dim=8,
)


def make_model(*, seed: int = 0, **changes: Any) -> MedGLIP:
    """Return a random network in evaluation mode; the same for the same seed."""
    torch.manual_seed(seed)
    return MedGLIP(replace(TINY, **changes)).eval()


def make_text(
    *, phrases: int = 5, pictures: int = 3, seed: int = 2, hidden: int = 384
) -> TextBatch:
    """Return phrases of one to four random words, with attributes and a prefix.

    The phrases carry [CLS] and [SEP]; the last one has no attributes.
    """
    generator = torch.Generator().manual_seed(seed)

    def states(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, hidden, generator=generator)

    lengths = torch.arange(phrases) % 4 + 3
    place = torch.arange(int(lengths.max()))
    mask = place[None] < lengths[:, None]
    ids = 2000 + place + 10 * torch.arange(phrases)[:, None]
    ids[:, 0] = 101
    ids[torch.arange(phrases), lengths - 1] = 102
    known = torch.ones(phrases, 4, dtype=torch.bool)
    known[-1] = False
    return TextBatch(
        input_ids=ids * mask,
        mask=mask,
        hidden=states(*mask.shape) * mask[..., None],
        attributes=states(phrases, 4),
        attribute_mask=known,
        prefix=states(pictures, 2),
        prefix_mask=torch.ones(pictures, 2, dtype=torch.bool),
    )


@cache
def make_grounding_model() -> GroundingModel:
    """Return a model that calls everything present and marks about half of it."""
    model = make_model()
    torch.nn.init.zeros_(model.dense.bias.bias)
    torch.nn.init.normal_(model.dense.words.weight, std=3.0)
    torch.nn.init.constant_(model.dense.variant_gate, 0.3)
    config = replace(
        TINY, presence_threshold=0.0, core_weight=0.3, min_region_mm3=100.0
    )
    model.config = config
    return GroundingModel(model, sha256="0" * 64)


def make_stack(
    *shape: int,
    spacing_mm: tuple[float, float, float] | None = (3.0, 2.0, 2.0),
    modality: str = "CT",
    is_volume: bool = True,
    seed: int = 0,
) -> ImageStack:
    """Return blurred noise in tissue units, warm enough to count as a body."""
    rng = np.random.default_rng(seed)
    if len(shape) == 4:
        pixels = rng.integers(0, 255, shape).astype(np.uint8)
    else:
        pixels = rng.normal(40, 80, shape).astype(np.float32)
    return ImageStack(pixels, spacing_mm, modality, None, is_volume)
