"""Contrast the region of a phrase with other regions of the same picture (TaCo)."""

from __future__ import annotations

import torch
from torch import Tensor

from training.batch import PictureRegions
from training.losses.counts import mean_where
from training.losses.matching import match

__all__ = ["region_contrast", "taco_loss"]


def region_contrast(positive: Tensor, negatives: Tensor) -> Tensor:
    """Return -log softmax of the right region among the wrong ones (InfoNCE).

    Parameters
    ----------
    positive
        (pairs,) similarity of a phrase with its region.
    negatives
        (pairs, others) similarities with other regions.

    References
    ----------
    Z. Chen et al., MedRPG, MICCAI 2023. Its released code leaves the logarithm out;
    A. van den Oord et al., CPC, 2018, define it with.
    """
    both = torch.cat((positive[:, None], negatives), dim=1)
    return both.logsumexp(dim=1) - positive


def taco_loss(
    logits: Tensor,
    boxes: Tensor,
    targets: list[PictureRegions],
    *,
    generator: torch.Generator,
    others: int = 5,
) -> Tensor:
    """Contrast matched queries with random other queries, phrase by phrase.

    The alignment's own logits are the similarity, so that no weight exists for this
    loss alone.

    Parameters
    ----------
    logits
        (batch, queries, phrases) of the last layer.
    boxes
        (batch, queries, 4)
    others
        Negatives per pair, drawn among queries that own no region.
    """
    right, wrong = [], []
    for picture, target in enumerate(targets):
        query, region = match(logits[picture], boxes[picture], target)
        free = torch.ones(logits.shape[1], dtype=torch.bool)
        free[query.cpu()] = False
        rest = free.nonzero()[:, 0]
        if not len(rest):
            continue
        pairs = target.phrase[region].nonzero()  # (pairs, 2): matched row, phrase
        draws = torch.randint(len(rest), (len(pairs), others), generator=generator)
        negative = rest[draws].to(logits.device)
        right.append(logits[picture, query[pairs[:, 0]], pairs[:, 1]])
        wrong.append(logits[picture, negative, pairs[:, 1:]])
    if right:
        values = region_contrast(torch.cat(right), torch.cat(wrong))
    else:
        values = logits.new_zeros(0)
    # A sum of nothing keeps the graph whole where no picture shows anything.
    return mean_where(values, torch.ones_like(values)) + 0 * logits.sum()
