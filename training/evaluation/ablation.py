"""Write ablation rows as a table that says plainly when an option does not help."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean, stdev
from typing import Any

from training.errors import ConfigError
from training.evaluation.metrics import METRICS
from training.evaluation.tables import table

__all__ = ["AblationRow", "load_ablation", "render_ablation"]

_ENOUGH = 2.0
"""Standard errors that a gain must exceed before it is called one."""


@dataclass(frozen=True)
class AblationRow:
    """One option, measured with and without, once per seed."""

    option: str
    metric: str
    on: tuple[float, ...]
    """One value per seed"""
    off: tuple[float, ...]
    """The same seeds in the same order"""
    n: int
    """Phrases behind each value"""
    note: str = ""

    def __post_init__(self) -> None:
        if not self.on or len(self.on) != len(self.off):
            raise ConfigError(f"{self.option}: {len(self.on)} on, {len(self.off)} off")

    @property
    def gain(self) -> float:
        """Return how much better it is with the option, whatever the metric's sense."""
        difference = mean(self.on) - mean(self.off)
        known = METRICS.get(self.metric)
        return -difference if known and known.better == "lower" else difference

    @property
    def error(self) -> float | None:
        """Return the standard error of the gain over seeds; None of a single seed."""
        if len(self.on) < 2:
            return None
        gaps = [a - b for a, b in zip(self.on, self.off, strict=True)]
        return stdev(gaps) / math.sqrt(len(gaps))

    @property
    def verdict(self) -> str:
        """Return what the numbers allow to say."""
        if self.error is None:
            tendency = "better" if self.gain > 0 else "not better"
            return f"{tendency} in one run: no proof"
        if abs(self.gain) <= _ENOUGH * self.error:
            return "does not help: within the noise of seeds"
        return "helps" if self.gain > 0 else "does not help: it harms"


def load_ablation(path: Path) -> tuple[AblationRow, ...]:
    """Read a JSON list of {option, metric, on, off, n, seeds[, note]}.

    ``on`` and ``off`` are a number, or a list of one number per seed; ``seeds`` is
    how many there are, or which.

    Raises
    ------
    training.errors.ConfigError
        The file is no such list; the message names the row.
    """
    try:
        raw = json.loads(path.read_text(encoding="utf-8"))
        return tuple(_row(number, entry) for number, entry in enumerate(raw))
    except (OSError, ValueError, TypeError) as error:
        raise ConfigError(f"{path} is no list of ablation rows: {error}") from error


def render_ablation(rows: Sequence[AblationRow]) -> str:
    """Return the Markdown table and what is said of it."""
    lines = [
        [
            row.option,
            row.metric,
            mean(row.on),
            mean(row.off),
            f"{row.gain:+.3f}" + ("" if row.error is None else f" ± {row.error:.3f}"),
            row.n,
            len(row.on),
            row.verdict + (f" ({row.note})" if row.note else ""),
        ]
        for row in rows
    ]
    head = ("option", "metric", "on", "off", "gain", "n", "seeds", "verdict")
    useless = [row.option for row in rows if row.verdict.startswith("does not")]
    said = (
        f"On these data the following do not help: {', '.join(useless)}."
        if useless
        else "No option is shown to be useless on these data."
    )
    return (
        f"{table(head, lines)}\n\nThe gain is counted so that positive is better; "
        f"± is its standard error over seeds. {said}"
    )


def _row(number: int, entry: dict[str, Any]) -> AblationRow:
    try:
        on, off = _numbers(entry["on"]), _numbers(entry["off"])
        seeds = entry["seeds"]
        count = len(seeds) if isinstance(seeds, list) else int(seeds)
        row = AblationRow(
            option=str(entry["option"]),
            metric=str(entry["metric"]),
            on=on,
            off=off,
            n=int(entry["n"]),
            note=str(entry.get("note", "")),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise ConfigError(f"ablation row {number}: {error!r}") from error
    if count != len(on):
        raise ConfigError(f"ablation row {number}: {len(on)} values, {count} seeds")
    return row


def _numbers(value: Any) -> tuple[float, ...]:
    values = value if isinstance(value, list) else [value]
    numbers = tuple(float(item) for item in values)
    if not numbers or not all(math.isfinite(number) for number in numbers):
        raise ValueError("no number, or one that is not finite")
    return numbers
