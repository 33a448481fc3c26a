"""Turn judged phrases into metrics, each with its count and interval."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from training.evaluation.average import average_precisions
from training.evaluation.bootstrap import Interval, mean_interval, patient_interval
from training.evaluation.boxwise import BoxVerdicts, verdicts
from training.evaluation.metrics import METRICS, detection_calibration_error
from training.evaluation.recipes import MEANS, STATISTICS
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
