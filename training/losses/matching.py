"""Say which query answers for which region, picture by picture."""

from __future__ import annotations

import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from training.batch import PictureRegions
from training.losses.boxes import box_giou, to_xyxy

__all__ = ["Pairs", "match", "match_many", "matching_cost"]

Pairs = tuple[Tensor, Tensor]
"""Two index tensors of equal length: queries and regions."""


@torch.no_grad()
def matching_cost(logits: Tensor, boxes: Tensor, target: PictureRegions) -> Tensor:
    """Return (queries, regions): how badly each query would answer for each region.

    Parameters
    ----------
    logits
        (queries, phrases) of one picture.
    boxes
        (queries, 4) centre-size.

    References
    ----------
    N. Carion et al., DETR, ECCV 2020; focal cost: X. Zhu et al., Deformable DETR,
    ICLR 2021; weights of MM-Grounding-DINO.
    """
    share = logits.float().sigmoid()
    positive = 0.25 * (1 - share) ** 2 * -(share + 1e-8).log()
    negative = 0.75 * share**2 * -(1 - share + 1e-8).log()
    phrase = target.phrase / target.phrase.sum(-1, keepdim=True).clamp(min=1)
    cost = 2 * (positive - negative) @ phrase.T  # (queries, regions)
    boxes = boxes.float()
    cost = cost + 5 * torch.cdist(boxes, target.boxes, p=1)
    giou = box_giou(to_xyxy(boxes)[:, None], to_xyxy(target.boxes)[None])
    return cost - 2 * giou


def match(logits: Tensor, boxes: Tensor, target: PictureRegions) -> Pairs:
    """Assign one query to each region at least cost (Hungarian method)."""
    if not len(target.boxes):
        return _nothing(boxes)
    cost = matching_cost(logits, boxes, target)
    query, region = linear_sum_assignment(cost.cpu().numpy())
    return (
        torch.as_tensor(query, device=boxes.device),
        torch.as_tensor(region, device=boxes.device),
    )


def match_many(
    logits: Tensor, boxes: Tensor, target: PictureRegions, *, count: int
) -> Pairs:
    """Assign the `count` cheapest queries to each region.

    A query that several regions want goes to the one it costs least; the best query
    of the one-to-one assignment always keeps its region.

    References
    ----------
    J. Jia et al., DETRs with hybrid matching, CVPR 2023.
    """
    query, region = match(logits, boxes, target)
    if count <= 1 or not len(target.boxes):
        return query, region
    cost = matching_cost(logits, boxes, target)
    nearest = cost.topk(min(count, len(cost)), dim=0, largest=False).indices
    wanted = torch.full_like(cost, torch.inf)
    wanted.scatter_(0, nearest, cost.gather(0, nearest))
    wanted[query] = torch.inf
    wanted[query, region] = -torch.inf
    best, owner = wanted.min(dim=1)
    queries = (best < torch.inf).nonzero()[:, 0]
    return queries, owner[queries]


def _nothing(like: Tensor) -> Pairs:
    empty = torch.zeros(0, dtype=torch.long, device=like.device)
    return empty, empty
