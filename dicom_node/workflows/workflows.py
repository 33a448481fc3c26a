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
from datetime import timedelta
from typing import TYPE_CHECKING

import structlog
from dbos import DBOS, Queue

from dicom_node.assembly import Clock, system_clock
from dicom_node.audit import Counters
from dicom_node.commitment_messages import CommitmentReport
from dicom_node.config import NodeSettings
from dicom_node.errors import StoreError
from dicom_node.store import CollectingStudy, Parcel, Store, VersionKey
from dicom_node.store.switches import DRAINING, PAUSED
from dicom_node.workflows.choosing import Chooser
from dicom_node.workflows.delivery import Delivery, first_in_line
from dicom_node.workflows.engine import (
    POLLING_S,
    engine_configuration,
    expect_interruptions,
    queue_of,
)
from dicom_node.workflows.lanes import SMALL_QUEUE, Lanes
from dicom_node.workflows.names import commitment_name, parcel_name, work_name
from dicom_node.workflows.processing import (
    NO_MODEL,
    Preparing,
    Processing,
    StudyProcessor,
    Threaded,
)
from dicom_node.workflows.registered import register
from dicom_node.workflows.steps import Steps, seconds_until
from dicom_node.workflows.submitting import (
    CRASHED,
    PROCESS_QUEUE,
    forget_ended,
    has_queued,
    hurry,
    queued_names,
    submit,
)
from dicom_node.workflows.watching import QueueWatch

if TYPE_CHECKING:
    from dicom_node.retrieve import Retriever

__all__ = ["DRAINING", "PAUSED", "Workflows"]

_DELIVERIES_AT_ONCE = 2
"""Associations to one destination at a time."""

