"""One parcel: a version's results on their way to one destination."""

from __future__ import annotations

import hashlib
import random
import threading
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta

import structlog

from dicom_node.assembly import Clock
from dicom_node.audit import Counters
from dicom_node.config import DestinationSettings, NodeSettings
from dicom_node.deliver import Sendable, SendOutcome, send_objects
from dicom_node.store import AttemptOutcome, OutboxItem, Parcel, Store

__all__ = ["Delivery", "DeliveryOutcome", "delivery_delay_s"]

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


class Delivery:
    """The step that sends a parcel.

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
        self._parcel_locks: dict[tuple[int, str], threading.Lock] = {}

    def deliver(self, version_id: int, destination: str) -> DeliveryOutcome:
        """Send what a destination lacks of a version."""
        with self._lock:
            one_at_a_time = self._parcel_locks.setdefault(
                (version_id, destination), threading.Lock()
            )
        with one_at_a_time:
            parcel = self._parcel(version_id, destination)
            if parcel is None:
                return _NOTHING
            if destination not in self._destinations:
                self._store.abandon_parcel(
                    parcel,
                    comment="the destination is no longer configured",
                    now=self._clock(),
                )
                return _NOTHING
            delay_s = delivery_delay_s(parcel.attempts, random.uniform)
            delivered = self._send(parcel, delay_s=delay_s)
            left = self._parcel(version_id, destination)
        return DeliveryOutcome(delivered=delivered, left=left, delay_s=delay_s)

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
        send_objects(
            [
                Sendable(
                    one.path,
                    one.sop_class_uid,
                    one.sop_instance_uid,
                    one.transfer_syntax_uid,
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

    def _parcel(self, version_id: int, destination: str) -> Parcel | None:
        found = self._store.pending_parcels(
            version_id=version_id, destination=destination
        )
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
