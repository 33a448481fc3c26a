"""Compare regions voxel by voxel."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from training.evaluation.metrics.definition import Definition

__all__ = ["HIT_DICE", "OVERLAP_DEFINITIONS", "dice", "mask_iou", "paste"]

HIT_DICE = 0.1
"""A finding counts as hit from this Dice on (ReXGroundingCT)."""

OVERLAP_DEFINITIONS = (
    Definition(
        "Dice",
        "Mean over the present outlined phrases of twice the shared voxels over the "
        "sum of marked and true voxels; a phrase called absent counts 0.",
        reference="L. R. Dice, Ecology 1945",
    ),
    Definition(
        "Dice, empty rule",
        "Mean Dice over all outlined and all absent phrases; an absent phrase counts 1 "
        "when nothing was marked and 0 when anything was.",
        reference="SAT, arXiv 2312.17183",
    ),
    Definition(
        "Mask IoU",
        "Mean over the present outlined phrases of the shared voxels over the voxels "
        "that are marked or true; a miss counts 0.",
    ),
    Definition(
        "HIT",
        f"Share of the present outlined phrases whose Dice is at least {HIT_DICE}.",
        reference="ReXGroundingCT, rexrank.ai",
    ),
)


def dice(found: NDArray[np.bool_], truth: NDArray[np.bool_]) -> float:
    """Return the Dice overlap of two masks; 1 when both are empty.

    References
    ----------
    L. R. Dice, Measures of the amount of ecologic association, Ecology 1945.
    """
    total = int(found.sum()) + int(truth.sum())
    return 2 * int((found & truth).sum()) / total if total else 1.0


def mask_iou(found: NDArray[np.bool_], truth: NDArray[np.bool_]) -> float:
    """Return intersection over union of two masks; 1 when both are empty."""
    union = int((found | truth).sum())
    return int((found & truth).sum()) / union if union else 1.0


def paste(
    mask: NDArray[np.bool_], origin: tuple[int, int, int], shape: tuple[Any, ...]
) -> NDArray[np.bool_]:
    """Lay a cropped mask into an empty volume."""
    whole = np.zeros(shape, dtype=np.bool_)
    if mask.size:
        part = tuple(slice(o, o + n) for o, n in zip(origin, mask.shape, strict=True))
        whole[part] = mask
    return whole
