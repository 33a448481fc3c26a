"""Say how each metric is made of judged phrases: a mean, or a number of several."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from training.evaluation.metrics import (
    HIT_DICE,
    area_under_risk,
    auroc,
    brier,
    expected_calibration_error,
    rank_correlation,
)
from training.evaluation.rows import PhraseRow

__all__ = ["MEANS", "STATISTICS", "Statistic"]


@dataclass(frozen=True)
class Statistic:
    """A number of several phrases that is no mean of theirs."""

    select: Callable[[PhraseRow], bool]
    columns: tuple[Callable[[PhraseRow], Any], ...]
    compute: Callable[..., float]


def _hits(k: int, row: PhraseRow) -> float | None:
    if not row.is_present:
        return None
    return float(row.hit_rank is not None and row.hit_rank <= k)


def _reaches(threshold: float, row: PhraseRow) -> float | None:
    return None if row.top_iou is None else float(row.top_iou >= threshold)


def _empty_rule(row: PhraseRow) -> float | None:
    return row.dice if row.is_present else float(not row.says_present)


def _given(condition: bool, value: bool | None) -> float | None:
    return float(bool(value)) if condition else None


MEANS: dict[str, Callable[[PhraseRow], float | None]] = {
    "Dice": lambda row: row.dice,
    "Dice, empty rule": _empty_rule,
    "Mask IoU": lambda row: row.iou,
    "HIT": lambda row: None if row.dice is None else float(row.dice >= HIT_DICE),
    "NSD": lambda row: row.nsd,
    **{f"Acc@{t:g}": partial(_reaches, t) for t in (0.1, 0.3, 0.5, 0.7)},
    "Box mIoU": lambda row: row.top_iou,
    "Set IoU": lambda row: row.set_iou,
    **{f"R@{k}": partial(_hits, k) for k in (1, 5, 10)},
    "Pr@(F1=1)": lambda row: float(row.is_exact),
    "Spatial precision": lambda row: _given(
        row.places_entailed is not None, row.places_entailed
    ),
    "Spatial recall": lambda row: _given(row.is_present, row.truth_entailed),
    "Grounding precision": lambda row: _given(
        row.places_entailed is not None and row.is_present, row.places_entailed
    ),
    "Grounding recall": lambda row: _given(
        row.is_present and row.says_present, row.truth_entailed
    ),
    "CNR": lambda row: row.cnr,
    "CNR absolute": lambda row: None if row.cnr is None else abs(row.cnr),
    "Sensitivity": lambda row: _given(row.is_present, row.says_present),
    "No-target accuracy": lambda row: _given(not row.is_present, not row.says_present),
}
"""Metrics that are means over phrases: what each phrase adds, None for nothing."""


def _auroc(scores: NDArray[np.float64], truth: NDArray[np.bool_]) -> float:
    if truth.all() or not truth.any():
        return float("nan")
    return auroc(scores, truth)


def _pooled(paired: NDArray[np.int64], of: NDArray[np.int64]) -> float:
    return float(paired.sum() / of.sum()) if of.sum() else float("nan")


def _macro(hits: NDArray[np.bool_], category: NDArray[np.str_]) -> float:
    """Return the mean over classes of the mean over a class's phrases."""
    _, owner = np.unique(category, return_inverse=True)
    return float((np.bincount(owner, weights=hits) / np.bincount(owner)).mean())


def _has_pieces(row: PhraseRow) -> bool:
    return row.pieces_paired is not None


def _is_claimed(row: PhraseRow) -> bool:
    return row.says_present and row.error is not None


_DOUBT = (lambda row: row.uncertainty, lambda row: row.error)

STATISTICS: dict[str, Statistic] = {
    "Instance precision": Statistic(
        _has_pieces,
        (lambda row: row.pieces_paired, lambda row: row.pieces_predicted),
        _pooled,
    ),
    "Instance recall": Statistic(
        _has_pieces,
        (lambda row: row.pieces_paired, lambda row: row.pieces_true),
        _pooled,
    ),
    "Instance F1": Statistic(
        _has_pieces,
        (
            lambda row: 2 * (row.pieces_paired or 0),
            lambda row: (row.pieces_predicted or 0) + (row.pieces_true or 0),
        ),
        _pooled,
    ),
    "Pointing game": Statistic(
        lambda row: row.points_inside is not None,
        (lambda row: row.points_inside, lambda row: row.category),
        _macro,
    ),
    "AUROC": Statistic(
        lambda row: True, (lambda row: row.score, lambda row: row.is_present), _auroc
    ),
    "ECE presence": Statistic(
        lambda row: True,
        (lambda row: row.score, lambda row: row.is_present),
        expected_calibration_error,
    ),
    "ECE place": Statistic(
        lambda row: row.says_present,
        (lambda row: 1 - row.uncertainty, lambda row: row.is_placed),
        expected_calibration_error,
    ),
    "Brier": Statistic(
        lambda row: True, (lambda row: row.score, lambda row: row.is_present), brier
    ),
    "AURC": Statistic(_is_claimed, _DOUBT, area_under_risk),
    "Uncertainty-error rank correlation": Statistic(
        _is_claimed, _DOUBT, rank_correlation
    ),
}
"""Metrics that need several phrases at once: which ones, what of them, and how."""
