"""The workbench of a processor: one study lies on it, but for its time at the model.

What is done in this process is done for one study at a time: libraries switch
warnings and settings of the whole process meanwhile. While the model is at work on a
study, another may have the bench.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from types import TracebackType
from typing import TYPE_CHECKING, Self

from dicom_node.stages import StageLog

if TYPE_CHECKING:
    from dicom_node.grounding.grounder import (
        GroundedPrompt,
        Grounder,
        ModelIdentity,
        Progress,
    )
    from dicom_node.imaging import Pixels
    from dicom_node.pipeline import Rooms
    from dicom_node.records import ImageSeries
    from dicom_node.remote import RemoteModel

__all__ = ["OTHERS", "Workbench"]

OTHERS = "waiting for another study"
"""The stage of a study that lets another go first, at the bench or at the model."""


class Workbench:
    """A study's time at the bench: a context manager, for one run.

    Parameters
    ----------
    lock : threading.Lock
        The bench, shared by all runs.
    stages : StageLog
        Notes the waiting.

    """

    def __init__(self, lock: threading.Lock, stages: StageLog) -> None:
        self._lock = lock
        self._stages = stages

    def __enter__(self) -> Self:
        if not self._lock.acquire(blocking=False):
            with self._stages.measure(OTHERS):
                self._lock.acquire()
        return self

    def __exit__(
        self,
        _type: type[BaseException] | None,
        _value: BaseException | None,
        _traceback: TracebackType | None,
    ) -> None:
        self._lock.release()

    def lend(self, rooms: Rooms) -> Rooms:
        """Return rooms whose model gives the bench free while it works."""
        from dicom_node.remote import RemoteModel

        grounder: Grounder | RemoteModel = rooms.grounder
        if isinstance(grounder, RemoteModel):
            return replace(rooms, grounder=replace(grounder, meanwhile=self._lent))
        return replace(rooms, grounder=_Lending(grounder, self, self._stages))

    @contextmanager
    def _lent(self) -> Iterator[None]:
        self.__exit__(None, None, None)
        try:
            yield
        finally:
            self.__enter__()


class _Lending:
    """A Grounder that gives the bench free while it works."""

    def __init__(self, grounder: Grounder, bench: Workbench, stages: StageLog) -> None:
        self._grounder = grounder
        self._bench = bench
        self._stages = stages

    @property
    def identity(self) -> ModelIdentity:
        return self._grounder.identity

    def ground(
        self,
        series: ImageSeries,
        pixels: Pixels,
        prompts: Sequence[str],
        *,
        progress: Progress | None = None,
        with_probabilities: bool = False,
    ) -> tuple[GroundedPrompt, ...]:
        told = _Told(progress, self._stages)
        self._bench.__exit__(None, None, None)
        try:
            return self._grounder.ground(
                series,
                pixels,
                prompts,
                progress=told,
                with_probabilities=with_probabilities,
            )
        finally:
            told.turn(has_turn=True)
            self._bench.__enter__()


class _Told:
    """Hands progress on, and notes when the model is at another study."""

    def __init__(self, progress: Progress | None, stages: StageLog) -> None:
        self._progress = progress
        self._stages = stages
        self._waiting = ExitStack()
        self._has_turn = True

    def __call__(self, done: int, total: int, /) -> None:
        if self._progress is not None:
            self._progress(done, total)

    def turn(self, has_turn: bool) -> None:
        if has_turn:
            self._waiting.close()
        elif self._has_turn:
            self._waiting.enter_context(self._stages.measure(OTHERS))
        self._has_turn = has_turn
