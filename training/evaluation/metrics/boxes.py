"""Compare boxes: top-1 overlap, recall, exact sets and areas of unions."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from training.evaluation.metrics.definition import Definition

__all__ = [
    "BOX_DEFINITIONS",
    "box_iou",
    "first_hit",
    "is_exact",
    "match_boxes",
    "shared_area",
    "top_box_iou",
]

XYXY = Sequence[float]
PlacedBox = tuple[int, tuple[float, float, float, float]]
"""Slice index, and left, top, right, bottom; boxes of different slices never meet."""

_TOP = (
    "the phrase's highest-scoring box and the true box on the same picture that it "
    "overlaps most"
)

BOX_DEFINITIONS = (
    *(
        Definition(
            f"Acc@{threshold:g}",
            f"Share of the present phrases with IoU >= {threshold:g} between {_TOP}; a "
            "phrase without a box is a miss.",
            reference="MedRPG, MICCAI 2023 (at 0.5); uMedGround calls it AP10/30/50",
        )
        for threshold in (0.1, 0.3, 0.5, 0.7)
    ),
    Definition(
        "Box mIoU",
        f"Mean over the present phrases of the IoU between {_TOP}; a phrase without a "
        "box counts 0.",
        reference="MedRPG, MICCAI 2023",
    ),
    Definition(
        "Set IoU",
        "Mean over the present phrases of area of intersection over area of union, "
        "between the union of all predicted and the union of all true boxes.",
    ),
    *(
        Definition(
            f"R@{k}",
            f"Share of the present phrases of which any of the {k} highest-scoring "
            "boxes has IoU >= 0.5 with any true box (any-box protocol).",
            reference="Flickr30k Entities, any-box protocol of GLIP",
        )
        for k in (1, 5, 10)
    ),
    Definition(
        "Pr@(F1=1)",
        "Share of all phrases answered exactly: every predicted box pairs one to one "
        "with a true box at IoU >= 0.5 and none is left on either side; an absent "
        "phrase is exact when it has no box.",
        reference="C. Liu et al., GRES / gRefCOCO, CVPR 2023",
    ),
)


def box_iou(
    first: NDArray[np.float64], second: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return the IoU of every pair of corner boxes: (n, 4) and (m, 4) give (n, m)."""
    low = np.maximum(first[:, None, :2], second[None, :, :2])
    high = np.minimum(first[:, None, 2:], second[None, :, 2:])
    shared = (high - low).clip(0).prod(axis=-1)
    areas = [(b[:, 2:] - b[:, :2]).clip(0).prod(axis=-1) for b in (first, second)]
    union = areas[0][:, None] + areas[1][None] - shared
    result: NDArray[np.float64] = shared / np.maximum(union, 1e-12)
    return result


def top_box_iou(
    boxes: Sequence[PlacedBox], scores: Sequence[float], *, truth: Sequence[PlacedBox]
) -> float:
    """Return the best IoU of the highest-scoring box; 0 without a box."""
    if not boxes:
        return 0.0
    best = int(np.argmax(scores))
    return float(_placed_iou([boxes[best]], truth).max(initial=0.0))


def first_hit(
    boxes: Sequence[PlacedBox],
    scores: Sequence[float],
    *,
    truth: Sequence[PlacedBox],
    threshold: float = 0.5,
) -> int | None:
    """Return the rank, from 1 on, of the best-scored box that meets any true box.

    R@k asks whether it is at most `k`; None: no box meets any.
    """
    order = np.argsort(-np.asarray(scores, dtype=np.float64), kind="stable")
    overlap = _placed_iou([boxes[i] for i in order], truth).max(axis=1, initial=0.0)
    hits = np.flatnonzero(overlap >= threshold)
    return int(hits[0]) + 1 if len(hits) else None


def match_boxes(
    boxes: Sequence[PlacedBox], truth: Sequence[PlacedBox], *, threshold: float = 0.5
) -> int:
    """Return how many boxes can be paired one to one at the threshold."""
    if not boxes or not truth:
        return 0
    enough = (_placed_iou(boxes, truth) >= threshold).astype(np.int64)
    rows, columns = linear_sum_assignment(enough, maximize=True)
    return int(enough[rows, columns].sum())


def is_exact(
    boxes: Sequence[PlacedBox], truth: Sequence[PlacedBox], *, threshold: float = 0.5
) -> bool:
    """Say whether the F1 of the boxes is one."""
    if len(boxes) != len(truth):
        return False
    return match_boxes(boxes, truth, threshold=threshold) == len(truth)


def shared_area(
    boxes: Sequence[PlacedBox], truth: Sequence[PlacedBox]
) -> tuple[float, float, float]:
    """Return the areas of intersection, of all `boxes` and of all `truth`, exactly.

    Areas are of unions: where boxes of one side overlap, it counts once.
    """
    totals = np.zeros(3)
    for index in {place for place, _ in (*boxes, *truth)}:
        ours = np.array([box for place, box in boxes if place == index])
        theirs = np.array([box for place, box in truth if place == index])
        ours, theirs = ours.reshape(-1, 4), theirs.reshape(-1, 4)
        both = np.concatenate([ours, theirs])
        xs, ys = np.unique(both[:, [0, 2]]), np.unique(both[:, [1, 3]])
        cells = np.diff(ys)[:, None] * np.diff(xs)[None]
        first, second = (_covered(side, xs, ys) for side in (ours, theirs))
        totals += [cells[part].sum() for part in (first & second, first, second)]
    return float(totals[0]), float(totals[1]), float(totals[2])


def _covered(
    boxes: NDArray[np.float64], xs: NDArray[np.float64], ys: NDArray[np.float64]
) -> NDArray[np.bool_]:
    """Mark the cells of a grid of edges that any box covers."""
    covered = np.zeros((len(ys) - 1, len(xs) - 1), dtype=np.bool_)
    for left, top, right, bottom in boxes:
        rows = slice(int(np.searchsorted(ys, top)), int(np.searchsorted(ys, bottom)))
        columns = slice(int(np.searchsorted(xs, left)), int(np.searchsorted(xs, right)))
        covered[rows, columns] = True
    return covered


def _placed_iou(
    boxes: Sequence[PlacedBox], truth: Sequence[PlacedBox]
) -> NDArray[np.float64]:
    if not boxes or not truth:
        return np.zeros((len(boxes), len(truth)))
    overlap = box_iou(
        np.array([box for _, box in boxes]), np.array([box for _, box in truth])
    )
    places = np.array([place for place, _ in boxes])
    overlap[places[:, None] != np.array([place for place, _ in truth])[None]] = 0.0
    return overlap
