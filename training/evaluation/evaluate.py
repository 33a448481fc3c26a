"""Ask a model about every case and put what it answers into one report."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Sequence
from itertools import chain
from typing import Any

import numpy as np
from numpy.typing import NDArray

from training.errors import DatasetError
from training.evaluation.aggregate import MetricValue, aggregate
from training.evaluation.average import precision_of
from training.evaluation.cases import EvaluationCase
from training.evaluation.judge import judge
from training.evaluation.metrics import reliability, risk_coverage
from training.evaluation.model import Grounder, HeatSource
from training.evaluation.report import Curves, Report
from training.evaluation.robustness import CorruptionPlan, Robustness
from training.evaluation.rows import Judgement, PhraseRow
from training.evaluation.worst import WorstAnswers

__all__ = ["evaluate_cases"]

_WORST = 12
"""Pictures of wrong answers in a report: one page."""

Progress = Callable[[Iterable[EvaluationCase]], Iterable[EvaluationCase]]


def evaluate_cases(
    model: Grounder,
    cases: Iterable[EvaluationCase],
    *,
    title: str = "Evaluation",
    metrics: Collection[str] | None = None,
    heat: HeatSource | None = None,
    corruptions: CorruptionPlan | None = None,
    progress: Progress | None = None,
    preset: str | None = None,
    seed: int = 0,
) -> Report:
    """Ground every case once and report; cases are read one by one.

    Parameters
    ----------
    metrics
        Names of ``METRICS``; None: all that apply.
    heat
        Evidence maps for the pointing game and CNR; asked for single pictures only.
    corruptions
        Ask again under these; None: do not.
    progress
        Wraps the cases, such as ``tqdm``.
    seed
        Of the bootstrap.

    Raises
    ------
    training.errors.DatasetError
        There is no case, or two have the same name.
    """
    judgements: list[Judgement] = []
    worst = WorstAnswers(_WORST)
    robust = Robustness(corruptions) if corruptions is not None else None
    names: set[str] = set()
    notes: dict[str, None] = {}
    for case in cases if progress is None else progress(cases):
        if case.name in names:
            raise DatasetError(f"two cases are called {case.name}")
        names.add(case.name)
        if case.note:
            notes[f"{case.dataset}: {case.note}"] = None
        judged = _ask(model, case, heat)
        for judgement in judged:
            worst.offer(judgement, case.stack)
        judgements += [_light(judgement) for judgement in judged]
        if robust is not None:
            robust.add(model, case, clean=[judgement.row for judgement in judged])
    if not judgements:
        raise DatasetError("there is no phrase to evaluate")
    rows = tuple(judgement.row for judgement in judgements)
    return Report(
        title=title,
        model={"name": model.name, "version": model.version, "sha256": model.sha256},
        rows=rows,
        metrics=aggregate(judgements, names=metrics, seed=seed),
        groups=_groups(judgements, metrics, seed),
        categories=_categories(rows),
        curves=_curves(judgements),
        notes=tuple(notes),
        worst=worst.sorted(),
        spoiled=robust.results(seed=seed) if robust is not None else (),
        preset=preset,
    )


def _ask(
    model: Grounder, case: EvaluationCase, heat: HeatSource | None
) -> list[Judgement]:
    answers = model.ground(case.stack, case.phrases)
    maps: Sequence[NDArray[Any] | None] = [None] * len(answers)
    if heat is not None and len(case.stack.pixels) == 1:
        maps = heat(case.stack, case.phrases)
    return [
        judge(case, truth, answer=answer, heat=found)
        for truth, answer, found in zip(case.truths, answers, maps, strict=True)
    ]


def _light(judgement: Judgement) -> Judgement:
    """Let the masks go: a report of many volumes must fit in memory."""
    empty = np.zeros((0, 0, 0), dtype=np.bool_)
    return Judgement(
        row=judgement.row,
        found=judgement.found,
        truth=judgement.truth,
        sizes=judgement.sizes,
        found_mask=empty,
        truth_mask=None,
        truth_boxes=judgement.truth_boxes,
    )


def _groups(
    judgements: Sequence[Judgement], metrics: Collection[str] | None, seed: int
) -> dict[str, tuple[MetricValue, ...]]:
    """Aggregate by dataset and by modality where there are several."""
    groups: dict[str, tuple[MetricValue, ...]] = {}
    for kind in ("dataset", "modality"):
        parts: dict[str, list[Judgement]] = defaultdict(list)
        for judgement in judgements:
            parts[getattr(judgement.row, kind)].append(judgement)
        if len(parts) > 1:
            for name, part in sorted(parts.items()):
                groups[f"{kind} {name}"] = aggregate(part, names=metrics, seed=seed)
    return groups


def _categories(rows: Sequence[PhraseRow]) -> dict[str, dict[str, float]]:
    """Return what each class reached, most phrases first."""
    parts: dict[str, list[PhraseRow]] = defaultdict(list)
    for row in rows:
        parts[row.category].append(row)
    table: dict[str, dict[str, float]] = {}
    for name, part in sorted(parts.items(), key=lambda item: (-len(item[1]), item[0])):
        overlaps = [1 - row.error for row in part if row.error is not None]
        present = [row for row in part if row.is_present]
        absent = [row for row in part if not row.is_present]
        entry = {
            "present": float(len(present)),
            "absent": float(len(absent)),
            "patients": float(len({row.patient for row in part})),
        }
        if overlaps:
            entry["overlap"] = float(np.mean(overlaps))
            entry["called present"] = float(np.mean([r.says_present for r in present]))
        if absent:
            entry["called absent"] = float(
                np.mean([not row.says_present for row in absent])
            )
        table[name] = entry
    return table


def _curves(judgements: Sequence[Judgement]) -> Curves:
    rows = [judgement.row for judgement in judgements]
    findings = chain.from_iterable((*j.found, *j.truth) for j in judgements)
    outlined = all(finding.mask is not None for finding in findings)
    precision = precision_of(judgements, "segm" if outlined else "bbox")
    claimed = [row for row in rows if row.says_present]
    placed = [row for row in claimed if row.error is not None]
    coverage, risk = np.zeros(0), np.zeros(0)
    if placed:
        coverage, risk = risk_coverage(
            np.array([row.uncertainty for row in placed]),
            np.array([row.error for row in placed], dtype=np.float64),
        )
    return Curves(
        recall=() if precision is None else tuple(precision.recall.tolist()),
        precision=() if precision is None else tuple(precision.precision.tolist()),
        reliability_presence=reliability(
            np.array([row.score for row in rows]),
            np.array([row.is_present for row in rows]),
        ),
        reliability_place=reliability(
            np.array([1 - row.uncertainty for row in claimed]),
            np.array([row.is_placed for row in claimed], dtype=np.bool_),
        )
        if claimed
        else (),
        coverage=tuple(coverage.tolist()),
        risk=tuple(risk.tolist()),
    )
