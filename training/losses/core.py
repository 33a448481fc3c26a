"""Teach the detection core: match queries with regions, picture by picture.

Every picture has its own phrases and its own matching. The stock criterion of
``transformers`` mixes the phrases of different pictures and gives its proposals no
gradient, therefore it is not used.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor
from torch.nn import functional

from model.core import Detections
from training.losses.terms import box_giou, focal_loss, soft_dice, to_xyxy

__all__ = ["RegionTargets", "core_loss", "match"]


@dataclass
class RegionTargets:
    """Regions of one picture."""

    phrase: Tensor
    """(regions, phrases) 1 where the phrase describes the region"""
    boxes: Tensor
    """(regions, 4) centre-size, shares of the picture"""
    masks: Tensor
    """(regions, rows/2, columns/2) in {0, 1}"""


def core_loss(
    detections: Detections, targets: list[RegionTargets], known: Tensor
) -> Tensor:
    """Sum focal, L1, GIoU and mask terms over layers and proposals.

    Parameters
    ----------
    known
        (batch, phrases), True where the phrase is real and its labels can tell.
    """
    regions = max(1, sum(len(target.boxes) for target in targets))
    layers = detections.logits.shape[1]
    stages = [
        (detections.logits[:, i], detections.boxes[:, i], i == layers - 1)
        for i in range(layers)
    ]
    stages.append((detections.proposal_logits, detections.proposal_boxes, False))
    total = detections.logits.new_zeros(())
    for logits, boxes, with_masks in stages:
        for picture, target in enumerate(targets):
            query, region = match(logits[picture], boxes[picture], target)
            goal = torch.zeros_like(logits[picture])
            goal[query] = target.phrase[region]
            score = focal_loss(logits[picture], goal) * known[picture]
            total = total + score.sum()
            if not len(query):
                continue
            box, want = boxes[picture][query], target.boxes[region]
            total = total + 5 * (box - want).abs().sum()
            total = total + 2 * (1 - box_giou(to_xyxy(box), to_xyxy(want))).sum()
            if with_masks:
                mask = detections.masks[picture][query].flatten(1)
                truth = target.masks[region].flatten(1)
                total = total + 2 * soft_dice(mask, truth).sum()
                entropy = functional.binary_cross_entropy_with_logits(
                    mask, truth, reduction="none"
                )
                total = total + 5 * entropy.mean(-1).sum()
    return total / regions


@torch.no_grad()
def match(
    logits: Tensor, boxes: Tensor, target: RegionTargets
) -> tuple[Tensor, Tensor]:
    """Assign one query to each region at least cost (Hungarian method).

    Returns
    -------
    Two index tensors of equal length: queries and regions.

    References
    ----------
    N. Carion et al., DETR, ECCV 2020.
    """
    if not len(target.boxes):
        empty = torch.zeros(0, dtype=torch.long)
        return empty, empty
    share = logits.sigmoid()
    positive = 0.25 * (1 - share) ** 2 * -(share + 1e-8).log()
    negative = 0.75 * share**2 * -(1 - share + 1e-8).log()
    phrase = target.phrase / target.phrase.sum(-1, keepdim=True).clamp(min=1)
    cost = 2 * (positive - negative) @ phrase.T  # (queries, regions)
    cost = cost + 5 * torch.cdist(boxes, target.boxes, p=1)
    giou = box_giou(to_xyxy(boxes)[:, None], to_xyxy(target.boxes)[None])
    cost = cost - 2 * giou
    query, region = linear_sum_assignment(cost.cpu().numpy())
    return torch.as_tensor(query), torch.as_tensor(region)
