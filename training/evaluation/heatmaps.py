"""Draw the evidence of our own model at the picture's size, for pointing and CNR."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from model.features import see_stack
from model.grid import upsample_box
from model.inference import GroundingModel
from model.records import ImageStack
from training.evaluation.model import HeatSource

__all__ = ["heat_source"]

_PHRASES = 16
"""Phrases compared at a time, as `GroundingModel` does."""

_NEVER = 2.0
"""Above every presence score: the detection core is not asked."""


def heat_source(model: GroundingModel) -> HeatSource:
    """Return what asks a model for its evidence maps.

    A map is the share that the answer's mask is cut from, whether or not the phrase is
    called present.
    """
    device = str(next(model.network.parameters()).device)

    def maps(stack: ImageStack, phrases: Sequence[str]) -> list[NDArray[np.float32]]:
        features = see_stack(model.network, stack, device=device, progress=None)
        weight = model.config.core_weight
        ask_from = model.config.presence_threshold if weight else _NEVER
        whole = tuple(slice(0, size) for size in features.grid.source_shape)
        box = (whole[0], whole[1], whole[2])
        found: list[NDArray[np.float32]] = []
        for start in range(0, len(phrases), _PHRASES):
            group = phrases[start : start + _PHRASES]
            for evidence in model.evidence(features, group, ask_core_from=ask_from):
                share = evidence.dense
                if weight and evidence.core is not None:
                    share = (1 - weight) * share + weight * evidence.core
                found.append(upsample_box(share, features.grid, box=box))
        return found

    return maps
