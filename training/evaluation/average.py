"""Average precision of an evaluation: COCO's number, and its interval over patients."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from training.evaluation.bootstrap import Interval, patient_interval
from training.evaluation.boxwise import BoxVerdicts, verdicts
from training.evaluation.metrics import AveragePrecision, average_precision
from training.evaluation.rows import Judgement

__all__ = ["average_precisions", "precision_of", "resampled_precision"]

_KINDS: dict[str, Literal["bbox", "segm"]] = {"Box": "bbox", "Mask": "segm"}
_THRESHOLDS = {"mAP": slice(None), "mAP50": slice(0, 1), "mAP75": slice(5, 6)}

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
        asked = [name for name in _THRESHOLDS if f"{prefix} {name}" in names]
        precision = precision_of(judgements, kind) if asked else None
        if precision is None:
            continue
        table = verdicts(judgements, kind=kind)
        value = {
            "mAP": precision.ap,
            "mAP50": precision.ap50,
            "mAP75": precision.ap75,
        }
        count = len(table.truth_patients)
        patients = len(set(table.truth_patients))
        for name in asked:
            interval = _interval(table, _THRESHOLDS[name], seed)
            results[f"{prefix} {name}"] = (value[name], interval, count, patients)
    return results


def resampled_precision(
    table: BoxVerdicts,
    *,
    weight: NDArray[np.float64],
    truth_weight: NDArray[np.float64],
    thresholds: slice = slice(None),
) -> float:
    """Return COCO's average precision with every region counted by its weight.

    With all weights one it is what ``faster_coco_eval`` returns. NaN when nothing true
    has weight.
    """
    precisions = []
    for category in np.unique(table.truth_category):
        total = truth_weight[table.truth_category == category].sum()
        if not total:
            continue
        rows = np.flatnonzero((table.category == category) & (weight > 0))
        rows = rows[np.argsort(-table.score[rows], kind="stable")]
        right = weight[rows, None] * table.hits[rows][:, thresholds]
        good = np.cumsum(right, axis=0)  # (regions, thresholds)
        share = good / np.cumsum(weight[rows])[:, None]
        share = np.maximum.accumulate(share[::-1], axis=0)[::-1]
        for column in range(good.shape[1]):
            recall = good[:, column] / total
            place = np.searchsorted(recall, _RECALLS - 1e-9, side="left")
            padded = np.append(share[:, column], 0.0)
            precisions.append(padded[place].mean())
    return float(np.mean(precisions)) if precisions else float("nan")


def _interval(table: BoxVerdicts, thresholds: slice, seed: int) -> Interval | None:
    """Resample the patients that have truth or answers."""
    names = sorted({*table.patients, *table.truth_patients})
    row = {name: number for number, name in enumerate(names)}
    owner = np.array([row[name] for name in table.patients], dtype=np.int64)
    truth_owner = np.array([row[name] for name in table.truth_patients])

    def compute(drawn: NDArray[np.int64]) -> float:
        times = np.bincount(drawn, minlength=len(names)).astype(np.float64)
        return resampled_precision(
            table,
            weight=times[owner],
            truth_weight=times[truth_owner],
            thresholds=thresholds,
        )

    return patient_interval(names, compute, seed=seed)
