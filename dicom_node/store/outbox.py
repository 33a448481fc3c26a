"""Results and their way to each destination."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Row, func, insert, select, update

from dicom_node.audit import EventKind
from dicom_node.errors import StoreError
from dicom_node.records import ResultObject
from dicom_node.store.events import record_event
from dicom_node.store.schema import (
    DeliveryState,
    StudyState,
    VersionState,
    deliveries,
    results,
    versions,
)
from dicom_node.store.versions import set_study_state

__all__ = [
    "GIVE_UP_AFTER",
    "AttemptOutcome",
    "OutboxItem",
    "Parcel",
    "abandon_parcel",
    "finish_version",
    "pending_items",
    "pending_parcels",
    "record_attempt",
    "revive_deliveries",
]

GIVE_UP_AFTER = timedelta(days=7)
"""A destination may be away over a long weekend; after this long a person must look."""


@dataclass(frozen=True, slots=True)
class Parcel:
    """The undelivered results of one version for one destination."""

    version_id: int
    destination: str
    attempts: int
    """How often it was tried; with ``last_delivery_id`` it names the next try."""
    last_delivery_id: int
    """The newest row in it: a later run of the version may add some."""
    next_attempt_at: datetime


@dataclass(frozen=True, slots=True)
class OutboxItem:
    """One result that a destination does not have yet. ``path`` is absolute."""

    delivery_id: int
    path: Path
    sop_class_uid: str
    sop_instance_uid: str
    transfer_syntax_uid: str
    sha256: str


@dataclass(frozen=True, slots=True)
class AttemptOutcome:
    """What a destination answered for one result."""

    delivery_id: int
    is_delivered: bool
    status: int | None
    """C-STORE status; None: it was never asked."""
    comment: str
    """Why, in words of ours: a peer's comment may hold anything."""


def finish_version(
    connection: Connection,
    version_id: int,
    *,
    run: int,
    fingerprint: str,
    objects: Iterable[ResultObject],
    result_dir: Path,
    data_dir: Path,
    destinations: Mapping[str, str],
    now: datetime,
) -> tuple[str, ...]:
    """Record a version's results and put them in the outbox.

    Parameters
    ----------
    connection : sqlalchemy.Connection
        A write transaction.
    version_id, run : int
        The work that is finished.
    fingerprint : str
        Names the model and configuration.
    objects : iterable of ResultObject
        Verified files below the data folder.
    result_dir : pathlib.Path
        The folder of this run's results.
    data_dir : pathlib.Path
        The data folder.
    destinations : mapping of str to str
        The profile that each destination gets.
    now : datetime
        The moment.

    Returns
    -------
    tuple of str
        Folders of an earlier run, relative to the data folder, that no row names
        any more.

    Raises
    ------
    StoreError
        An object has the UID of an earlier one and other bytes.

    """
    version = connection.execute(
        select(versions).where(versions.c.id == version_id)
    ).one()
    if version.run != run or version.state != VersionState.PROCESSING:
        return ()
    made = tuple(objects)
    for one in made:
        result_id = _record_result(
            connection, version, one, fingerprint, data_dir=data_dir, now=now
        )
        for destination, profile in destinations.items():
            if profile == one.profile:
                _enter(connection, result_id, version_id, destination, now=now)
    folder = result_dir.relative_to(data_dir).as_posix()
    connection.execute(
        update(versions)
        .where(versions.c.id == version_id)
        .values(state=VersionState.DONE, finished_at=now, result_dir=folder)
    )
    set_study_state(connection, version_id, StudyState.DONE)
    record_event(
        connection,
        EventKind.STUDY_PROCESSED,
        at=now,
        study_id=version.study_id,
        subject=version.content_version,
        detail={"result_count": len(made), "run": run},
    )
    old = version.result_dir
    if not old or old == folder:
        return ()
    still_named = connection.scalar(
        select(results.c.id).where(results.c.path.startswith(f"{old}/")).limit(1)
    )
    return () if still_named is not None else (old,)


def pending_parcels(
    connection: Connection,
    *,
    version_id: int | None = None,
    study_id: int | None = None,
    destination: str | None = None,
) -> tuple[Parcel, ...]:
    """Return what is undelivered, by version and destination, oldest first."""
    query = (
        select(
            deliveries.c.version_id,
            deliveries.c.destination,
            func.max(deliveries.c.attempts).label("attempts"),
            func.max(deliveries.c.id).label("last_delivery_id"),
            func.min(deliveries.c.next_attempt_at).label("next_attempt_at"),
        )
        .where(deliveries.c.state == DeliveryState.PENDING)
        .group_by(deliveries.c.version_id, deliveries.c.destination)
        .order_by(deliveries.c.version_id)
    )
    if version_id is not None:
        query = query.where(deliveries.c.version_id == version_id)
    if study_id is not None:
        of_study = select(versions.c.id).where(versions.c.study_id == study_id)
        query = query.where(deliveries.c.version_id.in_(of_study))
    if destination is not None:
        query = query.where(deliveries.c.destination == destination)
    return tuple(
        Parcel(
            row.version_id,
            row.destination,
            row.attempts,
            row.last_delivery_id,
            row.next_attempt_at,
        )
        for row in connection.execute(query)
    )


