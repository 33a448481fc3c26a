"""Looks at the queues: at once when work is queued here, now and then otherwise.

DBOS looks at each queue five times a second, which costs an idle node 2 % of a core
for each, and each second for work whose time has come. Its own loops are used, but the
events that they wait on between two looks wake when this process has queued something
or work has become due, and let them sleep when nothing happens.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable

from dbos import DBOS, Queue
from dbos._queue import queue_thread, queue_worker_thread
from dbos._scheduler import dynamic_scheduler_loop
from dbos._sys_db_postgres import BACKGROUND_JOB_LOCK_IDLE_TIMEOUT_MS
from dbos._workflow_commands import BACKGROUND_JOBS_THREAD_NAME
from sqlalchemy import event, func, select
from sqlalchemy.engine import ExecutionContext
from sqlalchemy.engine.interfaces import DBAPICursor
from sqlalchemy.exc import SQLAlchemyError

__all__ = ["IDLE_S", "QueueWatch", "ring"]

IDLE_S = 10.0
"""How often a queue is looked at when nothing happens. What is queued rings, and what
ends; this is for what nobody has told."""

_ALERT_S = 3.0
"""So long after something happened a queue is looked at as often as it asks for: work
that is brought forward is in the queue a second later, and what ends makes room."""

_LOCKED_S = BACKGROUND_JOB_LOCK_IDLE_TIMEOUT_MS / 1000 / 2
"""On PostgreSQL the engine's own thread holds a lock while it waits, and the server
ends who holds it twice as long without a word."""

_JOIN_S = 10.0

_LOOK_S = 0.01
"""How often it is looked whether work has ended that a stop waits for."""

_EXECUTED = "after_cursor_execute"


class Pause(threading.Event):
    """The wait between two looks at a queue; set: there are no more.

    Parameters
    ----------
    monotonic : callable
        Seconds of a clock that never goes back.
    due_in_s : callable, optional
        Seconds until something is to be done though nobody rings; None: nothing is
        known that will be.

    """

    def __init__(
        self,
        monotonic: Callable[[], float] = time.monotonic,
        *,
        due_in_s: Callable[[], float | None] = lambda: None,
    ) -> None:
        super().__init__()
        self._monotonic = monotonic
        self._due_in_s = due_in_s
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
        if timeout == 0:
            return self.is_set()
        is_alert = self._monotonic() < self._alert_until
        if not self.is_set():
            if not is_alert and timeout is not None:
                due_in_s = self._due_in_s()
                idle_s = IDLE_S if due_in_s is None else min(due_in_s, IDLE_S)
                timeout = max(timeout, idle_s)
            self._has_rung.wait(timeout)
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
        _end_unused_threads(engine)

    @staticmethod
    def prepare(engine: DBOS) -> None:
        """Let an engine that is not launched yet look for due work when there is."""
        pause = Pause(due_in_s=lambda: _first_due_in_s(engine))
        engine._background_jobs_stop_event = pause
        with _lock:
            _pauses.append(pause)

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
        due = self._engine._background_jobs_stop_event  # which the engine sets itself
        with _lock:
            _pauses[:] = [one for one in _pauses if one not in (*pauses, due)]
        for thread in self._threads:
            if thread.name != BACKGROUND_JOBS_THREAD_NAME:  # the engine ends its own
                thread.join(_JOIN_S)

    def wait_for_work(self, grace_s: float) -> None:
        """Wait until what was begun has ended, with its outcome kept, but not longer.

        The engine looks once a second. Work whose last step is kept and whose end is
        not would be found unfinished by the next start, and end as the step did.
        """
        deadline = time.monotonic() + grace_s
        while self._engine._active_workflows_set.activeList():
            if time.monotonic() > deadline:
                return
            time.sleep(_LOOK_S)


def _first_due_in_s(engine: DBOS) -> float | None:
    """Return how long it is until delayed work is looked for; None: there is none."""
    status = engine._sys_db.tables.workflow_status
    first = select(func.min(status.c.delay_until_epoch_ms)).where(
        status.c.status == "DELAYED"
    )
    try:
        with engine._sys_db.engine.connect() as connection:
            due_ms = connection.execute(first).scalar()
    except SQLAlchemyError:
        return 0.0  # the look that follows says so
    due_in_s = None if due_ms is None else max(0.0, due_ms / 1000 - time.time())
    if engine._sys_db.engine.dialect.name == "sqlite":
        return due_in_s
    return min(_LOCKED_S, _LOCKED_S if due_in_s is None else due_in_s)


def _end_unused_threads(engine: DBOS) -> None:
    """End what looks for queues that others register, and for schedules.

    The node has no schedules, registers its queues here, and leaves the engine's own
    queue empty: all it queues has a queue. What looks for messages between workflows
    cannot be ended, but no stop waits for it.
    """
    for thread in tuple(engine._background_threads):
        target = getattr(thread, "_target", None)
        if target in (queue_thread, dynamic_scheduler_loop):
            ends: threading.Event = getattr(thread, "_args")[0]  # noqa: B009
            ends.set()
        elif target == engine._sys_db.run_notification_listener:
            engine._background_threads.remove(thread)
