"""The outbox: results on their way to each destination."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from sqlalchemy import Connection, and_, case, func, insert, or_, select, update

from dicom_node.audit import EventKind
from dicom_node.store.events import record_event
from dicom_node.store.newest import is_superseded, newest_result_ids, newest_results
from dicom_node.store.schema import (
    DeliveryState,
    deliveries,
    results,
    versions,
)

__all__ = [
    "GIVE_UP_AFTER",
    "AttemptOutcome",
    "OutboxItem",
    "Parcel",
    "abandon_parcel",
    "enter_delivery",
    "enter_missing",
    "give_up_replaced",
    "parcels_in",
    "pending_items",
    "record_attempt",
    "revive_deliveries",
]

GIVE_UP_AFTER = timedelta(days=7)
"""A destination may be away over a long weekend; after this long a person must look."""


@dataclass(frozen=True, slots=True)
class Parcel:
    """The results of one version in one state, for one destination."""

    study_id: int
    version_id: int
    destination: str
    attempts: int
    """How often it was tried; with ``last_delivery_id`` it names the next try."""
    last_delivery_id: int
    """The newest row in it: a later run of the version may add some."""
    next_attempt_at: datetime


@dataclass(frozen=True, slots=True)
class OutboxItem:
    """One result on its way to a destination. ``path`` is absolute."""

    delivery_id: int
    is_pending: bool
    """False: it has it, or it was given up."""
    path: Path
    sop_class_uid: str
    sop_instance_uid: str
    transfer_syntax_uid: str
    study_instance_uid: str
    sha256: str

    def is_whole(self) -> bool:
        """Return whether its file holds the bytes that were recorded."""
        try:
            with self.path.open("rb") as file:
                return hashlib.file_digest(file, "sha256").hexdigest() == self.sha256
        except OSError:
            return False


@dataclass(frozen=True, slots=True)
class AttemptOutcome:
    """What a destination answered for one result."""

    delivery_id: int
    is_delivered: bool
    status: int | None
    """What it answered, `deliver.SendOutcome`; None: it was never asked."""
    comment: str
    """Why, in words of ours: a peer's comment may hold anything."""
    is_refused: bool = False
    """It can never be taken as it is, `deliver.SendOutcome`."""


def parcels_in(
    connection: Connection,
    state: DeliveryState,
    *,
    version_id: int | None = None,
    study_id: int | None = None,
    destination: str | None = None,
) -> tuple[Parcel, ...]:
    """Return what is in a state, by version and destination, oldest first.

    Of what is stored, ``next_attempt_at`` is when commitment is asked for (again).
    """
    query = (
        select(
            versions.c.study_id,
            deliveries.c.version_id,
            deliveries.c.destination,
            func.max(deliveries.c.attempts).label("attempts"),
            func.max(deliveries.c.id).label("last_delivery_id"),
            func.min(deliveries.c.next_attempt_at).label("next_attempt_at"),
        )
        .join(versions, versions.c.id == deliveries.c.version_id)
        .where(deliveries.c.state == state)
        .group_by(
            versions.c.study_id, deliveries.c.version_id, deliveries.c.destination
        )
        .order_by(deliveries.c.version_id)
    )
    if version_id is not None:
        query = query.where(deliveries.c.version_id == version_id)
    if study_id is not None:
        query = query.where(versions.c.study_id == study_id)
    if destination is not None:
        query = query.where(deliveries.c.destination == destination)
    return tuple(Parcel(*row) for row in connection.execute(query))


