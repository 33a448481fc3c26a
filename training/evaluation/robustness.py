"""Ask again about spoiled pictures, and say what that cost."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from training.evaluation.bootstrap import mean_interval
from training.evaluation.cases import EvaluationCase
from training.evaluation.corruptions import SEVERITIES, corrupt, corruptions_for
from training.evaluation.judge import judge
from training.evaluation.model import Grounder
from training.evaluation.report import SpoiledResult
from training.evaluation.rows import PhraseRow

__all__ = ["CorruptionPlan", "Robustness"]


@dataclass(frozen=True)
class CorruptionPlan:
    """Which corruptions to try; every one is a run of the model per case."""

    severities: tuple[int, ...] = (1, 3, 5)
    names: tuple[str, ...] | None = None
    """None: those of the case's modality"""
    most_cases: int | None = None
    """Only the first so many cases; None: all"""
    seed: int = 0

    def __post_init__(self) -> None:
        if not set(self.severities) <= set(SEVERITIES):
            raise ValueError(f"severities {self.severities} are not of {SEVERITIES}")


@dataclass(eq=False)
class Robustness:
    """Collects clean and spoiled overlaps, case by case."""

    plan: CorruptionPlan
    _pairs: dict[tuple[str, str, int], list[tuple[str, float, float]]] = field(
        default_factory=lambda: defaultdict(list)
    )
    _cases: int = 0

    def runs(self, case: EvaluationCase) -> list[tuple[str, int]]:
        """Return the corruptions and severities that a case will be asked under."""
        most = self.plan.most_cases
        if most is not None and self._cases >= most:
            return []
        names = self.plan.names
        if names is None:
            colour = case.stack.pixels.ndim == 4
            names = corruptions_for(case.stack.modality, is_colour=colour)
        return [(name, level) for name in names for level in self.plan.severities]

    def add(
        self, model: Grounder, case: EvaluationCase, *, clean: Sequence[PhraseRow]
    ) -> None:
        """Ask the present phrases again under every corruption of the plan."""
        before = {row.phrase: row.error for row in clean if row.error is not None}
        truths = [truth for truth in case.truths if truth.phrase in before]
        runs = self.runs(case) if truths else []
        self._cases += bool(runs)
        for name, severity in runs:
            stack = corrupt(case.stack, name, severity=severity, seed=self.plan.seed)
            answers = model.ground(stack, [truth.phrase for truth in truths])
            pairs = self._pairs[case.stack.modality, name, severity]
            for truth, answer in zip(truths, answers, strict=True):
                after = judge(case, truth, answer=answer).row.error
                error = before[truth.phrase]
                if after is not None and error is not None:
                    pairs.append((case.patient, 1 - error, 1 - after))

    def results(self, *, seed: int = 0) -> tuple[SpoiledResult, ...]:
        """Return one result per modality, corruption and severity."""
        results = []
        for (modality, name, severity), pairs in self._pairs.items():
            patients = [patient for patient, _, _ in pairs]
            before = np.array([clean for _, clean, _ in pairs])
            after = np.array([spoiled for _, _, spoiled in pairs])
            clean, spoiled = float(before.mean()), float(after.mean())
            results.append(
                SpoiledResult(
                    corruption=name,
                    severity=severity,
                    modality=modality,
                    clean=clean,
                    spoiled=spoiled,
                    delta=spoiled - clean,
                    interval=mean_interval(after - before, patients, seed=seed),
                    relative_error=(1 - spoiled) / (1 - clean) if clean < 1 else None,
                    n=len(pairs),
                    patients=len(set(patients)),
                )
            )
        return tuple(results)
