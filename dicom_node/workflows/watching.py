"""Looks at the queues: at once when work is queued here, now and then otherwise.

DBOS looks at each queue five times a second, which costs an idle node 2 % of a core
for each. Its own loop is used, but the event that it waits on between two looks wakes
when this process has queued something or work has become due, and lets it sleep when
nothing happens.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable

from dbos import DBOS, Queue
from dbos._queue import queue_worker_thread
from dbos._workflow_commands import BACKGROUND_JOBS_THREAD_NAME
from sqlalchemy import event
from sqlalchemy.engine import ExecutionContext
from sqlalchemy.engine.interfaces import DBAPICursor

__all__ = ["IDLE_S", "QueueWatch", "ring"]

IDLE_S = 5.0
"""How often a queue is looked at when nothing happens: for what another process
queued."""

_ALERT_S = 3.0
"""So long after something happened a queue is looked at as often as it asks for: work
that is brought forward is in the queue a second later, and what ends makes room."""

_UNUSED_S = 3600.0
"""How often the engine looks at its own queue, which nothing in the node uses."""

_JOIN_S = 10.0

_EXECUTED = "after_cursor_execute"


class Pause(threading.Event):
    """The wait between two looks at a queue; set: there are no more.

    Parameters
    ----------
    monotonic : callable
        Seconds of a clock that never goes back.

    """

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._monotonic = monotonic
        self._has_rung = threading.Event()
        self._alert_until = monotonic() + _ALERT_S

    def ring(self) -> None:
        """End this wait at once, and keep the next ones short."""
        self._alert_until = self._monotonic() + _ALERT_S
        self._has_rung.set()

    def set(self) -> None:
        """End this wait, and all that come."""
        super().set()
        self._has_rung.set()

    def wait(self, timeout: float | None = None) -> bool:
        """Wait for so long, longer when nothing happens; return whether it is set."""
        is_alert = self._monotonic() < self._alert_until
        if not self.is_set():
            self._has_rung.wait(
                timeout if is_alert or timeout is None else max(timeout, IDLE_S)
            )
        # What rings from here on is seen in the queue by the look that follows.
        self._has_rung.clear()
        return self.is_set()


_lock = threading.Lock()
_pauses: list[Pause] = []


def ring() -> None:
    """Tell those who look at the queues of this process that there may be work."""
    with _lock:
        for one in _pauses:
            one.ring()


def _hear_what_is_due(
    _connection: object,
    cursor: DBAPICursor,
    _statement: str,
    _parameters: object,
    context: ExecutionContext,
    _many: bool,
) -> None:
    """Ring when the engine's own thread has changed rows: it put work into a queue."""
    if (
        threading.current_thread().name == BACKGROUND_JOBS_THREAD_NAME
        and context.isupdate
        and cursor.rowcount > 0
    ):
        ring()


class QueueWatch:
    """A thread for each queue of an engine. One engine per process at a time.

    Parameters
    ----------
    engine : dbos.DBOS
        The engine, launched; it listens to no queue itself.

    """

    def __init__(self, engine: DBOS) -> None:
        self._engine = engine
        self._pauses: dict[str, Pause] = {}
        # The engine's own thread puts work into its queue whose time has come.
        self._threads = [
            one
            for one in engine._background_threads
            if one.name == BACKGROUND_JOBS_THREAD_NAME
        ]
        own = engine._registry.get_internal_queue()
        own._polling_interval_sec = _UNUSED_S

    def start(self, queues: Iterable[Queue]) -> None:
        """Take work from these queues from now on."""
        for queue in queues:
            pause = Pause()
            thread = threading.Thread(
                target=queue_worker_thread,
                args=(pause, self._engine, queue),
                name=f"queue-{queue.name}",
                daemon=True,
            )
            self._pauses[queue.name] = pause
            self._threads.append(thread)
            with _lock:
                _pauses.append(pause)
            thread.start()
        event.listen(self._engine._sys_db.engine, _EXECUTED, _hear_what_is_due)

    def dead_threads(self) -> list[str]:
        """Return the names of those without which some work is never begun."""
        return [one.name for one in self._threads if not one.is_alive()]

    def stop(self) -> None:
        """Take no more work."""
        event.remove(self._engine._sys_db.engine, _EXECUTED, _hear_what_is_due)
        pauses = self._pauses.values()
        for pause in pauses:
            pause.set()
        with _lock:
            _pauses[:] = [one for one in _pauses if one not in pauses]
        for thread in self._threads:
            if thread.name != BACKGROUND_JOBS_THREAD_NAME:  # the engine ends its own
                thread.join(_JOIN_S)
