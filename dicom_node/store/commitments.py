"""Storage commitment in the store: of what we sent, and of what was sent to us.

SCU   deliveries: stored -> delivered | pending | dead, by the peer's report
SCP   commitments: asked -> reported | dead
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection, Row, and_, func, insert, select, update

from dicom_node.audit import EventKind
from dicom_node.store.commitment_requests import SopPair
from dicom_node.store.database import Database
from dicom_node.store.events import record_event
from dicom_node.store.newest import is_superseded
from dicom_node.store.outbox import Parcel, parcels_in
from dicom_node.store.schema import (
    DeliveryState,
    commitments,
    deliveries,
    results,
    versions,
)

__all__ = [
    "CommitmentStore",
    "ReportTaken",
]

_SCU = "scu"
_ASKED, _REPORTED = "asked", "reported"


@dataclass(frozen=True, slots=True)
class ReportTaken:
    """What a destination's report changed. ``study_ids``: sent to again."""

    destination: str
    committed: int
    failed: int
    study_ids: tuple[int, ...]


class CommitmentStore:
    """What destinations are asked to commit to.

    Parameters
    ----------
    database : Database
        Where they are.

    """

    def __init__(self, database: Database) -> None:
        self._database = database

    def waiting(
        self, *, study_id: int | None = None, destination: str | None = None
    ) -> tuple[Parcel, ...]:
        """Return what is stored and not committed, by version and destination.

        ``next_attempt_at`` is when commitment is to be asked for (again).
        """
        with self._database.read() as connection:
            return parcels_in(
                connection,
                DeliveryState.STORED,
                study_id=study_id,
                destination=destination,
            )

    def refusals(self) -> dict[str, tuple[str, int]]:
        """Return why each destination has not committed yet, and to how much."""
        with self._database.read() as connection:
            rows = connection.execute(
                select(
                    deliveries.c.destination, deliveries.c.last_comment, func.count()
                )
                .where(
                    deliveries.c.state == DeliveryState.STORED,
                    deliveries.c.last_comment.startswith(_STORED_BUT),
                )
                .group_by(deliveries.c.destination, deliveries.c.last_comment)
                .order_by(func.max(deliveries.c.last_attempt_at))
            ).all()
        totals: Counter[str] = Counter()
        reasons: dict[str, str] = {}
        for destination, comment, count in rows:
            totals[destination] += count
            reasons[destination] = comment.removeprefix(_STORED_BUT)
        return {name: (reason, totals[name]) for name, reason in reasons.items()}

    def begin(
        self,
        parcel: Parcel,
        *,
        transaction_uid: str,
        now: datetime,
        ask_again_at: datetime,
    ) -> tuple[SopPair, ...]:
        """Record that a destination is about to be asked; return for what.

        What it was asked for in vain for seven days is given up. The request is
        durable before it is sent: its report may come at once.
        """
        with self._database.write() as connection:
            for one in _stored(connection, _of(parcel)):
                if one.transaction_uid is None:
                    continue  # it was never asked for
                is_over = now >= one.give_up_at
                comment = f"{_STORED_BUT}it has not reported whether it commits"
                connection.execute(
                    update(deliveries)
                    .where(deliveries.c.id == one.id)
                    .values(
                        state=DeliveryState.DEAD if is_over else DeliveryState.STORED,
                        last_comment=comment,
                    )
                )
                if is_over:
                    _tell(connection, EventKind.DELIVERY_DEAD, one, now, comment)
            rows = connection.execute(
                select(
                    deliveries.c.id, results.c.sop_class_uid, results.c.sop_instance_uid
                )
                .join(results, results.c.id == deliveries.c.result_id)
                .where(_of(parcel))
                .order_by(deliveries.c.id)
            ).all()
            if not rows:
                return ()
            references = tuple((one[1], one[2]) for one in rows)
            connection.execute(
                insert(commitments).values(
                    transaction_uid=transaction_uid,
                    role=_SCU,
                    peer=parcel.destination,
                    items=[list(one) for one in references],
                    state=_ASKED,
                    asked_at=now,
                    attempts=1,
                    detail={"version_id": parcel.version_id},
                )
            )
            connection.execute(
                update(deliveries)
                .where(_of(parcel))
                .values(
                    transaction_uid=transaction_uid,
                    attempts=parcel.attempts + 1,
                    next_attempt_at=ask_again_at,
                )
            )
            return references

    def not_asked(
        self,
        parcel: Parcel,
        *,
        transaction_uid: str,
        comment: str,
        now: datetime,
        ask_again_at: datetime,
    ) -> None:
        """Record that a request did not arrive; what is too old is given up."""
        with self._database.write() as connection:
            for row in _stored(connection, _of(parcel)):
                if row.transaction_uid != transaction_uid:
                    continue  # its report came, or it is asked for anew
                is_over = now >= row.give_up_at
                connection.execute(
                    update(deliveries)
                    .where(deliveries.c.id == row.id)
                    .values(
                        state=DeliveryState.DEAD if is_over else DeliveryState.STORED,
                        next_attempt_at=ask_again_at,
                        last_comment=f"{_STORED_BUT}{comment}"[:256],
                    )
                )
                if is_over:
                    _tell(connection, EventKind.DELIVERY_DEAD, row, now, comment)

    def deliver_without(self, parcel: Parcel, *, comment: str, now: datetime) -> int:
        """Count as delivered what is stored at a destination that does not commit."""
        with self._database.write() as connection:
            rows = _stored(connection, _of(parcel))
            for row in rows:
                _deliver(connection, row, now, comment)
            return len(rows)

    def abandon(self, parcel: Parcel, *, comment: str, now: datetime) -> None:
        """Give up what is stored at a destination that is no longer configured."""
        with self._database.write() as connection:
            for row in _stored(connection, _of(parcel)):
                _set_back(connection, row, DeliveryState.DEAD, now, comment)

    def take_report(
        self,
        peers: Iterable[str],
        transaction_uid: str,
        *,
        committed: Iterable[str],
        failed: Mapping[str, int],
        now: datetime,
        delay_s: Callable[[int], float],
    ) -> ReportTaken | None:
        """Record what a destination reports; doing so twice changes nothing.

        Parameters
        ----------
        peers : iterable of str
            Names of the destinations that it may be.
        transaction_uid : str
            What it reports on.
        committed : iterable of str
            SOP Instance UIDs that it has committed to.
        failed : mapping of str to int
            Failure Reason of each that it has not. What it does not name has failed.
        now : datetime
            The moment.
        delay_s : callable
            Returns when to send again after so many attempts, in seconds.

        Returns
        -------
        ReportTaken or None
            None: nobody of these was asked with this Transaction UID.

        """
        with self._database.write() as connection:
            asked = connection.execute(
                select(commitments).where(
                    commitments.c.role == _SCU,
                    commitments.c.peer.in_(list(peers)),
                    commitments.c.transaction_uid == transaction_uid,
                )
            ).one_or_none()
            if asked is None:
                return None
            connection.execute(
                update(commitments)
                .where(commitments.c.id == asked.id)
                .values(state=_REPORTED, answered_at=now)
            )
            kept = set(committed) - set(failed)
            counts = [0, 0]
            again: set[int] = set()
            for row in _stored(connection, _asked_for(asked)):
                uid = row.sop_instance_uid
                if uid in kept:
                    counts[0] += 1
                    _deliver(connection, row, now, "", transaction_uid)
                    continue
                if row.transaction_uid != transaction_uid:
                    continue  # the later request decides
                counts[1] += 1
                state, comment = _after_failure(connection, row, failed.get(uid), now)
                delay = timedelta(seconds=delay_s(row.attempts))
                _set_back(connection, row, state, now, comment, delay)
                if state is DeliveryState.PENDING:
                    again.add(row.study_id)
            return ReportTaken(asked.peer, counts[0], counts[1], tuple(sorted(again)))


