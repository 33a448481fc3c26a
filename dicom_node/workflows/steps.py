"""The steps of the workflows: each looks at the store, acts, and says what follows."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from datetime import datetime, timedelta
from typing import Any

import structlog

from dicom_node.assembly import Clock
from dicom_node.backoff import delivery_delay_s
from dicom_node.errors import StoreError
from dicom_node.store import Parcel, Store
from dicom_node.store.switches import PAUSED
from dicom_node.workflows.choosing import Choice, Chooser
from dicom_node.workflows.delivery import Delivery, first_in_line
from dicom_node.workflows.lanes import SMALL_QUEUE, Lanes, is_small
from dicom_node.workflows.names import commitment_name, parcel_name, work_name
from dicom_node.workflows.processing import Processing
from dicom_node.workflows.submitting import PROCESS_QUEUE, hurry
from dicom_node.workflows.watching import ring

__all__ = ["Steps", "seconds_until"]

_LOOK_S = 0.5
"""How often it is looked whether the pause is over."""

_PATIENCE = timedelta(days=7)
"""How long a version is tried again, at most five minutes apart, while the
disk, database or model is away. Any other trouble ends it at once and says why."""

log = structlog.get_logger(__name__)


def seconds_until(parcel: Parcel, *, now: datetime) -> float:
    """Return how long it is until a parcel's next attempt, at least 0."""
    return max(0.0, (parcel.next_attempt_at - now).total_seconds())


class Steps:
    """What the workflows do, one step at a time.

    Parameters
    ----------
    store : Store
        What was received, made and delivered.
    processing : Processing
        Makes results.
    delivery : Delivery
        Sends them.
    chooser : Chooser
        What was decided about a version.
    clock : Clock
        The wall clock.
    is_stopping : threading.Event
        Set when the node stops.
    lanes : Lanes, optional
        Where versions are processed here; None: each begins when the queue lets it.

    """

    def __init__(
        self,
        store: Store,
        processing: Processing,
        delivery: Delivery,
        *,
        chooser: Chooser,
        clock: Clock,
        is_stopping: threading.Event,
        lanes: Lanes | None = None,
    ) -> None:
        self._lanes = lanes
        self._store = store
        self._processing = processing
        self._delivery = delivery
        self._chooser = chooser
        self._clock = clock
        self._is_stopping = is_stopping
        self._has_waiting = threading.Event()
        self._keeping_up: set[str] = set()
        """Destinations for which nothing waits for another try."""

    def process(
        self, version_id: int, run: int, attempt: int, began_at: str | None
    ) -> dict[str, Any] | None:
        """Process a version; return how it is tried again, None: it is over."""
        goes_on = self._wait_while_paused()
        choice = self._chooser.recall(version_id)
        if goes_on:
            with self._enter(choice) as may_begin:
                if may_begin:
                    return self._process(version_id, run, attempt, began_at)
        # Back to its queue. A node that stops fails nothing here: the next start would
        # find that failure first, and the work a minute later.
        return {
            "attempt": attempt,
            "began_at": began_at,
            "priority": choice.place,
            "queue": self.queue_of(choice),
            "delay_s": 0.0,
        }

    def _enter(self, choice: Choice) -> AbstractContextManager[bool]:
        if self._lanes is None:
            return nullcontext(True)
        return self._lanes.enter(choice.place, pictures=choice.pictures)

    def _process(
        self, version_id: int, run: int, attempt: int, began_at: str | None
    ) -> dict[str, Any] | None:
        choice = self._chooser.recall(version_id)  # it may have waited for long
        now = self._clock()
        began = now if began_at is None else datetime.fromisoformat(began_at)
        again = {
            "attempt": attempt,
            "began_at": began.isoformat(),
            "priority": choice.place,
            "queue": self.queue_of(choice),
        }
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
            delay_s = delivery_delay_s(attempt)
            return {**again, "attempt": attempt + 1, "delay_s": delay_s}
        if self._has_waiting.is_set():
            # What was away is back: the others need not wait for their time.
            self._has_waiting.clear()
            for key in self._store.work.unfinished_versions():
                if key.version_id != version_id:
                    hurry(work_name(key))
        return None

    def queue_of(self, choice: Choice) -> str:
        """Return the queue that a version waits in."""
        has_lane = self._lanes is not None and is_small(choice.pictures)
        return SMALL_QUEUE if has_lane else PROCESS_QUEUE

    def _wait_while_paused(self) -> bool:
        """Return whether work goes on; False: the node stops."""
        # All that the queue lets begin waits here, so nothing else is begun.
        while self._is_paused():
            if self._is_stopping.wait(_LOOK_S):
                return False
        return True

    def _is_paused(self) -> bool:
        try:
            return bool(self._store.switches.get(PAUSED))
        except StoreError as error:
            log.warning("pause_unknown", reason=str(error))
            return False  # what follows needs the database and waits for it

    def new_parcels(self, version_id: int) -> list[tuple[int, str, str]]:
        """Return study, destination and name of what is to be delivered now."""
        # What waits for an earlier version's parcel is sent by whoever sends that.
        made = self._store.outbox.pending_parcels(version_id=version_id)
        of_study = [
            parcel
            for study_id in {one.study_id for one in made}
            for parcel in self._store.outbox.pending_parcels(study_id=study_id)
        ]
        line = first_in_line(of_study)
        for one in line:
            if one.version_id != version_id and one.attempts:
                # What was refused is given up for the newer version at its next try.
                hurry(parcel_name(one))
        return [(one.study_id, one.destination, parcel_name(one)) for one in line]

    def deliver(
        self, study_id: int, destination: str, name: str
    ) -> dict[str, Any] | None:
        """Deliver a parcel; return which is next and when, None: none is left."""
        with self._step():
            outcome = self._delivery.deliver(study_id, destination, name)
        if outcome.delivered:
            self._catch_up(study_id, destination)
        if outcome.left is None:
            return None
        self._keeping_up.discard(destination)
        return {"name": parcel_name(outcome.left), "delay_s": outcome.delay_s}

    def _catch_up(self, study_id: int, destination: str) -> None:
        """Let a destination that answers get at once what waits for it."""
        # Once after a failure: what is hurried by each success is hurried too often.
        if destination in self._keeping_up:
            return
        self._keeping_up.add(destination)
        now = self._clock()
        waiting = self._store.outbox.pending_parcels(destination=destination)
        for parcel in first_in_line(waiting):
            if parcel.study_id != study_id and parcel.next_attempt_at > now:
                hurry(parcel_name(parcel))

    def commit(
        self, study_id: int, destination: str, name: str
    ) -> list[dict[str, Any]]:
        """Ask for storage commitment; return what is asked for later."""
        with self._step():
            self._delivery.commit(study_id, destination, name)
        return self.next_commitments(study_id, destination)

    def next_commitments(self, study_id: int, destination: str) -> list[dict[str, Any]]:
        """Return what waits for storage commitment, and for how long."""
        waiting = self._store.commitments.waiting(
            study_id=study_id, destination=destination
        )
        return [
            {
                "name": commitment_name(one),
                "delay_s": seconds_until(one, now=self._clock()),
            }
            for one in waiting
        ]

    @contextmanager
    def _step(self) -> Iterator[None]:
        self._store.check_claim()  # what another node took over is done by it
        try:
            yield
        finally:
            ring()  # the queue has room for another
