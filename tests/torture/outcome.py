"""What a torture test found: figures, their limits, and the anchors beside them."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any, TypeAlias

__all__ = ["Figure", "Outcome", "Scale", "Tell", "at_least", "at_most", "check", "seen"]


class Scale(StrEnum):
    """How much of a test is run."""

    SHORT = "short"
    """Seconds: in CI."""
    FULL = "full"
    """Minutes: ``make torture``."""
    SOAK = "soak"
    """Hours: ``make soak``."""


Tell: TypeAlias = Callable[[str], None]
"""Tells a person who waits how far it is."""


@dataclass(frozen=True, slots=True)
class Figure:
    """One number, and whether it is what it must be.

    ``holds`` is None where nothing is asked of it: it is told, not judged.
    """

    name: str
    value: float | str
    unit: str = ""
    limit: str = ""
    holds: bool | None = None

    def __str__(self) -> str:
        value = f"{self.value:g}" if isinstance(self.value, float) else self.value
        limit = f" ({self.limit})" if self.limit else ""
        mark = {None: "", True: "", False: " **falls short**"}[self.holds]
        return f"{self.name} {value}{' ' if self.unit else ''}{self.unit}{limit}{mark}"


def at_most(name: str, value: float, limit: float, unit: str = "") -> Figure:
    """Return a figure that must not be larger than its limit."""
    return Figure(name, value, unit, f"at most {limit:g}", value <= limit)


def at_least(name: str, value: float, limit: float, unit: str = "") -> Figure:
    """Return a figure that must not be smaller than its limit."""
    return Figure(name, value, unit, f"at least {limit:g}", value >= limit)


def seen(name: str, value: float | str, unit: str = "") -> Figure:
    """Return a figure that is told and not judged."""
    return Figure(name, value, unit)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one test found in one run.

    Attributes
    ----------
    figures : tuple of Figure
        Of the node.
    anchors : mapping
        The same figures of another system in the same run, by its name and version.
    notes : tuple of str
        What a reader must know: what was not done, and why.

    """

    figures: tuple[Figure, ...]
    anchors: Mapping[str, tuple[Figure, ...]] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    @property
    def short_of(self) -> tuple[Figure, ...]:
        """The node's figures that are not what they must be."""
        return tuple(one for one in self.figures if one.holds is False)

    def save(self, path: Path, **facts: Any) -> None:
        """Write it as JSON, with facts about the run beside it."""
        path.parent.mkdir(parents=True, exist_ok=True)
        text = json.dumps({**facts, **asdict(self)}, indent=2, ensure_ascii=False)
        path.write_text(text + "\n", encoding="utf-8")

    @classmethod
    def read(cls, document: Mapping[str, Any]) -> Outcome:
        """Return what `save` wrote."""
        return cls(
            tuple(Figure(**one) for one in document["figures"]),
            {
                name: tuple(Figure(**one) for one in figures)
                for name, figures in document["anchors"].items()
            },
            tuple(document["notes"]),
        )


def check(outcome: Outcome) -> None:
    """Fail, naming each figure that is not what it must be."""
    assert outcome.figures, "nothing was measured"
    assert not outcome.short_of, "; ".join(map(str, outcome.short_of))
