"""Score predictions: pure functions of tensors, each with its paper."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

__all__ = [
    "box_giou",
    "concept_contrast",
    "dense_loss",
    "focal_loss",
    "presence_loss",
    "soft_dice",
    "to_xyxy",
]


def soft_dice(logits: Tensor, targets: Tensor) -> Tensor:
    """Return one minus the soft Dice overlap over the last dimension.

    References
    ----------
    F. Milletari et al., V-Net, 3DV 2016.
    """
    share = logits.sigmoid()
    overlap = (share * targets).sum(-1)
    return 1 - (2 * overlap + 1) / (share.sum(-1) + targets.sum(-1) + 1)


def focal_loss(
    logits: Tensor, targets: Tensor, *, alpha: float = 0.25, gamma: float = 2.0
) -> Tensor:
    """Return the element-wise sigmoid focal loss.

    References
    ----------
    T.-Y. Lin et al., Focal loss for dense object detection, ICCV 2017.
    """
    entropy = functional.binary_cross_entropy_with_logits(
        logits, targets, reduction="none"
    )
    share = logits.sigmoid()
    hit = share * targets + (1 - share) * (1 - targets)
    weight = alpha * targets + (1 - alpha) * (1 - targets)
    return weight * (1 - hit) ** gamma * entropy


def dense_loss(logits: Tensor, targets: Tensor, known: Tensor) -> Tensor:
    """Compare phrase masks with regions: cross-entropy everywhere, Dice where present.

    Parameters
    ----------
    logits, targets
        (batch, phrases, rows, columns)
    known
        (batch, phrases), True where the labels can tell.
    """
    flat, goal = logits.flatten(2), targets.flatten(2)
    entropy = functional.binary_cross_entropy_with_logits(
        flat, goal, reduction="none"
    ).mean(-1)
    present = known & (goal.sum(-1) > 0)
    # Averaging within present and absent pairs keeps rare structures audible.
    total = _mean(entropy, present) * 4 + _mean(entropy, known & ~present)
    return total + _mean(soft_dice(flat, goal), present)


def presence_loss(logits: Tensor, area: Tensor, known: Tensor) -> Tensor:
    """Ask whether a phrase is on the slice; a sliver of it does not count either way.

    Parameters
    ----------
    logits
        (batch, phrases)
    area
        (batch, phrases) pixels of the region on the slice.
    known
        (batch, phrases)
    """
    clear = known & ((area == 0) | (area >= 6))
    target = (area > 0).to(logits.dtype)
    entropy = functional.binary_cross_entropy_with_logits(
        logits, target, reduction="none"
    )
    return (
        _mean(entropy, clear & (area > 0)) + _mean(entropy, clear & (area == 0))
    ) / 2


def concept_contrast(vectors: Tensor, concept: Tensor, scale: float = 10.0) -> Tensor:
    """Pull wordings of one concept together and push other concepts away.

    Parameters
    ----------
    vectors
        (phrases, dim) of unit length.
    concept
        (phrases,) concept numbers; each should occur at least twice.

    References
    ----------
    P. Khosla et al., Supervised contrastive learning, NeurIPS 2020.
    """
    similarity = vectors @ vectors.T * scale
    itself = torch.eye(len(vectors), dtype=torch.bool, device=vectors.device)
    similarity = similarity.masked_fill(itself, -1e4)
    same = (concept[:, None] == concept[None, :]) & ~itself
    log_share = similarity.log_softmax(dim=-1)
    friends = same.sum(-1)
    score = (log_share * same).sum(-1) / friends.clamp(min=1)
    return -_mean(score, friends > 0)


def to_xyxy(boxes: Tensor) -> Tensor:
    """Turn centre-size boxes into corner boxes."""
    centre, size = boxes[..., :2], boxes[..., 2:]
    return torch.cat((centre - size / 2, centre + size / 2), dim=-1)


def box_giou(first: Tensor, second: Tensor) -> Tensor:
    """Return the generalised IoU of corner boxes, broadcasting over all but the last.

    References
    ----------
    H. Rezatofighi et al., Generalized intersection over union, CVPR 2019.
    """
    low = torch.maximum(first[..., :2], second[..., :2])
    high = torch.minimum(first[..., 2:], second[..., 2:])
    overlap = (high - low).clamp(min=0).prod(-1)
    area = (first[..., 2:] - first[..., :2]).clamp(min=0).prod(-1)
    other = (second[..., 2:] - second[..., :2]).clamp(min=0).prod(-1)
    union = (area + other - overlap).clamp(min=1e-9)
    hull_low = torch.minimum(first[..., :2], second[..., :2])
    hull_high = torch.maximum(first[..., 2:], second[..., 2:])
    hull = (hull_high - hull_low).clamp(min=0).prod(-1).clamp(min=1e-9)
    return overlap / union - (hull - union) / hull


def _mean(values: Tensor, where: Tensor) -> Tensor:
    """Average over the chosen entries; zero when there are none."""
    weight = where.to(values.dtype)
    return (values * weight).sum() / weight.sum().clamp(min=1)
