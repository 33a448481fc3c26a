"""Parcels: each holds a version's results on their way to one destination.

A destination gets the versions of a study in their order: what is superseded never
comes after what supersedes it.
"""

from __future__ import annotations

import random
import secrets
import threading
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING
from weakref import WeakValueDictionary

import structlog

from dicom_node.assembly import Clock
from dicom_node.audit import Counters, EventKind
from dicom_node.backoff import delivery_delay_s
from dicom_node.commitment_messages import CommitmentReport
from dicom_node.config import DestinationSettings, NodeSettings
from dicom_node.identity import derive_uid
from dicom_node.store import AttemptOutcome, OutboxItem, Parcel, Store
from dicom_node.workflows.names import commitment_name, parcel_name

if TYPE_CHECKING:
    from dicom_node.deliver import CommitmentAsked, SendOutcome

__all__ = ["Delivery", "DeliveryOutcome", "first_in_line"]

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class DeliveryOutcome:
    """How a try ended."""

    delivered: int
    """Objects that the destination took."""
    left: Parcel | None
    """What it lacks."""
    delay_s: float
    """When to try that again."""


def first_in_line(parcels: Iterable[Parcel]) -> tuple[Parcel, ...]:
    """Return each study's oldest parcel for each destination; the others wait."""
    line: dict[tuple[int, str], Parcel] = {}
    for one in sorted(parcels, key=lambda parcel: parcel.version_id):
        line.setdefault((one.study_id, one.destination), one)
    return tuple(line.values())


