"""Keep the order of the hierarchy: who contains is never less present."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

__all__ = ["children_first", "raise_parents"]


def children_first(parents: Sequence[int]) -> list[int]:
    """Return all rows in an order in which every child precedes its parent.

    Raises
    ------
    ValueError
        A phrase would contain itself, at whatever distance.
    """
    depth: list[int] = []
    for start in range(len(parents)):
        steps, row = 0, start
        while parents[row] >= 0:
            row = parents[row]
            steps += 1
            if steps > len(parents):
                raise ValueError("the hierarchy of the phrases has a circle")
        depth.append(steps)
    return sorted(range(len(parents)), key=lambda row: -depth[row])


def raise_parents(logits: Tensor, parent: Tensor) -> Tensor:
    """Lift every containing phrase to the largest logit of what it contains.

    Parameters
    ----------
    logits
        (batch, phrases)
    parent
        (phrases,) row of the containing phrase, -1 = none.
    """
    lifted = list(logits.unbind(-1))
    above = parent.tolist()
    for row in children_first(above):
        if above[row] >= 0:
            lifted[above[row]] = torch.maximum(lifted[above[row]], lifted[row])
    return torch.stack(lifted, dim=-1) if lifted else logits
