"""Average precision of an evaluation: COCO's number, and its interval over patients."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from training.evaluation.bootstrap import Interval, interval_of, patient_draws
from training.evaluation.boxwise import IOUS, BoxVerdicts, verdicts
from training.evaluation.metrics import AveragePrecision, average_precision
from training.evaluation.rows import Judgement

__all__ = ["average_precisions", "precision_of", "resampled_precision"]

_KINDS: dict[str, Literal["bbox", "segm"]] = {"Box": "bbox", "Mask": "segm"}
_NAMES = ("mAP", "mAP50", "mAP75")

_RECALLS = np.linspace(0, 1, 101)


def precision_of(
    judgements: Sequence[Judgement], kind: Literal["bbox", "segm"]
) -> AveragePrecision | None:
    """Run COCO's protocol over judged phrases; None when nothing true has the kind."""
    chosen = [
        judgement
        for judgement in judgements
        if kind == "bbox"
        or all(f.mask is not None for f in (*judgement.found, *judgement.truth))
    ]
    truth = [finding for judgement in chosen for finding in judgement.truth]
    if not truth:
        return None
    sizes: dict[str, tuple[int, int]] = {}
    for judgement in chosen:
        sizes |= judgement.sizes
    found = [finding for judgement in chosen for finding in judgement.found]
    return average_precision(found, truth, sizes=sizes, kind=kind)


def average_precisions(
    judgements: Sequence[Judgement], *, names: Collection[str], seed: int = 0
) -> dict[str, tuple[float, Interval | None, int, int]]:
    """Return value, interval, true regions and patients of each AP metric asked for."""
    results: dict[str, tuple[float, Interval | None, int, int]] = {}
    for prefix, kind in _KINDS.items():
        asked = [name for name in _NAMES if f"{prefix} {name}" in names]
        precision = precision_of(judgements, kind) if asked else None
        if precision is None:
            continue
        table = verdicts(judgements, kind=kind)
        values = (precision.ap, precision.ap50, precision.ap75)
        intervals = _intervals(table, seed)
        count = len(table.truth_patients)
        patients = len(set(table.truth_patients))
        for name, value, interval in zip(_NAMES, values, intervals, strict=True):
            if name in asked:
                results[f"{prefix} {name}"] = (value, interval, count, patients)
    return results


@dataclass(frozen=True, eq=False)
class _ClassTable:
    """The regions of one class, best score first."""

    hits: NDArray[np.bool_]
    """(n, thresholds)"""
    owner: NDArray[np.int64]
    """(n,) row of each region's patient"""
    truth_owner: NDArray[np.int64]
    """(m,) the same of the true regions"""


def resampled_precision(
    table: BoxVerdicts, times: Callable[[str], float]
) -> tuple[float, float, float]:
    """Return mAP, mAP50 and mAP75 with every patient counted so many times.

    With all patients counted once it is what ``faster_coco_eval`` returns. NaN when
    nothing true is left.
    """
    names, classes = _by_class(table)
    counts = np.array([times(name) for name in names], dtype=np.float64)
    ap, ap50, ap75 = _precisions(classes, counts).tolist()
    return ap, ap50, ap75


def _by_class(table: BoxVerdicts) -> tuple[list[str], list[_ClassTable]]:
    """Sort the regions of each class once, for all draws."""
    names = sorted({*table.patients, *table.truth_patients})
    row = {name: number for number, name in enumerate(names)}
    owner = np.array([row[name] for name in table.patients], dtype=np.int64)
    truth_owner = np.array([row[name] for name in table.truth_patients], dtype=np.int64)
    classes = []
    for category in np.unique(table.truth_category):
        rows = np.flatnonzero(table.category == category)
        rows = rows[np.argsort(-table.score[rows], kind="stable")]
        true = truth_owner[table.truth_category == category]
        classes.append(_ClassTable(table.hits[rows], owner[rows], true))
    return names, classes


def _precisions(
    classes: Sequence[_ClassTable], times: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return (3,): mAP, mAP50, mAP75 with the patients counted `times`."""
    found = []
    for one in classes:
        total = times[one.truth_owner].sum()
        if not total:
            continue
        weight = times[one.owner]
        kept = weight > 0
        weight = weight[kept]
        good = np.cumsum(weight[:, None] * one.hits[kept], axis=0)  # (n, thresholds)
        share = good / np.cumsum(weight)[:, None]
        share = np.maximum.accumulate(share[::-1], axis=0)[::-1]
        share = np.concatenate([share, np.zeros((1, len(IOUS)))])
        mean = np.empty(len(IOUS))
        for column in range(len(IOUS)):
            place = np.searchsorted(good[:, column], _RECALLS * total - 1e-9)
            mean[column] = share[place, column].mean()
        found.append(mean)
    if not found:
        return np.full(3, np.nan)
    overall = np.mean(found, axis=0)  # (thresholds,)
    return np.array([overall.mean(), overall[0], overall[5]])


def _intervals(table: BoxVerdicts, seed: int) -> list[Interval | None]:
    """Resample the patients that have truth or answers; mAP, mAP50, mAP75."""
    names, classes = _by_class(table)
    drawn = np.array(
        [
            _precisions(classes, np.bincount(rows, minlength=len(names)).astype(float))
            for rows in patient_draws(len(names), seed=seed)
        ]
    ).reshape(-1, 3)
    return [interval_of(column) for column in drawn.T]