_OVERDUE = timedelta(seconds=60)
"""A try that is this late was lost with its workflow and is queued again."""

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
        self._processor = processor
        self._data_dir = settings.node.data_dir.resolve()
        self._is_stopping = threading.Event()
        self._watch: QueueWatch | None = None
        self._delivery = Delivery(
            settings,
            store,
            counters=counters,
            clock=clock,
            on_failed=self._submit_first,
        )
        self._chooser = Chooser(settings, store, clock=clock)
        self._steps = Steps(
            store,
            Processing(
                settings,
                store,
                processor,
                counters=counters,
                clock=clock,
                is_stopping=self._is_stopping,
            ),
            self._delivery,
            chooser=self._chooser,
            clock=clock,
            is_stopping=self._is_stopping,
            lanes=_make_lanes(settings, self._is_stopping),
        )
        self._retriever: Retriever | None = None

    def dead_threads(self) -> list[str]:
        """Return the names of those that do not run, of all that take work."""
        if self._watch is None:
            return ["workflows"]
        dead = self._watch.dead_threads()
        if isinstance(self._processor, Threaded):
            dead += self._processor.dead_threads()
        return dead

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
            turn = self._store.turn
            engine = None if turn is None else turn.workflow_engine()
            configuration = engine_configuration(self._settings, engine)
        except sqlite3.Error as error:
            msg = f"the workflow database cannot be opened ({type(error).__name__})"
            raise StoreError(msg) from error
        expect_interruptions(is_ending=False)
        dbos = DBOS(config=configuration)
        DBOS.listen_queues([])  # `QueueWatch` does
        QueueWatch.prepare(dbos)
        self._registered = register(self._steps)
        try:
            DBOS.launch()
        except Exception as error:
            DBOS.destroy(destroy_registry=True)
            msg = f"the workflow database cannot be opened ({type(error).__name__})"
            raise StoreError(msg) from error
        try:
            watch = QueueWatch(dbos)
            watch.start(self._queues())
        except BaseException:
            DBOS.destroy(destroy_registry=True)
            raise
        self._watch = watch

    def _queues(self) -> list[Queue]:
        """Make the queues of studies, and one for each destination."""
        workers = self._settings.workers
        queues = [
            DBOS.register_queue(
                PROCESS_QUEUE,
                worker_concurrency=workers.at_once if workers.enabled else 1,
                polling_interval_sec=POLLING_S,
            ),
            DBOS.register_queue(
                SMALL_QUEUE, worker_concurrency=1, polling_interval_sec=POLLING_S
            ),
        ]
        # Also what goes to a destination that was removed since must end somewhere.
        names = {one.name for one in self._settings.destinations}
        names |= {one.destination for one in self._store.outbox.pending_parcels()}
        names |= {one.destination for one in self._store.commitments.waiting()}
        queues += [
            DBOS.register_queue(
                queue_of(name),
                worker_concurrency=_DELIVERIES_AT_ONCE,
                polling_interval_sec=POLLING_S,
            )
            for name in sorted(names)
        ]
        return queues

    def stop(self, *, grace_s: int) -> None:
        """Take no more work; what does not finish in time is left for the next start.

        Parameters
        ----------
        grace_s : int
            How long work may take to finish, in seconds.

        """
        self._is_stopping.set()
        if self._watch is None:
            return
        watch, self._watch = self._watch, None
        watch.stop()
        expect_interruptions(is_ending=True)
        watch.wait_for_work(grace_s)
        DBOS.destroy(destroy_registry=True)

    def resume(self, *, only_overdue: bool = False) -> dict[str, int]:
        """Queue what the store says is undone; doing so twice changes nothing.

        What waits in its queue is left there without a look at it, one by one.

        Parameters
        ----------
        only_overdue : bool
            Leave work that waits for its time; at a start none is left out, and what
            had been given up for want of the model is taken up again.

        Returns
        -------
        dict
            How many ``versions``, ``deliveries`` and ``commitments`` were undone.

        """
        if not only_overdue:
            self._store.work.requeue_failed(reason_prefix=NO_MODEL, now=self._clock())
        queued = queued_names() if only_overdue else frozenset()
        undone = self._store.work.unfinished_versions()
        requested = self._store.work.requested_versions()
        for key in undone:
            if work_name(key) in queued and key.version_id not in requested:
                continue
            self.version_ready(key)
            if not only_overdue:
                hurry(work_name(key))
        latest = self._clock() - _OVERDUE
        pending = first_in_line(self._store.outbox.pending_parcels())
        for parcel in pending:
            if only_overdue and parcel.next_attempt_at >= latest:
                continue
            if parcel_name(parcel) not in queued:
                self._submit_parcel(parcel)
        waiting = self._store.commitments.waiting()
        for parcel in waiting:
            is_due = not only_overdue or parcel.next_attempt_at < latest
            if is_due and commitment_name(parcel) not in queued:
                self._submit_commitment(parcel)
            if not only_overdue:
                # The node may have ended between writing that it asks and asking.
                hurry(commitment_name(parcel))
        return {
            "versions": len(undone),
            "deliveries": len(pending),
            "commitments": len(waiting),
        }

    def forget(self) -> None:
        """Delete the rows of some workflows that ended as long ago as events are kept.

        Raises
        ------
        StoreError
            The workflow database could not answer.

        """
        days = self._settings.retention.events_days
        if days is None:
            return
        count = forget_ended(before=self._clock() - timedelta(days=days))
        if count:
            log.info("workflows_forgotten", count=count)

    def take_report(
        self, ae_title: str, peer_address: str, report: CommitmentReport
    ) -> bool:
        """Record what an application entity reports on a storage commitment.

        Returns
        -------
        bool
            Whether a destination with this AE title or address was asked for it.

        """
        peers = self._delivery.names_of(ae_title, peer_address)
        return self._delivery.take_report(peers, report)

    def version_ready(self, key: VersionKey, *, is_requested: bool = False) -> None:
        """Decide about a version and queue it; doing so twice changes nothing."""
        choice = self._chooser.choose(key, is_requested=is_requested)
        if not choice.is_processed:
            return
        if self._retriever is not None and self._retriever.must_wait(
            key, lambda: self.version_ready(key, is_requested=is_requested)
        ):
            return  # it comes here again when the archives were asked
        if isinstance(self._processor, Preparing):
            self._processor.prepare(key.version_id)
        state = submit(
            work_name(key),
            self._steps.queue_of(choice),
            self._registered.process_version,
            key.version_id,
            key.run,
            priority=choice.place,
            delay_s=choice.delay_s,
        )
        if state == CRASHED:
            self._store.work.fail_version(
                key.version_id,
                run=key.run,
                reason="processing it ended the node again and again",
                now=self._clock(),
            )

    def version_due(self, key: VersionKey) -> None:
        """Go on at once with a version that waits for its time."""
        hurry(work_name(key))

    def study_requested(self, study: CollectingStudy) -> None:
        """Do at once what is still to be done for a study."""
        for key in self._store.work.unfinished_versions():
            if key.study_instance_uid == study.study_instance_uid:
                self.version_ready(key, is_requested=True)
                hurry(work_name(key))
        parcels = self._store.outbox.pending_parcels(study_id=study.study_id)
        for parcel in first_in_line(parcels):
            self._submit_parcel(parcel)
            hurry(parcel_name(parcel))
        for parcel in self._store.commitments.waiting(study_id=study.study_id):
            self._submit_commitment(parcel)
            hurry(commitment_name(parcel))

    def _submit_first(self, study_id: int, destination: str) -> None:
        try:
            found = self._store.outbox.pending_parcels(
                study_id=study_id, destination=destination
            )
            for parcel in first_in_line(found):
                self._submit_parcel(
                    parcel, delay_s=seconds_until(parcel, now=self._clock())
                )
        except StoreError as error:
            # What is pending is found again by `resume`.
            log.warning("delivery_not_queued", reason=str(error))

    def _submit_commitment(self, parcel: Parcel) -> None:
        name = commitment_name(parcel)
        submit(
            name,
            queue_of(parcel.destination),
            self._registered.commit,
            parcel.study_id,
            parcel.destination,
            name,
            delay_s=seconds_until(parcel, now=self._clock()),
        )

    def _submit_parcel(self, parcel: Parcel, *, delay_s: float = 0.0) -> None:
        name = parcel_name(parcel)
        queue = queue_of(parcel.destination)
        submit(
            name,
            queue,
            self._registered.deliver,
            parcel.study_id,
            parcel.destination,
            name,
            delay_s=delay_s,
        )


def _make_lanes(settings: NodeSettings, is_stopping: threading.Event) -> Lanes | None:
    if settings.workers.enabled or settings.schedule.order != "cost":
        # Workers elsewhere have a model each; and by arrival nobody passes anybody.
        return None
    return Lanes(
        is_stopping, has_small=lambda until: has_queued(SMALL_QUEUE, until=until)
    )