def pending_items(
    connection: Connection, version_id: int, destination: str, *, data_dir: Path
) -> tuple[OutboxItem, ...]:
    """Return the results of a version that a destination does not have yet."""
    rows = connection.execute(
        select(deliveries.c.id.label("delivery_id"), results)
        .join(results, results.c.id == deliveries.c.result_id)
        .where(
            deliveries.c.version_id == version_id,
            deliveries.c.destination == destination,
            deliveries.c.state == DeliveryState.PENDING,
        )
        .order_by(results.c.id)
    )
    return tuple(
        OutboxItem(
            delivery_id=row.delivery_id,
            path=data_dir / row.path,
            sop_class_uid=row.sop_class_uid,
            sop_instance_uid=row.sop_instance_uid,
            transfer_syntax_uid=row.transfer_syntax_uid,
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
) -> None:
    """Record what a destination answered; what it lacks stays or is given up."""
    for one in outcomes:
        row = connection.execute(
            select(
                deliveries.c.give_up_at,
                deliveries.c.state,
                results.c.sop_instance_uid,
                versions.c.study_id,
            )
            .join(results, results.c.id == deliveries.c.result_id)
            .join(versions, versions.c.id == deliveries.c.version_id)
            .where(deliveries.c.id == one.delivery_id)
        ).one()
        if row.state == DeliveryState.DELIVERED:
            continue
        state = DeliveryState.PENDING
        if one.is_delivered:
            state = DeliveryState.DELIVERED
        elif now >= row.give_up_at:
            state = DeliveryState.DEAD
        connection.execute(
            update(deliveries)
            .where(deliveries.c.id == one.delivery_id)
            .values(
                state=state,
                attempts=parcel.attempts + 1,
                last_attempt_at=now,
                next_attempt_at=next_attempt_at,
                last_status=one.status,
                last_comment=one.comment[:256],
                delivered_at=now if one.is_delivered else None,
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
                "comment": one.comment[:256],
                "attempts": parcel.attempts + 1,
            },
        )


_EVENTS = {
    DeliveryState.DELIVERED: EventKind.RESULT_DELIVERED,
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
        subject=parcel.destination,
        detail={"comment": comment},
    )


def revive_deliveries(connection: Connection, study_id: int, *, now: datetime) -> int:
    """Let everything undelivered of a study be tried at once, for another seven days.

    Returns
    -------
    int
        How many deliveries that are.

    """
    return int(
        connection.execute(
            update(deliveries)
            .where(
                deliveries.c.version_id.in_(
                    select(versions.c.id).where(versions.c.study_id == study_id)
                ),
                deliveries.c.state != DeliveryState.DELIVERED,
            )
            .values(
                state=DeliveryState.PENDING,
                next_attempt_at=now,
                give_up_at=now + GIVE_UP_AFTER,
            )
        ).rowcount
    )


def _record_result(
    connection: Connection,
    version: Row[Any],
    one: ResultObject,
    fingerprint: str,
    *,
    data_dir: Path,
    now: datetime,
) -> int:
    path = one.path.relative_to(data_dir).as_posix()
    uid = one.reference.sop_instance_uid
    known = connection.execute(
        select(results).where(results.c.sop_instance_uid == uid)
    ).one_or_none()
    if known is not None:
        if known.sha256 != one.sha256:
            msg = "a result has the SOP Instance UID of an earlier one and other bytes"
            raise StoreError(msg, sop_instance_uid=uid)
        connection.execute(
            update(results).where(results.c.id == known.id).values(path=path)
        )
        return int(known.id)
    key = connection.execute(
        insert(results).values(
            version_id=version.id,
            sop_instance_uid=uid,
            sop_class_uid=one.reference.sop_class_uid,
            series_instance_uid=one.reference.series_instance_uid,
            study_instance_uid=one.reference.study_instance_uid,
            transfer_syntax_uid=one.transfer_syntax_uid,
            profile=one.profile,
            path=path,
            sha256=one.sha256,
            fingerprint=fingerprint,
            created_at=now,
        )
    ).inserted_primary_key
    return int(key[0])  # type: ignore[index]


def _enter(
    connection: Connection,
    result_id: int,
    version_id: int,
    destination: str,
    *,
    now: datetime,
) -> None:
    known = connection.scalar(
        select(deliveries.c.id).where(
            deliveries.c.result_id == result_id,
            deliveries.c.destination == destination,
        )
    )
    if known is not None:
        return
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