def pending_items(
    connection: Connection,
    version_id: int,
    destination: str,
    *,
    data_dir: Path,
    is_whole: bool = False,
) -> tuple[OutboxItem, ...]:
    """Return the results of a version that a destination does not have yet.

    ``is_whole``: what it has or was given up of the newest run is among them.
    """
    is_wanted = deliveries.c.state == DeliveryState.PENDING
    if is_whole:
        is_newest = results.c.id.in_(newest_result_ids(version_id))
        is_wanted = or_(is_wanted, is_newest)
    rows = connection.execute(
        select(deliveries.c.id.label("delivery_id"), deliveries.c.state, results)
        .join(results, results.c.id == deliveries.c.result_id)
        .where(
            deliveries.c.version_id == version_id,
            deliveries.c.destination == destination,
            results.c.removed_at.is_(None),
            is_wanted,
        )
        .order_by(results.c.id)
    )
    return tuple(
        OutboxItem(
            delivery_id=row.delivery_id,
            is_pending=row.state == DeliveryState.PENDING,
            path=data_dir / row.path,
            sop_class_uid=row.sop_class_uid,
            sop_instance_uid=row.sop_instance_uid,
            transfer_syntax_uid=row.transfer_syntax_uid,
            study_instance_uid=row.study_instance_uid,
            sha256=row.sha256,
        )
        for row in rows
    )


def record_attempt(
    connection: Connection,
    parcel: Parcel,
    outcomes: Iterable[AttemptOutcome],
    *,
    now: datetime,
    next_attempt_at: datetime,
    awaits_commitment: bool = False,
) -> None:
    """Record what a destination answered; what it lacks stays or is given up.

    What is refused and has a newer version holds that back no longer: it is given up.
    ``awaits_commitment``: what it took is stored, and delivered when it says so.
    """
    for one in outcomes:
        row = connection.execute(
            select(
                deliveries,
                results.c.sop_instance_uid,
                versions.c.study_id,
            )
            .join(results, results.c.id == deliveries.c.result_id)
            .join(versions, versions.c.id == deliveries.c.version_id)
            .where(deliveries.c.id == one.delivery_id)
        ).one()
        if row.state == DeliveryState.DELIVERED:
            continue
        is_stored = one.is_delivered and awaits_commitment
        comment = one.comment
        state = DeliveryState.PENDING
        if one.is_delivered:
            state = DeliveryState.STORED if is_stored else DeliveryState.DELIVERED
        elif one.is_refused and is_superseded(connection, row):
            state, comment = DeliveryState.DEAD, f"{comment}; it has a newer version"
        elif now >= row.give_up_at:
            state = DeliveryState.DEAD
        connection.execute(
            update(deliveries)
            .where(deliveries.c.id == one.delivery_id)
            .values(
                state=state,
                attempts=parcel.attempts + 1,
                last_attempt_at=now,
                next_attempt_at=now if is_stored else next_attempt_at,
                last_status=one.status,
                last_comment=comment[:256],
                delivered_at=now if state is DeliveryState.DELIVERED else None,
                stored_at=now if one.is_delivered else None,
                transaction_uid=None,
            )
        )
        if state is DeliveryState.PENDING and parcel.attempts > 0:
            continue  # the first failure and the end are told, not each try between
        record_event(
            connection,
            _EVENTS[state],
            at=now,
            study_id=row.study_id,
            subject=row.sop_instance_uid,
            detail={
                "destination": parcel.destination,
                "status": one.status,
                "comment": comment[:256],
                "attempts": parcel.attempts + 1,
            },
        )


_EVENTS = {
    DeliveryState.DELIVERED: EventKind.RESULT_DELIVERED,
    DeliveryState.STORED: EventKind.RESULT_STORED,
    DeliveryState.PENDING: EventKind.DELIVERY_FAILED,
    DeliveryState.DEAD: EventKind.DELIVERY_DEAD,
}


def abandon_parcel(
    connection: Connection, parcel: Parcel, *, comment: str, now: datetime
) -> None:
    """Give up what can never be delivered: its destination is no longer configured."""
    connection.execute(
        update(deliveries)
        .where(
            deliveries.c.version_id == parcel.version_id,
            deliveries.c.destination == parcel.destination,
            deliveries.c.state == DeliveryState.PENDING,
        )
        .values(
            state=DeliveryState.DEAD,
            attempts=parcel.attempts + 1,
            last_comment=comment,
            last_attempt_at=now,
        )
    )
    record_event(
        connection,
        EventKind.DELIVERY_DEAD,
        at=now,
        study_id=parcel.study_id,
        subject=parcel.destination,
        detail={"destination": parcel.destination, "comment": comment},
    )


