"""Say of every predicted region whether it found a true one, as COCO matches them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from training.evaluation.metrics import Finding, box_iou
from training.evaluation.rows import Judgement

__all__ = ["IOUS", "BoxVerdicts", "verdicts"]

IOUS = np.linspace(0.5, 0.95, 10)
"""COCO's thresholds."""

_MOST = 100
"""Regions per picture that COCO looks at."""


@dataclass(frozen=True, eq=False)
class BoxVerdicts:
    """All predicted regions of an evaluation, and how many true ones there are."""

    score: NDArray[np.float64]
    """(n,)"""
    hits: NDArray[np.bool_]
    """(n, 10): found a true region at each threshold of ``IOUS``"""
    places: NDArray[np.float64]
    """(n, 4) centre x, centre y, width, height as shares of the picture"""
    category: NDArray[np.str_]
    """(n,)"""
    patients: list[str]
    """(n,)"""
    truth_category: NDArray[np.str_]
    """(m,) of the true regions"""
    truth_patients: list[str]
    """(m,)"""

    @property
    def correct(self) -> NDArray[np.bool_]:
        """Return which regions are right at IoU 0.5."""
        right: NDArray[np.bool_] = self.hits[:, 0]
        return right


def verdicts(
    judgements: Sequence[Judgement], *, kind: Literal["bbox", "segm"] = "bbox"
) -> BoxVerdicts:
    """Match every phrase's regions on each picture, best score first.

    ``segm`` leaves out the phrases whose regions have no masks.
    """
    score: list[float] = []
    hits: list[NDArray[np.bool_]] = []
    places: list[tuple[float, float, float, float]] = []
    owners: list[Judgement] = []
    truth_owners: list[Judgement] = []
    for judgement in judgements:
        if kind == "segm" and not _is_outlined(judgement):
            continue
        true = _by_picture(judgement.truth)
        truth_owners += [judgement] * len(judgement.truth)
        for picture, found in _by_picture(judgement.found).items():
            best = sorted(found, key=lambda finding: -finding.score)[:_MOST]
            table = _overlaps(best, true.get(picture, []), kind)
            hits.extend(_match(table))
            score += [finding.score for finding in best]
            size = judgement.sizes[picture]
            places += [_place(finding, size) for finding in best]
            owners += [judgement] * len(best)
    return BoxVerdicts(
        score=np.array(score, dtype=np.float64),
        hits=np.array(hits, dtype=np.bool_).reshape(-1, len(IOUS)),
        places=np.array(places, dtype=np.float64).reshape(-1, 4),
        category=np.array([owner.row.category for owner in owners], dtype=np.str_),
        patients=[owner.row.patient for owner in owners],
        truth_category=np.array(
            [owner.row.category for owner in truth_owners], dtype=np.str_
        ),
        truth_patients=[owner.row.patient for owner in truth_owners],
    )


def _is_outlined(judgement: Judgement) -> bool:
    findings = (*judgement.found, *judgement.truth)
    return all(finding.mask is not None for finding in findings)


def _by_picture(findings: Sequence[Finding]) -> dict[str, list[Finding]]:
    found: dict[str, list[Finding]] = defaultdict(list)
    for finding in findings:
        found[finding.picture].append(finding)
    return found


def _overlaps(
    found: list[Finding], truth: list[Finding], kind: Literal["bbox", "segm"]
) -> NDArray[np.float64]:
    """Return the IoU of every pair: (found, truth)."""
    if not truth:
        return np.zeros((len(found), 0))
    if kind == "bbox":
        return box_iou(
            np.array([finding.xyxy for finding in found]),
            np.array([finding.xyxy for finding in truth]),
        )
    from faster_coco_eval.core import mask as coco_mask

    sides = [
        [
            {"size": list(f.mask.size), "counts": f.mask.counts.encode("ascii")}
            for f in side
            if f.mask is not None
        ]
        for side in (found, truth)
    ]
    overlaps = coco_mask.iou(sides[0], sides[1], [0] * len(truth))
    return np.asarray(overlaps, dtype=np.float64).reshape(len(found), len(truth))


def _match(table: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Give each region the free true one that it overlaps most, if enough."""
    hits = np.zeros((len(table), len(IOUS)), dtype=np.bool_)
    for column, threshold in enumerate(IOUS):
        free = np.ones(table.shape[1], dtype=np.bool_)
        for row, overlaps in enumerate(table):
            left = np.where(free, overlaps, -1.0)
            if len(left) and left.max() >= threshold:
                free[int(left.argmax())] = False
                hits[row, column] = True
    return hits


def _place(
    finding: Finding, size: tuple[int, int]
) -> tuple[float, float, float, float]:
    left, top, right, bottom = finding.xyxy
    rows, columns = size
    return (
        (left + right) / 2 / columns,
        (top + bottom) / 2 / rows,
        (right - left) / columns,
        (bottom - top) / rows,
    )
