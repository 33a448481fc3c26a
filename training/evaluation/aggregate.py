"""Turn judged phrases into metrics, each with its count and interval."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from training.evaluation.average import average_precisions
from training.evaluation.bootstrap import Interval, mean_interval, patient_interval
from training.evaluation.boxwise import BoxVerdicts, verdicts
from training.evaluation.metrics import (
    HIT_DICE,
    METRICS,
    area_under_risk,
    auroc,
    brier,
    detection_calibration_error,
    expected_calibration_error,
    rank_correlation,
)
from training.evaluation.rows import Judgement, PhraseRow

__all__ = ["MetricValue", "aggregate"]

Columns = tuple[NDArray[Any], ...]


@dataclass(frozen=True)
class MetricValue:
    """One number of the report."""

    name: str
    """Key of ``METRICS``"""
    value: float
    interval: Interval | None
    """95 % over patients; None: fewer than two patients"""
    n: int
    """What it was computed from, see `unit`"""
    unit: str
    """What `n` counts: phrases, boxes or regions"""
    patients: int


@dataclass(frozen=True)
class _Statistic:
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

STATISTICS: dict[str, _Statistic] = {
    "Instance precision": _Statistic(
        _has_pieces,
        (lambda row: row.pieces_paired, lambda row: row.pieces_predicted),
        _pooled,
    ),
    "Instance recall": _Statistic(
        _has_pieces,
        (lambda row: row.pieces_paired, lambda row: row.pieces_true),
        _pooled,
    ),
    "Instance F1": _Statistic(
        _has_pieces,
        (
            lambda row: 2 * (row.pieces_paired or 0),
            lambda row: (row.pieces_predicted or 0) + (row.pieces_true or 0),
        ),
        _pooled,
    ),
    "Pointing game": _Statistic(
        lambda row: row.points_inside is not None,
        (lambda row: row.points_inside, lambda row: row.category),
        _macro,
    ),
    "AUROC": _Statistic(
        lambda row: True, (lambda row: row.score, lambda row: row.is_present), _auroc
    ),
    "ECE presence": _Statistic(
        lambda row: True,
        (lambda row: row.score, lambda row: row.is_present),
        expected_calibration_error,
    ),
    "ECE place": _Statistic(
        lambda row: row.says_present,
        (lambda row: 1 - row.uncertainty, lambda row: row.is_placed),
        expected_calibration_error,
    ),
    "Brier": _Statistic(
        lambda row: True, (lambda row: row.score, lambda row: row.is_present), brier
    ),
    "AURC": _Statistic(_is_claimed, _DOUBT, area_under_risk),
    "Uncertainty-error rank correlation": _Statistic(
        _is_claimed, _DOUBT, rank_correlation
    ),
}
"""Metrics that need several phrases at once: which ones, what of them, and how."""


def aggregate(
    judgements: Sequence[Judgement],
    *,
    names: Collection[str] | None = None,
    seed: int = 0,
) -> tuple[MetricValue, ...]:
    """Compute every metric that applies, in the order of ``METRICS``.

    Parameters
    ----------
    names
        Metrics to compute; None: all.

    Raises
    ------
    KeyError
        A name is no metric.
    """
    wanted = list(METRICS) if names is None else [m for m in METRICS if m in names]
    if names is not None and len(wanted) != len(set(names)):
        raise KeyError(f"no metric: {sorted(set(names) - set(METRICS))}")
    rows = [judgement.row for judgement in judgements]
    special = average_precisions(judgements, names=wanted, seed=seed)
    boxes = verdicts(judgements) if "D-ECE" in wanted else None
    values: list[MetricValue | None] = []
    for name in wanted:
        if name in MEANS:
            values.append(_mean(name, rows, seed))
        elif name in STATISTICS:
            values.append(_statistic(name, rows, seed))
        elif name == "D-ECE" and boxes is not None:
            values.append(_detection_error(boxes, seed))
        elif name in special:
            value, interval, n, patients = special[name]
            values.append(MetricValue(name, value, interval, n, "regions", patients))
    return tuple(value for value in values if value is not None)


def _mean(name: str, rows: Sequence[PhraseRow], seed: int) -> MetricValue | None:
    pairs = [(MEANS[name](row), row.patient) for row in rows]
    known = [(value, patient) for value, patient in pairs if value is not None]
    if not known:
        return None
    values = np.array([value for value, _ in known], dtype=np.float64)
    patients = [patient for _, patient in known]
    interval = mean_interval(values, patients, seed=seed)
    mean = float(values.mean())
    return MetricValue(name, mean, interval, len(known), "phrases", len(set(patients)))


def _statistic(name: str, rows: Sequence[PhraseRow], seed: int) -> MetricValue | None:
    statistic = STATISTICS[name]
    chosen = [row for row in rows if statistic.select(row)]
    if not chosen:
        return None
    columns = tuple(
        np.array([column(row) for row in chosen]) for column in statistic.columns
    )
    patients = [row.patient for row in chosen]
    return _resampled(name, columns, statistic.compute, patients, "phrases", seed)


def _detection_error(boxes: BoxVerdicts, seed: int) -> MetricValue | None:
    if not len(boxes.score):
        return None

    def compute(
        score: NDArray[np.float64],
        correct: NDArray[np.bool_],
        places: NDArray[np.float64],
    ) -> float:
        return detection_calibration_error(score, correct, places=places)

    columns = (boxes.score, boxes.correct, boxes.places)
    return _resampled("D-ECE", columns, compute, boxes.patients, "boxes", seed)


def _resampled(
    name: str,
    columns: Columns,
    compute: Callable[..., float],
    patients: Sequence[str],
    unit: str,
    seed: int,
) -> MetricValue | None:
    value = compute(*columns)
    if not np.isfinite(value):
        return None
    interval = patient_interval(
        patients,
        lambda rows: compute(*(column[rows] for column in columns)),
        seed=seed,
    )
    return MetricValue(
        name, float(value), interval, len(patients), unit, len(set(patients))
    )
