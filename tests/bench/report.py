"""What a benchmark found: tables of samples, each measured beside its peers."""

from __future__ import annotations

import json
import statistics
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from enum import StrEnum
from pathlib import Path
from typing import Any, TypeAlias

__all__ = [
    "Case",
    "Ceiling",
    "Contender",
    "Goal",
    "Report",
    "Sample",
    "Scale",
    "Table",
    "Tell",
]


class Scale(StrEnum):
    """How much of a subject is run."""

    QUICK = "quick"
    """Seconds, with small inputs: it shows that the program works, and no figure."""
    FULL = "full"
    """Minutes: ``make bench``."""


Tell: TypeAlias = Callable[[str], None]
"""Tells a person who waits how far it is."""


@dataclass(frozen=True, slots=True)
class Sample:
    """One repeat of one contender.

    Attributes
    ----------
    seconds : float
        What the clock says.
    load : float
        Load average of the machine over the last minute.
    extra : mapping
        Further numbers by their column's title with the unit, as ``{"RSS MiB": 80.5}``.

    """

    seconds: float
    load: float
    extra: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Contender:
    """All repeats of one way to do a case's work."""

    name: str
    samples: tuple[Sample, ...]

    @property
    def median_s(self) -> float:
        """Median of its seconds."""
        return statistics.median(one.seconds for one in self.samples)

    @property
    def minimum_s(self) -> float:
        """Shortest of its seconds."""
        return min(one.seconds for one in self.samples)

    def extra(self, column: str) -> float | None:
        """Median of a further number; None where no sample has it."""
        of = [one.extra[column] for one in self.samples if column in one.extra]
        return statistics.median(of) if of else None

    @property
    def load(self) -> float:
        """Median load average while it ran."""
        return statistics.median(one.load for one in self.samples)


@dataclass(frozen=True, slots=True)
class Goal:
    """What the ratio of a contender to a peer must be: speed, so more is better.

    ``ratio`` is the peer's median time over the contender's.
    """

    contender: str
    peer: str
    at_least: float


@dataclass(frozen=True, slots=True)
class Ceiling:
    """What a figure may be at most.

    ``name`` is a contender, or what a row of a table begins with; ``column`` is
    ``"median s"``, a further number of a case, or a column of a table.
    """

    name: str
    column: str
    at_most: float


@dataclass(frozen=True, slots=True)
class Case:
    """One piece of work, done by several contenders in turn.

    Attributes
    ----------
    title : str
        What is done, with its sizes.
    base : str
        The contender to whom the others are compared.
    contenders : tuple of Contender
        In the order they are told.
    goals : tuple of Goal
        What is asked of the ratios; told beside them, and asserted by nothing.
    ceilings : tuple of Ceiling
        What is asked of the figures themselves.

    """

    title: str
    base: str
    contenders: tuple[Contender, ...]
    goals: tuple[Goal, ...] = ()
    ceilings: tuple[Ceiling, ...] = ()

    def ratio(self, name: str, *, to: str) -> float:
        """How many times as fast a contender is as another, by their medians."""
        of = {one.name: one.median_s for one in self.contenders}
        return of[to] / of[name]

    def figure(self, ceiling: Ceiling) -> float | None:
        """Return what a ceiling is about; None: it was not measured."""
        one = next(one for one in self.contenders if one.name == ceiling.name)
        is_time = ceiling.column == "median s"
        return one.median_s if is_time else one.extra(ceiling.column)


@dataclass(frozen=True, slots=True)
class Table:
    """Figures that are not a race: a curve, a budget, a breakdown.

    ``rows`` hold one value for each of ``columns``; ``ceilings`` are what is asked of
    them.
    """

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str | float, ...], ...]
    ceilings: tuple[Ceiling, ...] = ()

    def figure(self, ceiling: Ceiling) -> float | None:
        """Return what a ceiling is about; None: it was not measured."""
        at = self.columns.index(ceiling.column)
        found = (row[at] for row in self.rows if row[0] == ceiling.name)
        return next((float(value) for value in found if value != ""), None)


@dataclass(frozen=True, slots=True)
class Report:
    """Everything one subject measured in one run.

    Attributes
    ----------
    cases : tuple of Case
        Races against peers.
    tables : tuple of Table
        Curves and budgets.
    notes : tuple of str
        What a reader must know: what limits it, what was not measured, and why.
    versions : mapping
        Version of each peer, by its name.

    """

    cases: tuple[Case, ...] = ()
    tables: tuple[Table, ...] = ()
    notes: tuple[str, ...] = ()
    versions: Mapping[str, str] = field(default_factory=dict)

    def without_goals(self) -> Report:
        """Return the figures alone, of a run that is too small to be judged."""
        return replace(
            self,
            cases=tuple(replace(one, goals=(), ceilings=()) for one in self.cases),
            tables=tuple(replace(one, ceilings=()) for one in self.tables),
        )

    def save(self, path: Path, **facts: Any) -> None:
        """Write it as JSON, with facts about the run beside it."""
        path.parent.mkdir(parents=True, exist_ok=True)
        text = json.dumps({**facts, **asdict(self)}, indent=1, ensure_ascii=False)
        path.write_text(text + "\n", encoding="utf-8")

    @classmethod
    def read(cls, document: Mapping[str, Any]) -> Report:
        """Return what `save` wrote."""
        return cls(
            tuple(_case(one) for one in document["cases"]),
            tuple(
                Table(
                    one["title"],
                    tuple(one["columns"]),
                    tuple(tuple(row) for row in one["rows"]),
                    _ceilings(one),
                )
                for one in document["tables"]
            ),
            tuple(document["notes"]),
            dict(document["versions"]),
        )


def _case(document: Mapping[str, Any]) -> Case:
    return Case(
        document["title"],
        document["base"],
        tuple(
            Contender(one["name"], tuple(Sample(**each) for each in one["samples"]))
            for one in document["contenders"]
        ),
        tuple(Goal(**one) for one in document["goals"]),
        _ceilings(document),
    )


def _ceilings(document: Mapping[str, Any]) -> tuple[Ceiling, ...]:
    return tuple(Ceiling(**one) for one in document.get("ceilings", ()))
