"""Whose turn it is to ask the model: one at a time, and a small request aside."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from dicom_node.errors import WorkerLostError

__all__ = ["Turns"]

_LOOK_S = 0.05
"""How often it is looked whether one has to wait no longer."""


class Turns:
    """Gives turns to threads.

    Parameters
    ----------
    is_ready : callable
        Whether a model is there that can be asked aside.

    """

    def __init__(self, is_ready: Callable[[], bool]) -> None:
        self._is_ready = is_ready
        self._main = threading.RLock()
        self._aside = threading.Lock()
        self._ends = 0

    @contextmanager
    def take(self, *, may_pass: bool = False) -> Iterator[bool]:
        """Wait for one's turn, and have it while the block lasts.

        Parameters
        ----------
        may_pass : bool
            Whether the request is small: while another is under way, it is asked
            aside.

        Yields
        ------
        bool
            Whether to ask aside.

        Raises
        ------
        WorkerLostError
            All was ended while this waited.

        """
        ends = self._ends
        lock: threading.Lock | threading.RLock = self._main
        while not self._main.acquire(timeout=_LOOK_S if may_pass else -1):
            if self._is_ready() and self._aside.acquire(blocking=False):
                lock = self._aside
                break
        try:
            if self._ends != ends:
                raise WorkerLostError("the node is stopping")
            yield lock is self._aside
        finally:
            lock.release()

    @contextmanager
    def end(self, interrupt: Callable[[], None]) -> Iterator[None]:
        """Take all turns: who has one is interrupted, who waits for one gives up."""
        self._ends += 1
        for lock in (self._main, self._aside):
            # Who has a turn and has not begun to ask is interrupted when it does.
            while not lock.acquire(timeout=_LOOK_S):
                interrupt()
        try:
            yield
        finally:
            self._aside.release()
            self._main.release()
