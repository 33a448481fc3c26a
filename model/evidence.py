"""Collect what the two branches say about phrases, over all slices of a stack."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from model.detections import Detections
from model.features import StackFeatures
from model.medglip import MedGLIP
from model.modality import modality_index
from model.words import Reading

__all__ = ["Comparison", "PhraseEvidence", "compare", "core_shares", "decode"]

_BEST_SLICES = 3
"""Slices whose presence evidence is averaged into the score of a stack."""

_TOGETHER = 16
"""Pairs of a slice and a phrase that go through the core at a time."""


@dataclass(frozen=True, eq=False)
class PhraseEvidence:
    """What the branches say about one phrase, on the model grid."""

    presence_logit: float
    dense: NDArray[np.float32]
    """(model slices, rows, columns) probabilities of the dense branch"""
    core: NDArray[np.float32] | None
    """The same of the detection core; None: not asked"""
    agreement: float = 1.0
    """Mean Dice of each hypothesis with their mean, in [0, 1]; 1 without hypotheses"""


@dataclass(frozen=True, eq=False)
class Comparison:
    """Every phrase beside every slice of a stack, before any map is made."""

    presence_logits: list[float]
    """One for each phrase"""
    logits: list[Tensor]
    """Per batch of slices: (slices, phrases, rows, columns), on the device"""


@torch.inference_mode()
def compare(network: MedGLIP, features: StackFeatures, reading: Reading) -> Comparison:
    """Compare every phrase with every pixel of every slice; decode nothing."""
    logits, presence = [], []
    for pyramid in features.pyramids:
        logits.append(network.dense(pyramid[0], reading.vectors))
        presence.append(network.presence(logits[-1], pyramid[-1], reading.vectors))
    slices = torch.cat(presence).float().cpu()  # (slices, phrases)
    # Neighbouring slices of a volume speak for each other; other pictures do not.
    count = min(_BEST_SLICES, len(slices)) if features.grid.slice_mm else 1
    best = slices.topk(count, dim=0).values.mean(0)
    return Comparison([float(logit) for logit in best], logits)


@torch.inference_mode()
def decode(
    network: MedGLIP,
    features: StackFeatures,
    reading: Reading,
    found: Comparison,
    *,
    rows: Sequence[int],
) -> dict[int, PhraseEvidence]:
    """Make the maps of some phrases, and ask how far their hypotheses agree.

    Parameters
    ----------
    rows
        Of the phrases that are kept.

    Returns
    -------
    By row.
    """
    if not rows:
        return {}
    kept = list(rows)
    maps = [logits[:, kept].sigmoid().float().cpu().numpy() for logits in found.logits]
    shares = np.concatenate(maps)
    overlaps = []
    if network.config.hypotheses > 1:
        for pyramid, logits in zip(features.pyramids, found.logits, strict=True):
            apart = network.dense.hypothesise(pyramid[0], reading.vectors[kept])
            overlaps.append(_overlap(apart, logits[:, kept]))
    agreement = _mean_dice(overlaps, phrases=len(kept))
    return {
        row: PhraseEvidence(
            found.presence_logits[row],
            features.place(shares[:, i]),
            None,
            agreement=agreement[i],
        )
        for i, row in enumerate(kept)
    }


@torch.inference_mode()
def core_shares(
    network: MedGLIP, features: StackFeatures, reading: Reading, *, rows: Sequence[int]
) -> dict[int, NDArray[np.float32]]:
    """Fold the core's queries for each of some phrases into a probability map.

    A pixel's probability is the best of root(query answers phrase) x (query's mask).
    Each phrase is asked alone: in company the core's answers depend on each other.

    Parameters
    ----------
    rows
        Of the phrases that are looked for.

    Returns
    -------
    (model slices, rows, columns) by row.
    """
    maps: dict[int, list[NDArray[np.float32]]] = {row: [] for row in rows}
    device = reading.vectors.device
    modality = torch.tensor([modality_index(features.modality)], device=device)
    for pyramid in features.pyramids:
        slices = len(pyramid[0])
        step = max(1, _TOGETHER // slices)
        for some in (rows[i : i + step] for i in range(0, len(rows), step)):
            # Every slice once per phrase: the caption of a row is one phrase.
            levels = tuple(level.repeat(len(some), 1, 1, 1) for level in pyramid)
            asked = torch.tensor(some, device=device).repeat_interleave(slices)[:, None]
            found = network.detect(
                levels, modality.expand(len(asked)), reading, asked=asked
            )
            shares = _fold(found, size=pyramid[0].shape[-2:])
            for row, share in zip(some, shares.chunk(len(some)), strict=True):
                maps[row].append(share.cpu().numpy())
    return {row: features.place(np.concatenate(parts)) for row, parts in maps.items()}


def _fold(found: Detections, *, size: torch.Size) -> Tensor:
    """Return (batch, rows, columns) probabilities of the only phrase asked."""
    scores = found.logits[:, -1, :, 0].sigmoid().sqrt()  # (batch, queries)
    masks = found.masks.sigmoid()  # (batch, queries, rows/2, columns/2)
    folded = (scores[..., None, None] * masks).amax(dim=1, keepdim=True)
    return functional.interpolate(folded, size=size, mode="bilinear")[:, 0]


def _overlap(hypotheses: Tensor, mean: Tensor) -> Tensor:
    """Count the pixels of each hypothesis, of the mean and of both.

    Returns
    -------
    (3, hypotheses, phrases)
    """
    mine, whole = hypotheses > 0, (mean > 0)[None]
    # Each picture by itself first: one sum over all would run through memory in
    # strides, and takes nearly three times as long.
    counts = [
        of.flatten(3).sum(-1, dtype=torch.int32).sum(1)
        for of in (mine, whole, mine & whole)
    ]
    counts[1] = counts[1].expand_as(counts[0])
    return torch.stack(counts).double().cpu()


def _mean_dice(overlaps: list[Tensor], *, phrases: int) -> list[float]:
    """Return the mean Dice of the hypotheses with their mean, phrase by phrase."""
    if not overlaps:
        return [1.0] * phrases
    mine, whole, both = torch.stack(overlaps).sum(0)  # each (hypotheses, phrases)
    dice = torch.where(mine + whole > 0, 2 * both / (mine + whole).clamp(min=1), 1.0)
    return [float(value) for value in dice.mean(0)]
