"""Parcels: each holds a version's results on their way to one destination.

A destination gets the versions of a study in their order: what is superseded never
comes after what supersedes it.
"""

from __future__ import annotations

import hashlib
import random
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import timedelta
from weakref import WeakValueDictionary

import structlog

from dicom_node.assembly import Clock
from dicom_node.audit import Counters
from dicom_node.config import DestinationSettings, NodeSettings
from dicom_node.deliver import Sendable, SendOutcome, send
from dicom_node.store import AttemptOutcome, OutboxItem, Parcel, Store
from dicom_node.workflows.names import parcel_name

__all__ = ["Delivery", "DeliveryOutcome", "delivery_delay_s", "first_in_line"]

_FIRST_DELAY_S = 5.0
_LAST_DELAY_S = 900.0

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class DeliveryOutcome:
    """How a try ended."""

    delivered: int
    """Objects that the destination took."""
    left: Parcel | None
    """What it still lacks."""
    delay_s: float
    """When to try that again."""


def delivery_delay_s(
    attempts: int, draw: Callable[[float, float], float] = lambda _low, _high: 1.0
) -> float:
    """Return how long to wait after so many tries, in seconds.

    It doubles from 5 s to 15 min; the draw spreads the tries, so that a destination
    that returns does not get all of them in one moment.
    """
    delay_s = min(_LAST_DELAY_S, _FIRST_DELAY_S * 2.0 ** min(attempts, 20))
    return min(_LAST_DELAY_S, delay_s * draw(0.8, 1.2))


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

    """

    def __init__(
        self, settings: NodeSettings, store: Store, *, counters: Counters, clock: Clock
    ) -> None:
        self._store = store
        self._counters = counters
        self._clock = clock
        self._ae_title = settings.node.ae_title
        self._data_dir = settings.node.data_dir.resolve()
        self._destinations = {one.name: one for one in settings.destinations}
        self._lock = threading.Lock()
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
            The try that is asked for, as `parcel_name`. When it is no longer the
            next one, another try was made since and goes on by itself.

        """
        line = study_id, destination
        with self._lock:
            one_at_a_time = self._lines.setdefault(line, threading.Lock())
        with one_at_a_time:
            first = self._first(*line)
            if first is None or parcel_name(first) != name:
                return _NOTHING
            return self._send_in_order(first)

    def _send_in_order(self, first: Parcel) -> DeliveryOutcome:
        delivered = 0
        parcel: Parcel | None = first
        while parcel is not None:
            delay_s = delivery_delay_s(parcel.attempts, random.uniform)
            if parcel.destination in self._destinations:
                delivered += self._send(parcel, delay_s=delay_s)
            else:
                self._store.abandon_parcel(
                    parcel,
                    comment="the destination is no longer configured",
                    now=self._clock(),
                )
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
        items = self._store.pending_items(
            parcel.version_id, parcel.destination, data_dir=self._data_dir
        )
        waiting = {one.path: one for one in items}
        delivered = 0

        def record(outcome: SendOutcome) -> None:
            nonlocal delivered
            now = self._clock()
            self._store.record_attempt(
                parcel,
                [_attempt(waiting[outcome.path], outcome)],
                now=now,
                next_attempt_at=now + timedelta(seconds=delay_s),
            )
            delivered += outcome.is_delivered
            self._tell(destination, outcome)

        whole = []
        for one in items:
            if _is_whole(one):
                whole.append(one)
            else:
                record(
                    SendOutcome(
                        one.path,
                        one.sop_instance_uid,
                        is_delivered=False,
                        status=None,
                        reason="the file is missing or damaged",
                    )
                )
        if destination.kind == "folder" and len(whole) < len(items):
            # A folder is a whole result: what is not damaged waits for the rest.
            return delivered
        send(
            [
                Sendable(
                    one.path,
                    one.sop_class_uid,
                    one.sop_instance_uid,
                    one.transfer_syntax_uid,
                    one.study_instance_uid,
                )
                for one in whole
            ],
            destination,
            ae_title=self._ae_title,
            on_outcome=record,
        )
        return delivered

    def _tell(self, destination: DestinationSettings, outcome: SendOutcome) -> None:
        self._counters.deliveries.labels(
            destination.name, "delivered" if outcome.is_delivered else "failed"
        ).inc()
        tell = log.info if outcome.is_delivered else log.warning
        tell(
            "result_delivered" if outcome.is_delivered else "result_not_delivered",
            destination=destination.name,
            sop_instance_uid=outcome.sop_instance_uid,
            reason=outcome.reason,
        )

    def _first(self, study_id: int, destination: str) -> Parcel | None:
        found = self._store.pending_parcels(study_id=study_id, destination=destination)
        return found[0] if found else None


_NOTHING = DeliveryOutcome(delivered=0, left=None, delay_s=0.0)


def _attempt(item: OutboxItem, outcome: SendOutcome) -> AttemptOutcome:
    return AttemptOutcome(
        item.delivery_id, outcome.is_delivered, outcome.status, outcome.reason
    )


def _is_whole(item: OutboxItem) -> bool:
    try:
        with item.path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest() == item.sha256
    except OSError:
        return False
