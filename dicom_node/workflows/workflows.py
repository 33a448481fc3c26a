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
from typing import Any

import structlog
from dbos import (
    DBOS,
    SetEnqueueOptions,
    SetWorkflowID,
)
from dbos import error as dbos_error
from sqlalchemy.exc import SQLAlchemyError

from dicom_node.assembly import Clock, system_clock
from dicom_node.audit import Counters
from dicom_node.commitment_messages import CommitmentReport
from dicom_node.config import NodeSettings
from dicom_node.errors import StoreError
from dicom_node.retrieve import Retriever
from dicom_node.rules import PRIORITIES
from dicom_node.store import CollectingStudy, Parcel, Store, VersionKey
from dicom_node.store.switches import DRAINING, PAUSED
from dicom_node.workflows.choosing import Chooser
from dicom_node.workflows.delivery import (
    Delivery,
    delivery_delay_s,
    first_in_line,
)
from dicom_node.workflows.engine import (
    POLLING_S,
    engine_configuration,
    first_id,
    newest,
    next_id,
    queue_of,
)
from dicom_node.workflows.names import commitment_name, parcel_name, work_name
from dicom_node.workflows.processing import NO_MODEL, Processing, StudyProcessor

__all__ = ["DRAINING", "PAUSED", "Workflows"]

