"""The durable work: process a version, deliver its results, survive anything between.

    version is ready -> process (one step) -> one delivery workflow per destination
                        (both try again later: the next workflow)

DBOS keeps which workflow and step is done; the store keeps what came of it. Every
step looks at the store first, so doing one twice changes nothing. A workflow's name
is derived from what it works on, so the same work is never queued twice.
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import structlog
from dbos import (
    DBOS,
    DBOSConfig,
    DBOSPortableJSONSerializer,
    SetEnqueueOptions,
    SetWorkflowID,
    WorkflowStatus,
)
from dbos import error as dbos_error
from sqlalchemy import make_url
from sqlalchemy.exc import SQLAlchemyError

from dicom_node.assembly import Clock, system_clock
from dicom_node.audit import Counters
from dicom_node.config import NodeSettings
from dicom_node.errors import StoreError
from dicom_node.store import CollectingStudy, Parcel, Store, VersionKey
from dicom_node.workflows.delivery import Delivery, delivery_delay_s
from dicom_node.workflows.names import parcel_name, work_name
from dicom_node.workflows.processing import NO_MODEL, Processing, StudyProcessor

__all__ = ["Workflows"]

_VERSION = "1"
"""Names the shape of the workflows below: recovery takes up those of this shape."""

_POLLING_S = 0.2
_DELIVERIES_AT_ONCE = 2
"""Associations to one destination at a time."""

_PATIENCE = timedelta(days=7)
"""How long a version is tried again, at most a quarter of an hour apart, while the
disk, database or model is away. Any other trouble ends it at once and says why."""

_RECOVERIES = 50
"""How often a workflow may be found unfinished at start. A study that ends the
process every time is then failed, and others go on."""

_OVERDUE = timedelta(seconds=60)
"""A try that is this late was lost with its workflow and is queued again."""

_CRASHED = "MAX_RECOVERY_ATTEMPTS_EXCEEDED"
_ACTIVE = frozenset({"PENDING", "ENQUEUED", "DELAYED"})

log = structlog.get_logger(__name__)


class Workflows:
    """The node's durable work, on DBOS. One per process at a time.

    Parameters
    ----------
    settings : NodeSettings
        Data folder, database and destinations.
    store : Store
        What was received, made and delivered.
    processor : StudyProcessor
        Makes the results.
    counters : Counters
        Counts what is done.
    clock : Clock
        The wall clock.

    """

    def __init__(
        self,
        settings: NodeSettings,
        store: Store,
        processor: StudyProcessor,
        *,
        counters: Counters,
        clock: Clock = system_clock,
    ) -> None:
        self._settings = settings
        self._store = store
        self._clock = clock
        self._data_dir = settings.node.data_dir.resolve()
        self._is_stopping = threading.Event()
        self._is_launched = False
        self._lock = threading.Lock()
        self._steps_running = 0
        self._has_waiting = threading.Event()
        self._processing = Processing(
            settings,
            store,
            processor,
            counters=counters,
            clock=clock,
            is_stopping=self._is_stopping,
        )
        self._delivery = Delivery(settings, store, counters=counters, clock=clock)

    @property
    def is_alive(self) -> bool:
        """Whether work is being taken from the queues."""
        return self._is_launched and any(
            thread.name == f"queue-worker-{_PROCESS_QUEUE}" and thread.is_alive()
            for thread in threading.enumerate()
        )

    def launch(self) -> None:
        """Start taking work; workflows that a crash interrupted go on.

        Raises
        ------
        StoreError
            The workflow database cannot be opened.

        """
        DBOS(config=self._configuration())
        self._register()
        try:
            DBOS.launch()
        except Exception as error:
            DBOS.destroy(destroy_registry=True)
            msg = f"the workflow database cannot be opened ({type(error).__name__})"
            raise StoreError(msg) from error
        DBOS.register_queue(
            _PROCESS_QUEUE, worker_concurrency=1, polling_interval_sec=_POLLING_S
        )
        # Also what goes to a destination that was removed since must end somewhere.
        names = {one.name for one in self._settings.destinations}
        names |= {one.destination for one in self._store.pending_parcels()}
        for name in sorted(names):
            DBOS.register_queue(
                _queue_of(name),
                worker_concurrency=_DELIVERIES_AT_ONCE,
                polling_interval_sec=_POLLING_S,
            )
        self._is_launched = True

    def stop(self, *, grace_s: int) -> None:
        """Take no more work; what does not finish in time is left for the next start.

        Parameters
        ----------
        grace_s : int
            How long work may take to finish, in seconds.

        """
        self._is_stopping.set()
        if not self._is_launched:
            return
        self._is_launched = False
        DBOS.destroy(
            destroy_registry=True,
            # DBOS would wait a second even when there is nothing to wait for.
            workflow_completion_timeout_sec=grace_s if self._steps_running else 0,
        )

    def resume(self, *, only_overdue: bool = False) -> None:
        """Queue what the store says is undone; doing so twice changes nothing.

        Parameters
        ----------
        only_overdue : bool
            Leave work that waits for its time; at a start none is left out, and what
            had been given up for want of the model is taken up again.

        """
        if not only_overdue:
            self._store.requeue_failed(reason_prefix=NO_MODEL, now=self._clock())
        for key in self._store.unfinished_versions():
            self.version_ready(key)
            if not only_overdue:
                self._hurry(work_name(key))
        latest = self._clock() - _OVERDUE
        for parcel in self._store.pending_parcels():
            if not only_overdue or parcel.next_attempt_at < latest:
                self._submit_parcel(parcel)

    def version_ready(self, key: VersionKey) -> None:
        """Queue a version; doing so twice changes nothing."""
        state = self._submit(
            work_name(key),
            _PROCESS_QUEUE,
            self._process_version,
            key.version_id,
            key.run,
        )
        if state == _CRASHED:
            self._store.fail_version(
                key.version_id,
                run=key.run,
                reason="processing it ended the node again and again",
                now=self._clock(),
            )

    def study_requested(self, study: CollectingStudy) -> None:
        """Do at once what is still to be done for a study."""
        for key in self._store.unfinished_versions():
            if key.study_instance_uid == study.study_instance_uid:
                self.version_ready(key)
                self._hurry(work_name(key))
        for parcel in self._store.pending_parcels(study_id=study.study_id):
            self._submit_parcel(parcel)
            self._hurry(parcel_name(parcel))

    def _configuration(self) -> DBOSConfig:
        url = make_url(self._settings.database_url)
        if url.get_backend_name() == "sqlite":
            url = make_url(f"sqlite:///{self._data_dir / 'dbos.sqlite'}")
            _use_write_ahead_log(self._data_dir / "dbos.sqlite")
        return DBOSConfig(
            name="dicom-node",
            system_database_url=url.render_as_string(hide_password=False),
            application_version=_VERSION,
            executor_id="node",
            # JSON: what is kept in a database is not executed when it is read back.
            serializer=DBOSPortableJSONSerializer(),
            use_listen_notify=False,
            log_level="WARNING",
            notification_listener_polling_interval_sec=_POLLING_S,
        )

    def _register(self) -> None:
        # Functions of this object, so that the process can have one after another.
        @DBOS.workflow(name="process_version", max_recovery_attempts=_RECOVERIES)
        def process_version(
            version_id: int, run: int, attempt: int = 0, began_at: str | None = None
        ) -> None:
            again = DBOS.run_step(
                {"name": "process"}, self._process, version_id, run, attempt, began_at
            )
            if again is not None:
                # A workflow that slept would keep the others from the worker.
                with (
                    SetWorkflowID(_next_id(str(DBOS.workflow_id))),
                    SetEnqueueOptions(delay_seconds=again["delay_s"]),
                ):
                    DBOS.enqueue_workflow(
                        _PROCESS_QUEUE,
                        process_version,
                        version_id,
                        run,
                        attempt + 1,
                        again["began_at"],
                    )
                return
            for name, destination in DBOS.run_step(
                {"name": "parcels"}, self._new_parcels, version_id
            ):
                with SetWorkflowID(name):
                    DBOS.enqueue_workflow(
                        _queue_of(destination), deliver, version_id, destination
                    )

        @DBOS.workflow(name="deliver", max_recovery_attempts=_RECOVERIES)
        def deliver(version_id: int, destination: str) -> None:
            again = DBOS.run_step(
                {"name": "deliver"}, self._deliver, version_id, destination
            )
            if again is not None:
                with (
                    SetWorkflowID(again["name"]),
                    SetEnqueueOptions(delay_seconds=again["delay_s"]),
                ):
                    DBOS.enqueue_workflow(
                        _queue_of(destination), deliver, version_id, destination
                    )

        self._process_version = process_version
        self._deliver_parcel = deliver

    def _process(
        self, version_id: int, run: int, attempt: int, began_at: str | None
    ) -> dict[str, Any] | None:
        now = self._clock()
        began = now if began_at is None else datetime.fromisoformat(began_at)
        with self._step():
            is_over = self._processing.process(
                version_id, run, is_last=now - began >= _PATIENCE
            )
        if not is_over:
            self._has_waiting.set()
            return {
                "delay_s": delivery_delay_s(attempt),
                "began_at": began.isoformat(),
            }
        if self._has_waiting.is_set():
            # What was away is back: the others need not wait for their time.
            self._has_waiting.clear()
            for key in self._store.unfinished_versions():
                if key.version_id != version_id:
                    self._hurry(work_name(key))
        return None

    def _new_parcels(self, version_id: int) -> list[tuple[str, str]]:
        return [
            (_first_id(parcel_name(one)), one.destination)
            for one in self._store.pending_parcels(version_id=version_id)
        ]

    def _deliver(self, version_id: int, destination: str) -> dict[str, Any] | None:
        with self._step():
            outcome = self._delivery.deliver(version_id, destination)
        if outcome.delivered:
            # A destination that answers gets at once what waits for it.
            for parcel in self._store.pending_parcels(destination=destination):
                if parcel.version_id != version_id:
                    self._hurry(parcel_name(parcel))
        if outcome.left is None:
            return None
        return {
            "name": _first_id(parcel_name(outcome.left)),
            "delay_s": outcome.delay_s,
        }

    @contextmanager
    def _step(self) -> Iterator[None]:
        with self._lock:
            self._steps_running += 1
        try:
            yield
        finally:
            with self._lock:
                self._steps_running -= 1

    def _hurry(self, name: str) -> None:
        newest = _newest(name)
        if newest is not None:
            DBOS.set_workflow_delay(newest.workflow_id, delay_seconds=0.0)

    def _submit_parcel(self, parcel: Parcel) -> None:
        self._submit(
            parcel_name(parcel),
            _queue_of(parcel.destination),
            self._deliver_parcel,
            parcel.version_id,
            parcel.destination,
        )

    def _submit(
        self,
        name: str,
        queue: str,
        workflow: Callable[..., None],
        *arguments: int | str,
    ) -> str:
        """Queue work unless it is queued; return the state of its workflow.

        Work that is undone though its workflow has ended (the database was away at
        the last moment) gets another workflow.
        """
        try:
            known = _newest(name)
            if known is not None and known.status in {*_ACTIVE, _CRASHED}:
                return str(known.status)
            workflow_id = (
                _first_id(name) if known is None else _next_id(known.workflow_id)
            )
            with SetWorkflowID(workflow_id):
                DBOS.enqueue_workflow(queue, workflow, *arguments)
        except (SQLAlchemyError, dbos_error.DBOSException) as error:
            msg = f"the work could not be queued ({type(error).__name__})"
            raise StoreError(msg) from error
        return "ENQUEUED"


_PROCESS_QUEUE = "process"


def _queue_of(destination: str) -> str:
    return f"deliver-{destination}"


def _first_id(name: str) -> str:
    return f"{name}-0"


def _next_id(workflow_id: str) -> str:
    name, _, number = workflow_id.rpartition("-")
    return f"{name}-{int(number) + 1}"


def _newest(name: str) -> WorkflowStatus | None:
    """Return the last of the workflows that were queued under a name."""
    found = DBOS.list_workflows(
        workflow_id_prefix=f"{name}-",
        sort_desc=True,
        limit=1,
        load_input=False,
        load_output=False,
    )
    return found[0] if found else None


def _use_write_ahead_log(path: Path) -> None:
    # A property of the file: DBOS leaves it as it finds it.
    with sqlite3.connect(path) as connection:
        connection.execute("PRAGMA journal_mode=WAL")
    connection.close()
