"""Build a MedGLIP of a few thousand random weights, and stacks to show it."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import numpy as np
import torch

from model.config import MedGLIPConfig
from model.inference import GroundingModel
from model.medglip import MedGLIP
from model.records import ImageStack

__all__ = ["TINY", "make_grounding_model", "make_model", "make_stack"]

TINY = MedGLIPConfig(
    name="tiny",
    trunk_channels=(8, 16, 16, 16, 16),
    bottleneck_heads=2,
    phrase_dim=32,
    dense_dim=16,
    core_dim=32,
    core_heads=2,
    core_layers=2,
    core_queries=6,
    core_mask_dim=8,
)


def make_model(*, seed: int = 0) -> MedGLIP:
    """Return a random network in evaluation mode; the same for the same seed."""
    torch.manual_seed(seed)
    return MedGLIP(TINY).eval()


@cache
def make_grounding_model() -> GroundingModel:
    """Return a model that calls everything present and marks about half of it."""
    model = make_model()
    torch.nn.init.zeros_(model.dense.bias.bias)
    torch.nn.init.normal_(model.dense.words.weight, std=3.0)
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
