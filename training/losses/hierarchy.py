"""Keep a part no likelier than the whole that contains it."""

from __future__ import annotations

import torch
from torch import Tensor

from training.losses.counts import mean_where

__all__ = ["hierarchy_loss"]


def hierarchy_loss(presence_logits: Tensor, parent: Tensor) -> Tensor:
    """Return the mean hinge max(0, P(child) - P(parent)).

    The labels take no part: an ancestor that nobody annotated is not taken for absent,
    only for no less likely than what it contains.

    Parameters
    ----------
    presence_logits
        (batch, phrases)
    parent
        (phrases,) row of the containing phrase, -1 = none.

    References
    ----------
    E. Giunchiglia, T. Lukasiewicz, Coherent hierarchical multi-label classification
    networks, NeurIPS 2020: the constraint; as a hinge it leaves both sides free.
    """
    share = presence_logits.sigmoid()
    above = share[:, parent.clamp(min=0)]
    hinge = torch.relu(share - above)
    has_parent = (parent >= 0).expand_as(hinge)
    return mean_where(hinge, has_parent)
