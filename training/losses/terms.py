"""Score pixels, presence and words: pure functions of tensors, each with its paper."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from training.losses.counts import mean_where
from training.losses.hypotheses import winner_takes_most

__all__ = [
    "concept_contrast",
    "dense_loss",
    "focal_loss",
    "presence_loss",
    "projection_cost",
    "soft_dice",
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


def dense_loss(
    logits: Tensor,
    targets: Tensor,
    known: Tensor,
    *,
    outlined: Tensor | None = None,
    weight: Tensor | None = None,
    epsilon: float = 0.05,
) -> Tensor:
    """Compare phrase masks with regions: cross-entropy everywhere, Dice where present.

    Filled boxes are no outlines: outside of them every pixel is known to be background,
    inside only that each row and column of the box holds something.

    Parameters
    ----------
    logits
        ([hypotheses,] batch, phrases, rows, columns)
    targets
        (batch, phrases, rows, columns) in {0, 1}, or bool.
    known
        (batch, phrases), True where the labels can tell.
    outlined
        (batch, phrases), False where the target is filled boxes; None: all outlined.
    weight
        (batch, phrases) how much each label counts; None: 1.
    epsilon
        See :func:`training.losses.hypotheses.winner_takes_most`.
    """
    goal = targets.to(logits.dtype)
    present = known & (goal.flatten(2).sum(-1) > 0)
    answers = logits if logits.dim() == 5 else logits[None]
    costs = torch.stack(
        [_mask_cost(some, goal, present, outlined=outlined) for some in answers]
    )
    cost = winner_takes_most(costs, epsilon=epsilon)
    counts = torch.ones_like(cost) if weight is None else weight.to(cost.dtype)
    # Averaging within present and absent pairs keeps rare structures audible.
    return mean_where(cost, present * counts) + mean_where(
        cost, (known & ~present) * counts
    )


def _mask_cost(
    logits: Tensor, goal: Tensor, present: Tensor, *, outlined: Tensor | None
) -> Tensor:
    """Return (batch, phrases): four times the entropy and Dice where present."""
    entropy = functional.binary_cross_entropy_with_logits(
        logits, goal, reduction="none"
    )
    mean = entropy.flatten(2).mean(-1)
    overlap = soft_dice(logits.flatten(2), goal.flatten(2))
    if outlined is not None and not bool(outlined.all()):
        outside = 1 - goal
        sure = (entropy * outside).flatten(2).sum(-1)
        sure = sure / outside.flatten(2).sum(-1).clamp(min=1)
        mean = torch.where(outlined, mean, sure)
        overlap = torch.where(outlined, overlap, projection_cost(logits, goal))
    return torch.where(present, 4 * mean + overlap, mean)


def projection_cost(logits: Tensor, boxes: Tensor) -> Tensor:
    """Compare the shadows of a mask with those of its boxes, along rows and columns.

    Parameters
    ----------
    logits, boxes
        (..., rows, columns); `boxes` is 1 inside the boxes.

    References
    ----------
    Z. Tian et al., BoxInst, CVPR 2021: the projection loss.
    """
    along = [soft_dice(logits.amax(dim), boxes.amax(dim)) for dim in (-1, -2)]
    return (along[0] + along[1]) / 2


def presence_loss(
    logits: Tensor,
    area: Tensor,
    known: Tensor,
    *,
    weight: Tensor | None = None,
    smallest: int = 6,
) -> Tensor:
    """Ask whether a phrase is on the slice; a sliver of it does not count either way.

    Parameters
    ----------
    logits
        (batch, phrases)
    area
        (batch, phrases) pixels of the region on the slice.
    known
        (batch, phrases); an ancestor that nobody annotated is neither here nor there.
    weight
        (batch, phrases) how much each label counts; None: 1.
    smallest
        Fewer pixels are a sliver.
    """
    target = (area > 0).to(logits.dtype)
    entropy = functional.binary_cross_entropy_with_logits(
        logits, target, reduction="none"
    )
    counts = torch.ones_like(entropy) if weight is None else weight.to(entropy.dtype)
    here = mean_where(entropy, (known & (area >= smallest)) * counts)
    return (here + mean_where(entropy, (known & (area == 0)) * counts)) / 2


def concept_contrast(vectors: Tensor, concept: Tensor, scale: float = 10.0) -> Tensor:
    """Pull wordings of one concept together and push other concepts away.

    Parameters
    ----------
    vectors
        (phrases, dim) of unit length.
    concept
        (phrases,) concept numbers, -1: unknown; each should occur at least twice.

    References
    ----------
    P. Khosla et al., Supervised contrastive learning, NeurIPS 2020.
    """
    similarity = vectors @ vectors.T * scale
    itself = torch.eye(len(vectors), dtype=torch.bool, device=vectors.device)
    nameless = concept < 0
    similarity = similarity.masked_fill(itself | nameless[None, :], -1e4)
    same = (concept[:, None] == concept[None, :]) & ~itself
    same &= ~nameless[:, None]
    log_share = similarity.log_softmax(dim=-1)
    friends = same.sum(-1)
    score = (log_share * same).sum(-1) / friends.clamp(min=1)
    return -mean_where(score, friends > 0)
