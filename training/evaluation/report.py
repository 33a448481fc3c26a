"""Hold everything an evaluation found, and write it as JSON."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from training.evaluation.aggregate import MetricValue
from training.evaluation.bootstrap import Interval
from training.evaluation.metrics import METRICS, ReliabilityBin
from training.evaluation.rows import PhraseRow

__all__ = ["Curves", "Report", "SpoiledResult", "WorstAnswer", "write_results"]

RESULTS_FILE = "results.json"
"""Name of the machine-readable report."""


@dataclass(frozen=True)
class SpoiledResult:
    """What one corruption did to the answers."""

    corruption: str
    severity: int
    modality: str
    clean: float
    """Mean overlap (Dice; top-box IoU where only boxes are known) of present phrases"""
    spoiled: float
    delta: float
    """Spoiled minus clean"""
    interval: Interval | None
    """Of the delta, over patients"""
    relative_error: float | None
    """(1 - spoiled) / (1 - clean); None when the clean answers have no error"""
    n: int
    patients: int


@dataclass(frozen=True, eq=False)
class WorstAnswer:
    """One picture of an answer that went wrong."""

    row: PhraseRow
    plane: NDArray[np.uint8]
    """(rows, columns) or (rows, columns, 3), as a reader would see it"""
    found: NDArray[np.bool_]
    truth: NDArray[np.bool_] | None
    """None: only boxes are known"""
    boxes: tuple[tuple[float, float, float, float], ...]
    """True boxes on this slice"""
    slice_index: int


@dataclass(frozen=True, eq=False)
class Curves:
    """What the plots draw."""

    recall: tuple[float, ...] = ()
    precision: tuple[float, ...] = ()
    """At IoU 0.5, of masks where all phrases have outlines, else of boxes"""
    reliability_presence: tuple[ReliabilityBin, ...] = ()
    reliability_place: tuple[ReliabilityBin, ...] = ()
    coverage: tuple[float, ...] = ()
    risk: tuple[float, ...] = ()


@dataclass(frozen=True, eq=False)
class Report:
    """Everything that one evaluation found."""

    title: str
    model: dict[str, str]
    """name, version, sha256"""
    rows: tuple[PhraseRow, ...]
    metrics: tuple[MetricValue, ...]
    groups: dict[str, tuple[MetricValue, ...]]
    """By dataset and by modality, where there are several"""
    categories: dict[str, dict[str, float]]
    """Class to its counts and means"""
    curves: Curves
    notes: tuple[str, ...] = ()
    """What the labels are, and what could not be judged"""
    worst: tuple[WorstAnswer, ...] = ()
    spoiled: tuple[SpoiledResult, ...] = ()
    preset: str | None = None
    extras: dict[str, Any] = field(default_factory=dict)

    @property
    def cases(self) -> tuple[str, ...]:
        """Return the names of the cases, in the order they were asked."""
        return tuple(dict.fromkeys(row.case for row in self.rows))

    @property
    def patients(self) -> int:
        """Return how many patients there are."""
        return len({row.patient for row in self.rows})

    def value(self, name: str) -> float:
        """Return one metric over everything.

        Raises
        ------
        KeyError
            It did not apply or was not asked for.
        """
        for metric in self.metrics:
            if metric.name == name:
                return metric.value
        raise KeyError(name)

    def to_json(self) -> dict[str, Any]:
        """Return all but the pictures as JSON types; what does not apply is null."""
        return {
            "title": self.title,
            "preset": self.preset,
            "model": self.model,
            "cases": len(self.cases),
            "patients": self.patients,
            "notes": list(self.notes),
            "metrics": _metrics(self.metrics),
            "groups": {name: _metrics(group) for name, group in self.groups.items()},
            "categories": self.categories,
            "corruptions": [asdict(result) for result in self.spoiled],
            "curves": asdict(self.curves),
            "phrases": [asdict(row) for row in self.rows],
            **self.extras,
        }


def write_results(report: Report, folder: Path) -> Path:
    """Write ``results.json``; numbers keep five digits, NaN becomes null."""
    path = folder / RESULTS_FILE
    text = json.dumps(_plain(report.to_json()), indent=1, allow_nan=False) + "\n"
    path.write_text(text, encoding="utf-8")
    return path


def _metrics(values: Sequence[MetricValue]) -> dict[str, Any]:
    return {
        value.name: {
            "value": value.value,
            "low": value.interval.low if value.interval else None,
            "high": value.interval.high if value.interval else None,
            "n": value.n,
            "unit": value.unit,
            "patients": value.patients,
            "better": METRICS[value.name].better,
            "definition": METRICS[value.name].sentence,
        }
        for value in values
    }


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, np.generic):
        return _plain(value.item())
    if isinstance(value, float):
        return round(value, 5) if math.isfinite(value) else None
    return value
