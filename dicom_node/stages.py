"""When each step of a study's processing began and ended, kept beside its results."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

__all__ = ["STAGES_JSON", "Stage", "StageLog", "read_stages"]

STAGES_JSON = "stages.json"
"""File name in a folder of results. Not in ``result.json``: the same study gives the
same answer, and never takes the same time."""


@dataclass(frozen=True, slots=True)
class Stage:
    """A step and when it was done.

    Parameters
    ----------
    name : str
        The step, as ``headers`` or ``inference``.
    begin, end : datetime.datetime
        Aware.

    """

    name: str
    begin: datetime
    end: datetime


class StageLog:
    """Notes when steps begin and end; one for each run.

    Parameters
    ----------
    clock : callable
        Tells the moment, aware.

    """

    def __init__(self, clock: Callable[[], datetime]) -> None:
        self._clock = clock
        self._stages: list[Stage] = []

    @property
    def stages(self) -> tuple[Stage, ...]:
        """What has ended, in the order of ending."""
        return tuple(self._stages)

    @contextmanager
    def measure(self, name: str) -> Iterator[None]:
        """Note a step that lasts as long as the block, whether or not it succeeds."""
        begin = self._clock()
        try:
            yield
        finally:
            self._stages.append(Stage(name, begin, self._clock()))

    def save(self, folder: Path) -> None:
        """Write them to a folder of results; `read_stages` reads them."""
        rows = [
            [one.name, one.begin.isoformat(), one.end.isoformat()]
            for one in self._stages
        ]
        (folder / STAGES_JSON).write_text(json.dumps(rows) + "\n", encoding="utf-8")


def read_stages(folder: Path) -> tuple[Stage, ...]:
    """Return the steps of a run; none where its folder does not tell them.

    Parameters
    ----------
    folder : pathlib.Path
        A folder of results.

    """
    try:
        rows = json.loads((folder / STAGES_JSON).read_bytes())
        return tuple(
            Stage(str(name), datetime.fromisoformat(begin), datetime.fromisoformat(end))
            for name, begin, end in rows
        )
    except (OSError, ValueError, TypeError):
        return ()  # of an older program, or deleted by retention