_LOOK_S = 0.5
"""How often it is looked whether the pause is over."""

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

    Raises
    ------
    RuleError
        A rule of the settings cannot be understood.

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
        self._delivery = Delivery(
            settings,
            store,
            counters=counters,
            clock=clock,
            on_failed=self._submit_first,
        )
        self._chooser = Chooser(settings, store, clock=clock)
        self._retriever: Retriever | None = None

    @property
    def is_alive(self) -> bool:
        """Whether work is being taken from the queues."""
        return self._is_launched and any(
            thread.name == f"queue-worker-{_PROCESS_QUEUE}" and thread.is_alive()
            for thread in threading.enumerate()
        )

    def complete_by(self, retriever: Retriever) -> None:
        """Let every version wait until an archive was asked for what it lacks."""
        self._retriever = retriever

    def launch(self) -> None:
        """Start taking work; workflows that a crash interrupted go on.

        Raises
        ------
        StoreError
            The workflow database cannot be opened.

        """
        try:
            configuration = engine_configuration(self._settings)
        except sqlite3.Error as error:
            msg = f"the workflow database cannot be opened ({type(error).__name__})"
            raise StoreError(msg) from error
        DBOS(config=configuration)
        self._register()
        try:
            DBOS.launch()
        except Exception as error:
            DBOS.destroy(destroy_registry=True)
            msg = f"the workflow database cannot be opened ({type(error).__name__})"
            raise StoreError(msg) from error
        DBOS.register_queue(
            _PROCESS_QUEUE, worker_concurrency=1, polling_interval_sec=POLLING_S
        )
        # Also what goes to a destination that was removed since must end somewhere.
        names = {one.name for one in self._settings.destinations}
        names |= {one.destination for one in self._store.pending_parcels()}
        names |= {one.destination for one in self._store.commitments.waiting()}
        for name in sorted(names):
            DBOS.register_queue(
                queue_of(name),
                worker_concurrency=_DELIVERIES_AT_ONCE,
                polling_interval_sec=POLLING_S,
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
        for parcel in first_in_line(self._store.pending_parcels()):
            if not only_overdue or parcel.next_attempt_at < latest:
                self._submit_parcel(parcel)
        for parcel in self._store.commitments.waiting():
            if not only_overdue or parcel.next_attempt_at < latest:
                self._submit_commitment(parcel)

    def take_report(self, ae_title: str, report: CommitmentReport) -> bool:
        """Record what an application entity reports on a storage commitment.

        Returns
        -------
        bool
            Whether a destination with this AE title was asked for it.

        """
        return self._delivery.take_report(self._delivery.names_of(ae_title), report)

    def version_ready(self, key: VersionKey, *, is_requested: bool = False) -> None:
        """Decide about a version and queue it; doing so twice changes nothing."""
        choice = self._chooser.choose(key, is_requested=is_requested)
        if not choice.is_processed:
            return
        if self._retriever is not None and self._retriever.must_wait(
            key, lambda: self.version_ready(key, is_requested=is_requested)
        ):
            return  # it comes here again when the archives were asked
        state = self._submit(
            work_name(key),
            _PROCESS_QUEUE,
            self._process_version,
            key.version_id,
            key.run,
            priority=choice.priority,
            delay_s=choice.delay_s,
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
                self.version_ready(key, is_requested=True)
                self._hurry(work_name(key))
        parcels = self._store.pending_parcels(study_id=study.study_id)
        for parcel in first_in_line(parcels):
            self._submit_parcel(parcel)
            self._hurry(parcel_name(parcel))
        for parcel in self._store.commitments.waiting(study_id=study.study_id):
            self._submit_commitment(parcel)
            self._hurry(commitment_name(parcel))

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
                    SetWorkflowID(next_id(str(DBOS.workflow_id))),
                    SetEnqueueOptions(
                        delay_seconds=again["delay_s"], priority=again["priority"]
                    ),
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
            for study_id, destination, name in DBOS.run_step(
                {"name": "parcels"}, self._new_parcels, version_id
            ):
                with SetWorkflowID(first_id(name)):
                    DBOS.enqueue_workflow(
                        queue_of(destination), deliver, study_id, destination, name
                    )

        @DBOS.workflow(name="deliver", max_recovery_attempts=_RECOVERIES)
        def deliver(study_id: int, destination: str, name: str) -> None:
            again = DBOS.run_step(
                {"name": "deliver"}, self._deliver, study_id, destination, name
            )
            if again is not None:
                with (
                    SetWorkflowID(first_id(again["name"])),
                    SetEnqueueOptions(delay_seconds=again["delay_s"]),
                ):
                    DBOS.enqueue_workflow(
                        queue_of(destination),
                        deliver,
                        study_id,
                        destination,
                        again["name"],
                    )
            commit_later(
                DBOS.run_step(
                    {"name": "stored"}, self._next_commitments, study_id, destination
                ),
                study_id,
                destination,
            )

        @DBOS.workflow(name="commit", max_recovery_attempts=_RECOVERIES)
        def commit(study_id: int, destination: str, name: str) -> None:
            commit_later(
                DBOS.run_step(
                    {"name": "commit"}, self._commit, study_id, destination, name
                ),
                study_id,
                destination,
            )

        def commit_later(
            due: list[dict[str, Any]], study_id: int, destination: str
        ) -> None:
            for one in due:
                with (
                    SetWorkflowID(first_id(one["name"])),
                    SetEnqueueOptions(delay_seconds=one["delay_s"]),
                ):
                    DBOS.enqueue_workflow(
                        queue_of(destination),
                        commit,
                        study_id,
                        destination,
                        one["name"],
                    )

        self._commit_parcel = commit
        self._process_version = process_version
        self._deliver_parcel = deliver

    def _process(
        self, version_id: int, run: int, attempt: int, began_at: str | None
    ) -> dict[str, Any] | None:
        self._wait_while_paused()
        choice = self._chooser.recall(version_id)
        now = self._clock()
        began = now if began_at is None else datetime.fromisoformat(began_at)
        again = {"began_at": began.isoformat(), "priority": choice.priority}
        if choice.delay_s:  # its hours passed while it waited for others
            return {**again, "delay_s": choice.delay_s}
        with self._step():
            is_over = self._processing.process(
                version_id,
                run,
                is_last=now - began >= _PATIENCE,
                model=choice.model,
            )
        if not is_over:
            self._has_waiting.set()
            return {**again, "delay_s": delivery_delay_s(attempt)}
        if self._has_waiting.is_set():
            # What was away is back: the others need not wait for their time.
            self._has_waiting.clear()
            for key in self._store.unfinished_versions():
                if key.version_id != version_id:
                    self._hurry(work_name(key))
        return None

    def _wait_while_paused(self) -> None:
        # The one worker of the queue waits here, so nothing else is begun.
        while self._is_paused():
            if self._is_stopping.wait(_LOOK_S):
                raise StoreError("the node stops while work is paused")

    def _is_paused(self) -> bool:
        try:
            return bool(self._store.switches.get(PAUSED))
        except StoreError as error:
            log.warning("pause_unknown", reason=str(error))
            return False  # what follows needs the database and waits for it

    def _new_parcels(self, version_id: int) -> list[tuple[int, str, str]]:
        # What waits for an earlier version's parcel is sent by whoever sends that.
        made = self._store.pending_parcels(version_id=version_id)
        of_study = [
            parcel
            for study_id in {one.study_id for one in made}
            for parcel in self._store.pending_parcels(study_id=study_id)
        ]
        return [
            (one.study_id, one.destination, parcel_name(one))
            for one in first_in_line(of_study)
        ]

    def _deliver(
        self, study_id: int, destination: str, name: str
    ) -> dict[str, Any] | None:
        with self._step():
            outcome = self._delivery.deliver(study_id, destination, name)
        if outcome.delivered:
            # A destination that answers gets at once what waits for it.
            waiting = self._store.pending_parcels(destination=destination)
            for parcel in first_in_line(waiting):
                if parcel.study_id != study_id:
                    self._hurry(parcel_name(parcel))
        if outcome.left is None:
            return None
        return {"name": parcel_name(outcome.left), "delay_s": outcome.delay_s}

    def _commit(
        self, study_id: int, destination: str, name: str
    ) -> list[dict[str, Any]]:
        with self._step():
            self._delivery.commit(study_id, destination, name)
        return self._next_commitments(study_id, destination)

    def _next_commitments(
        self, study_id: int, destination: str
    ) -> list[dict[str, Any]]:
        waiting = self._store.commitments.waiting(
            study_id=study_id, destination=destination
        )
        return [
            {"name": commitment_name(one), "delay_s": self._left_s(one)}
            for one in waiting
        ]

    def _left_s(self, parcel: Parcel) -> float:
        left = parcel.next_attempt_at - self._clock()
        return max(0.0, left.total_seconds())

    def _submit_first(self, study_id: int, destination: str) -> None:
        try:
            found = self._store.pending_parcels(
                study_id=study_id, destination=destination
            )
            for parcel in first_in_line(found):
                self._submit_parcel(parcel, delay_s=self._left_s(parcel))
        except StoreError as error:
            # What is pending is found again by `resume`.
            log.warning("delivery_not_queued", reason=str(error))

    def _submit_commitment(self, parcel: Parcel) -> None:
        name = commitment_name(parcel)
        self._submit(
            name,
            queue_of(parcel.destination),
            self._commit_parcel,
            parcel.study_id,
            parcel.destination,
            name,
            delay_s=self._left_s(parcel),
        )

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
        found = newest(name)
        if found is not None:
            DBOS.set_workflow_delay(found.workflow_id, delay_seconds=0.0)

    def _submit_parcel(self, parcel: Parcel, *, delay_s: float = 0.0) -> None:
        name = parcel_name(parcel)
        queue = queue_of(parcel.destination)
        self._submit(
            name,
            queue,
            self._deliver_parcel,
            parcel.study_id,
            parcel.destination,
            name,
            delay_s=delay_s,
        )

    def _submit(
        self,
        name: str,
        queue: str,
        workflow: Callable[..., None],
        *arguments: int | str,
        priority: int = PRIORITIES["normal"],
        delay_s: float = 0.0,
    ) -> str:
        """Queue work unless it is queued; return the state of its workflow.

        Work that is undone though its workflow has ended (the database was away at
        the last moment) gets another workflow.
        """
        try:
            known = newest(name)
            if known is not None and known.status in {*_ACTIVE, _CRASHED}:
                return str(known.status)
            workflow_id = (
                first_id(name) if known is None else next_id(known.workflow_id)
            )
            options = SetEnqueueOptions(
                priority=priority, delay_seconds=delay_s or None
            )
            with SetWorkflowID(workflow_id), options:
                DBOS.enqueue_workflow(queue, workflow, *arguments)
        except (SQLAlchemyError, dbos_error.DBOSException) as error:
            msg = f"the work could not be queued ({type(error).__name__})"
            raise StoreError(msg) from error
        return "ENQUEUED"


_PROCESS_QUEUE = "process"
