"""Make one answer of what several readers drew.

References
----------
Solovyev, Wang and Gabruseva, Weighted boxes fusion, Image and Vision Computing 2021.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from training.records import XYXY

__all__ = ["box_iou", "consensus_mask", "fuse_boxes"]


def box_iou(one: XYXY, other: XYXY) -> float:
    """Return the intersection of two boxes over their union."""
    width = min(one[2], other[2]) - max(one[0], other[0])
    height = min(one[3], other[3]) - max(one[1], other[1])
    shared = max(width, 0.0) * max(height, 0.0)
    union = _area(one) + _area(other) - shared
    return shared / union if union > 0 else 0.0


def _area(box: XYXY) -> float:
    return max(box[2] - box[0], 0.0) * max(box[3] - box[1], 0.0)


def fuse_boxes(
    readers: Sequence[Sequence[XYXY]], *, iou: float
) -> tuple[tuple[XYXY, int], ...]:
    """Fuse the boxes that readers drew of one thing on one picture.

    Parameters
    ----------
    readers
        The boxes of each reader; who drew none has an empty row.
    iou
        A box joins the cluster whose mean it overlaps most, if by more than this and
        if its reader has no box there yet.

    Returns
    -------
    The mean box of each cluster and how many readers it has, in the order in which
    the clusters began.
    """
    clusters: list[dict[int, XYXY]] = []
    for reader, boxes in enumerate(readers):
        for box in boxes:
            free = [one for one in clusters if reader not in one]
            best = max(free, key=lambda one: box_iou(_mean(one), box), default=None)
            if best is not None and box_iou(_mean(best), box) > iou:
                best[reader] = box
            else:
                clusters.append({reader: box})
    return tuple((_mean(cluster), len(cluster)) for cluster in clusters)


def _mean(cluster: dict[int, XYXY]) -> XYXY:
    left, top, right, bottom = np.mean(list(cluster.values()), axis=0).tolist()
    return left, top, right, bottom


def consensus_mask(
    masks: Iterable[NDArray[np.bool_]], *, readers: int, share: float
) -> NDArray[np.bool_]:
    """Return what at least `share` of the readers outlined.

    Parameters
    ----------
    masks
        One per reader who drew something, of one shape.
    readers
        How many readers looked at the image, with or without a mask.
    """
    votes: NDArray[np.uint16] | None = None
    for mask in masks:
        if votes is None:
            votes = np.zeros(mask.shape, dtype=np.uint16)
        votes += mask
    if votes is None:
        raise ValueError("nobody drew a mask")
    return np.asarray(votes >= max(share * readers, 1e-9))