class Delivery:
    """The step that sends parcels.

    Parameters
    ----------
    settings : NodeSettings
        Destinations and AE title.
    store : Store
        The outbox.
    counters : Counters
        Counts tries.
    clock : Clock
        The wall clock.
    on_failed : callable, optional
        Told a study and a destination that did not commit to all of it.

    """

    def __init__(
        self,
        settings: NodeSettings,
        store: Store,
        *,
        counters: Counters,
        clock: Clock,
        on_failed: Callable[[int, str], None] | None = None,
    ) -> None:
        self._on_failed = on_failed
        self._store = store
        self._counters = counters
        self._clock = clock
        self._ae_title = settings.node.ae_title
        self._data_dir = settings.node.data_dir.resolve()
        self._commitment_timeout_s = settings.limits.commitment_timeout_s
        self._destinations = {one.name: one for one in settings.destinations}
        self._lock = threading.Lock()
        self._answered: dict[str, threading.Event] = {}  # by Transaction UID
        # A lock is there as long as somebody has it or waits for it.
        self._lines: WeakValueDictionary[tuple[int, str], threading.Lock] = (
            WeakValueDictionary()
        )

    def deliver(self, study_id: int, destination: str, name: str) -> DeliveryOutcome:
        """Send a study's parcels for a destination in order, until one is left.

        Parameters
        ----------
        study_id : int
            The study.
        destination : str
            The destination's name.
        name : str
            The try, as `parcel_name`. When it is not the next one any more, another
            was made since and goes on by itself.

        """
        with self._line(study_id, destination):
            first = self._first(study_id, destination)
            if first is None or parcel_name(first) != name:
                return _NOTHING
            return self._send_in_order(first)

    def commit(self, study_id: int, destination: str, name: str) -> None:
        """Ask a destination to commit to what it has stored of a version.

        Parameters
        ----------
        study_id : int
            The study.
        destination : str
            The destination's name.
        name : str
            The request that is due, as `commitment_name`. When it is no longer the
            next one, another was made since, or the report has come.

        """
        with self._line(study_id, destination):
            for parcel in self._store.commitments.waiting(
                study_id=study_id, destination=destination
            ):
                if commitment_name(parcel) == name:
                    self._commit(parcel)

    def take_report(self, peers: Sequence[str], report: CommitmentReport) -> bool:
        """Record what one of these destinations reports on a commitment.

        Returns
        -------
        bool
            Whether one of them was asked for it.

        """
        taken = self._store.commitments.take_report(
            peers,
            report.transaction_uid,
            committed=[one.sop_instance_uid for one in report.committed],
            failed={
                one.sop_instance_uid: reason for one, reason in report.failed.items()
            },
            now=self._clock(),
            delay_s=delivery_delay_s,
        )
        if taken is None:
            log.warning("commitment_report_unknown", peers=list(peers))
            return False
        log.info(
            "commitment_reported",
            peers=list(peers),
            transaction_uid=report.transaction_uid,
            committed=taken.committed,
            failed=taken.failed,
        )
        with self._lock:
            answered = self._answered.get(report.transaction_uid)
        if answered is not None:
            answered.set()
        if self._on_failed is not None:
            for study_id in taken.study_ids:
                self._on_failed(study_id, taken.destination)
        return True

    def names_of(self, ae_title: str, peer_address: str) -> tuple[str, ...]:
        """Return the destinations that have this AE title or this address.

        Archives report under other AE titles than those that they are called by.
        """
        from dicom_node.scu import has_address

        return tuple(
            one.name
            for one in self._destinations.values()
            if one.kind == "dimse"
            and (one.ae_title == ae_title or has_address(one.peer, peer_address))
        )

    def _send_in_order(self, first: Parcel) -> DeliveryOutcome:
        delivered = 0
        parcel: Parcel | None = first
        while parcel is not None:
            delay_s = delivery_delay_s(parcel.attempts, random.uniform)
            if parcel.destination in self._destinations:
                delivered += self._send(parcel, delay_s=delay_s)
            else:
                self._store.outbox.abandon_parcel(
                    parcel,
                    comment="the destination is no longer configured",
                    now=self._clock(),
                )
            self._commit_what_was_sent(parcel)
            left = self._first(parcel.study_id, parcel.destination)
            if left is not None and left.version_id == parcel.version_id:
                return DeliveryOutcome(delivered, left, delay_s)
            parcel = left
        return DeliveryOutcome(delivered, None, 0.0)

    def _send(self, parcel: Parcel, *, delay_s: float) -> int:
        """Send what a destination lacks; return how much of it was new to it.

        An outcome is recorded as soon as it is known. A crash between the peer's
        answer and our commit sends one object once more, with the same UID and
        bytes: the receiver has it already.
        """
        destination = self._destinations[parcel.destination]
        # What calls peers is loaded with the first result: a node at rest calls nobody.
        from dicom_node.deliver import Sendable, SendOutcome, send

        # A folder is a whole result, there with all that its version has or not at all.
        is_folder = destination.kind == "folder"
        items = self._store.outbox.pending_items(
            parcel.version_id,
            parcel.destination,
            data_dir=self._data_dir,
            is_whole=is_folder,
        )
        waiting = {one.path: one for one in items}
        told: list[SendOutcome] = []
        if items and not parcel.attempts:
            self._store.record_event(
                EventKind.DELIVERY_BEGUN,
                study_id=parcel.study_id,
                detail={"destination": parcel.destination, "results": len(items)},
            )

        def record(*outcomes: SendOutcome) -> None:
            if not outcomes:
                return
            now = self._clock()
            self._store.outbox.record_attempt(
                parcel,
                [_attempt(waiting[one.path], one) for one in outcomes],
                now=now,
                next_attempt_at=now + timedelta(seconds=delay_s),
                awaits_commitment=_wants_commitment(destination),
            )
            told.extend(outcomes)
            for one in outcomes:
                self._tell(destination, one)

        damaged = {one.path for one in items if not one.is_whole()}
        if is_folder and damaged:
            damaged = set(waiting)
        record(
            *(
                SendOutcome(path, one.sop_instance_uid, False, None, _DAMAGED, True)
                for path, one in waiting.items()
                if path in damaged and one.is_pending
            )
        )
        sent = send(
            [
                Sendable(
                    one.path,
                    one.sop_class_uid,
                    one.sop_instance_uid,
                    one.transfer_syntax_uid,
                    one.study_instance_uid,
                )
                for one in items
                if one.path not in damaged
            ],
            destination,
            ae_title=self._ae_title,
            on_outcome=None if is_folder else record,
        )
        if is_folder:
            record(*(one for one in sent if waiting[one.path].is_pending))
        return sum(one.is_delivered for one in told)

    def _commit_what_was_sent(self, parcel: Parcel) -> None:
        now = self._clock()
        for one in self._store.commitments.waiting(
            study_id=parcel.study_id, destination=parcel.destination
        ):
            if one.version_id == parcel.version_id and one.next_attempt_at <= now:
                self._commit(one)

    def _commit(self, parcel: Parcel) -> None:
        from dicom_node.deliver import ask_for_commitment

        destination = self._destinations.get(parcel.destination)
        now = self._clock()
        if destination is None or destination.kind != "dimse":
            self._store.commitments.abandon(
                parcel, comment="the destination is no longer configured", now=now
            )
            return
        if destination.commitment == "off":
            self._store.commitments.deliver_without(parcel, comment="", now=now)
            return
        transaction_uid = derive_uid("commitment", secrets.token_hex(16))
        references = self._store.commitments.begin(
            parcel,
            transaction_uid=transaction_uid,
            now=now,
            ask_again_at=now + timedelta(seconds=self._commitment_timeout_s),
        )
        if not references:
            return
        answered = threading.Event()
        with self._lock:
            self._answered[transaction_uid] = answered
        try:
            asked = ask_for_commitment(
                references,
                destination.peer,
                ae_title=self._ae_title,
                transaction_uid=transaction_uid,
                on_report=lambda report: self.take_report((destination.name,), report),
                is_answered=answered,
            )
        finally:
            with self._lock:
                del self._answered[transaction_uid]
        if not answered.is_set():
            self._record_asked(parcel, destination, asked, transaction_uid)

    def _record_asked(
        self,
        parcel: Parcel,
        destination: DestinationSettings,
        asked: CommitmentAsked,
        transaction_uid: str,
    ) -> None:
        now = self._clock()
        is_waived = not asked.is_offered and destination.commitment == "auto"
        tell = log.info if asked.is_asked or is_waived else log.warning
        tell(
            "commitment_asked" if asked.is_asked else "commitment_not_asked",
            destination=destination.name,
            transaction_uid=transaction_uid,
            reason=asked.reason,
        )
        if is_waived:
            self._store.commitments.deliver_without(
                parcel, comment=asked.refusal, now=now
            )
        elif not asked.is_asked:
            delay_s = delivery_delay_s(parcel.attempts, random.uniform)
            self._store.commitments.not_asked(
                parcel,
                transaction_uid=transaction_uid,
                comment=asked.reason,
                now=now,
                ask_again_at=now + timedelta(seconds=delay_s),
            )

    def _tell(self, destination: DestinationSettings, outcome: SendOutcome) -> None:
        taken = "stored" if _wants_commitment(destination) else "delivered"
        self._counters.deliveries.labels(
            destination.name, taken if outcome.is_delivered else "failed"
        ).inc()
        tell = log.info if outcome.is_delivered else log.warning
        tell(
            f"result_{taken}" if outcome.is_delivered else "result_not_delivered",
            destination=destination.name,
            sop_instance_uid=outcome.sop_instance_uid,
            reason=outcome.reason,
        )

    def _line(self, study_id: int, destination: str) -> threading.Lock:
        with self._lock:
            return self._lines.setdefault((study_id, destination), threading.Lock())

    def _first(self, study_id: int, destination: str) -> Parcel | None:
        found = self._store.outbox.pending_parcels(
            study_id=study_id, destination=destination
        )
        return found[0] if found else None


def _wants_commitment(destination: DestinationSettings) -> bool:
    return destination.kind == "dimse" and destination.commitment != "off"


_DAMAGED = "the file is missing or damaged"
_NOTHING = DeliveryOutcome(delivered=0, left=None, delay_s=0.0)


def _attempt(item: OutboxItem, outcome: SendOutcome) -> AttemptOutcome:
    return AttemptOutcome(
        item.delivery_id,
        outcome.is_delivered,
        outcome.status,
        outcome.reason,
        outcome.is_refused,
    )
