"""What the detection core is asked and what it answers."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

__all__ = [
    "DenoisingQueries",
    "Detections",
    "phrase_logits",
    "some_queries",
    "word_shares",
]


@dataclass
class Detections:
    """What the detection core says about every query.

    n is the number of asked phrases, W that of the caption's words. Boxes are centre
    x, centre y, width, height as shares of the picture, in [0, 1]. Logits of padding
    are -1e4.
    """

    logits: Tensor
    """(batch, layers, queries, n): mean over the words of each phrase"""
    word_logits: Tensor
    """(batch, layers, queries, W) region-word logits"""
    word_owner: Tensor
    """(batch, W) which of the n phrases a word belongs to; -1 = padding, delimiter,
    modality token or prefix"""
    boxes: Tensor
    """(batch, layers, queries, 4), mean of the hypotheses"""
    box_hypotheses: Tensor | None
    """(batch, layers, hypotheses, queries, 4); None with one hypothesis"""
    masks: Tensor
    """(batch, queries, rows/2, columns/2) logits of the last layer"""
    proposal_logits: Tensor
    """(batch, proposals, n) of the places that query selection chose"""
    proposal_word_logits: Tensor
    """(batch, proposals, W)"""
    proposal_boxes: Tensor
    """(batch, proposals, 4), with gradient"""
    query_states: Tensor
    """(batch, queries, dim) of the last layer"""
    denoised: Detections | None = None
    """The answers of the denoising queries, without proposals; None: not asked"""


@dataclass
class DenoisingQueries:
    """Boxes that the decoder shall repair, each with the phrase it claims.

    References
    ----------
    H. Zhang et al., DINO, ICLR 2023: contrastive denoising.
    """

    boxes: Tensor
    """(batch, D, 4) noised centre-size boxes, shares of the picture"""
    phrase: Tensor
    """(batch, D) asked column that the query claims, maybe wrongly; -1 = padding"""
    group: Tensor
    """(D,) number of the group, 0 or more; groups do not see each other"""


def word_shares(owner: Tensor, count: int) -> Tensor:
    """Return each word's share in its phrase: (batch, words, n), columns sum to 1."""
    is_word = owner[..., None] == torch.arange(count, device=owner.device)
    return is_word / is_word.sum(1, keepdim=True).clamp(min=1)


def phrase_logits(word_logits: Tensor, members: Tensor) -> Tensor:
    """Average the words of each phrase; -1e4 for a phrase without words."""
    some = members.sum(1) > 0  # (batch, n)
    if word_logits.dim() == 4:
        members, some = members[:, None], some[:, None]
    logits: Tensor = word_logits @ members.to(word_logits.dtype)
    return logits.masked_fill(~some[..., None, :], -1e4)


def some_queries(found: Detections, some: slice) -> Detections:
    """Return the answers of some queries."""
    hypotheses = found.box_hypotheses
    return replace(
        found,
        logits=found.logits[:, :, some],
        word_logits=found.word_logits[:, :, some],
        boxes=found.boxes[:, :, some],
        box_hypotheses=None if hypotheses is None else hypotheses[:, :, :, some],
        masks=found.masks[:, some],
        query_states=found.query_states[:, some],
    )