_STORED_BUT = "stored; "
"""How a comment begins that tells why commitment was not asked for."""


def _of(parcel: Parcel) -> Any:
    return and_(
        deliveries.c.version_id == parcel.version_id,
        deliveries.c.destination == parcel.destination,
        deliveries.c.state == DeliveryState.STORED,
    )


def _asked_for(asked: Row[Any]) -> Any:
    """Return the condition for what a request named and was stored before it."""
    return and_(
        deliveries.c.destination == asked.peer,
        deliveries.c.version_id == asked.detail["version_id"],
        deliveries.c.state == DeliveryState.STORED,
        deliveries.c.stored_at <= asked.asked_at,
    )


def _stored(connection: Connection, condition: Any) -> Sequence[Row[Any]]:
    return connection.execute(
        select(deliveries, results.c.sop_instance_uid, versions.c.study_id)
        .join(results, results.c.id == deliveries.c.result_id)
        .join(versions, versions.c.id == deliveries.c.version_id)
        .where(condition)
        .order_by(deliveries.c.id)
    ).all()


def _deliver(
    connection: Connection,
    row: Row[Any],
    now: datetime,
    comment: str,
    transaction_uid: str | None = None,
) -> None:
    before = row.last_comment or ""
    # What was noted when it was stored stays, trouble with asking does not.
    noted = "" if before.startswith(_STORED_BUT) else before
    connection.execute(
        update(deliveries)
        .where(deliveries.c.id == row.id)
        .values(
            state=DeliveryState.DELIVERED,
            delivered_at=now,
            last_comment=(comment or noted)[:256],
        )
    )
    _tell(
        connection,
        EventKind.RESULT_DELIVERED,
        row,
        now,
        comment,
        transaction_uid=transaction_uid or row.transaction_uid,
        is_committed=transaction_uid is not None,
    )


def _after_failure(
    connection: Connection, row: Row[Any], reason: int | None, now: datetime
) -> tuple[DeliveryState, str]:
    """Decide what becomes of an instance that a destination does not commit to."""
    why = "its report does not name it" if reason is None else f"0x{reason:04X}"
    comment = f"it did not commit ({why})"
    if now >= row.give_up_at:
        return DeliveryState.DEAD, comment
    if is_superseded(connection, row):
        # What is superseded never comes after what supersedes it.
        return DeliveryState.DEAD, f"{comment}; it has a newer version"
    return DeliveryState.PENDING, comment


def _set_back(
    connection: Connection,
    row: Row[Any],
    state: DeliveryState,
    now: datetime,
    comment: str,
    delay: timedelta = timedelta(0),
) -> None:
    connection.execute(
        update(deliveries)
        .where(deliveries.c.id == row.id)
        .values(
            state=state,
            stored_at=None,
            transaction_uid=None,
            next_attempt_at=now + delay,
            last_comment=comment[:256],
        )
    )
    is_dead = state is DeliveryState.DEAD
    kind = EventKind.DELIVERY_DEAD if is_dead else EventKind.DELIVERY_FAILED
    _tell(connection, kind, row, now, comment)


def _tell(
    connection: Connection,
    kind: EventKind,
    row: Row[Any],
    now: datetime,
    comment: str,
    **facts: str | bool | None,
) -> None:
    record_event(
        connection,
        kind,
        at=now,
        study_id=row.study_id,
        subject=row.sop_instance_uid,
        detail={
            "destination": row.destination,
            "comment": comment[:256],
            "attempts": row.attempts,
            "transaction_uid": row.transaction_uid,
            **facts,
        },
    )