def enter_delivery(
    connection: Connection,
    result_id: int,
    version_id: int,
    destination: str,
    *,
    now: datetime,
) -> bool:
    """Put a result in the outbox of a destination; return whether it was not there."""
    known = connection.scalar(
        select(deliveries.c.id).where(
            deliveries.c.result_id == result_id,
            deliveries.c.destination == destination,
        )
    )
    if known is not None:
        return False
    connection.execute(
        insert(deliveries).values(
            result_id=result_id,
            version_id=version_id,
            destination=destination,
            state=DeliveryState.PENDING,
            attempts=0,
            give_up_at=now + GIVE_UP_AFTER,
            next_attempt_at=now,
        )
    )
    return True


def enter_missing(
    connection: Connection,
    version_id: int,
    *,
    destinations: Mapping[str, str],
    now: datetime,
) -> int:
    """Put a version's newest results in the outbox of destinations that are new.

    Returns
    -------
    int
        How many deliveries were entered.

    """
    return sum(
        enter_delivery(connection, one.id, version_id, destination, now=now)
        for one in newest_results(connection, version_id)
        for destination, profile in destinations.items()
        if profile == one.profile and one.removed_at is None
    )


def give_up_replaced(connection: Connection, version_id: int, *, now: datetime) -> None:
    """Give up what earlier runs of a version made and no destination took.

    Sent later, it would come after what replaced it.
    """
    comment = "the study was processed again before it was delivered"
    rows = connection.execute(
        update(deliveries)
        .where(
            deliveries.c.version_id == version_id,
            deliveries.c.state == DeliveryState.PENDING,
            deliveries.c.result_id.not_in(newest_result_ids(version_id)),
        )
        .values(state=DeliveryState.DEAD, last_comment=comment)
        .returning(
            deliveries.c.result_id, deliveries.c.destination, deliveries.c.attempts
        )
    ).all()
    for row in rows:
        told = connection.execute(
            select(results.c.sop_instance_uid, versions.c.study_id)
            .join(versions, versions.c.id == results.c.version_id)
            .where(results.c.id == row.result_id)
        ).one()
        record_event(
            connection,
            EventKind.DELIVERY_DEAD,
            at=now,
            study_id=told.study_id,
            subject=told.sop_instance_uid,
            detail={
                "destination": row.destination,
                "comment": comment,
                "attempts": row.attempts,
            },
        )


def revive_deliveries(
    connection: Connection,
    study_id: int,
    *,
    destinations: Iterable[str],
    now: datetime,
) -> int:
    """Let everything undelivered of a study be tried at once, for another seven days.

    Of what was given up, only the newest results: older ones would come after what
    supersedes them. What a destination has stored is not sent again: its commitment is
    asked for.

    Returns
    -------
    int
        How many deliveries that are.

    """
    newest = connection.scalar(
        select(func.max(versions.c.id)).where(
            versions.c.study_id == study_id, versions.c.result_dir.is_not(None)
        )
    )
    alive = (DeliveryState.PENDING, DeliveryState.STORED)
    return int(
        connection.execute(
            update(deliveries)
            .where(
                deliveries.c.version_id.in_(
                    select(versions.c.id).where(versions.c.study_id == study_id)
                ),
                deliveries.c.destination.in_(list(destinations)),
                or_(
                    deliveries.c.state.in_(alive),
                    and_(
                        deliveries.c.state == DeliveryState.DEAD,
                        deliveries.c.result_id.in_(newest_result_ids(newest or 0)),
                        deliveries.c.result_id.in_(
                            select(results.c.id).where(results.c.removed_at.is_(None))
                        ),
                    ),
                ),
            )
            .values(
                state=case(
                    (deliveries.c.state == DeliveryState.STORED, DeliveryState.STORED),
                    else_=DeliveryState.PENDING,
                ),
                next_attempt_at=now,
                give_up_at=now + GIVE_UP_AFTER,
            )
        ).rowcount
    )
