"""What the node has received, processed and delivered, to look at."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row, func, select

from dicom_node.audit import EventKind
from dicom_node.store.schema import (
    DeliveryState,
    VersionState,
    deliveries,
    events,
    instances,
    results,
    studies,
    versions,
)
from dicom_node.store.tallies import (
    deliveries_by_state,
    kept_instances,
    states,
)

__all__ = [
    "DeliveryStatus",
    "DestinationStatus",
    "RecentError",
    "StatusSnapshot",
    "StoreCounts",
    "StudyStatus",
    "read_counts",
    "read_last_reconciled",
    "read_snapshot",
]


@dataclass(frozen=True, slots=True)
class DeliveryStatus:
    """One study's results at one destination, by state."""

    destination: str
    delivered: int
    stored: int
    """Taken, and not committed to yet."""
    pending: int
    dead: int
    last_status: int | None
    last_comment: str | None
    next_attempt_at: datetime | None


@dataclass(frozen=True, slots=True)
class StudyStatus:
    """One study: its state and its newest version."""

    study_instance_uid: str
    state: str
    instances: int
    conflicts: int
    last_received_at: datetime
    content_version: str | None
    versions: int
    reason: str | None
    results: int
    result_dir: str | None
    deliveries: tuple[DeliveryStatus, ...]


@dataclass(frozen=True, slots=True)
class DestinationStatus:
    """One destination over all studies."""

    name: str
    delivered: int
    stored: int
    pending: int
    dead: int


@dataclass(frozen=True, slots=True)
class RecentError:
    """An event that somebody should look at."""

    at: datetime
    kind: str
    subject: str | None
    reason: str


@dataclass(frozen=True, slots=True)
class StatusSnapshot:
    """Studies, newest first; destinations; what went wrong last."""

    studies: tuple[StudyStatus, ...]
    destinations: tuple[DestinationStatus, ...]
    errors: tuple[RecentError, ...]


@dataclass(frozen=True, slots=True)
class StoreCounts:
    """Numbers for ``/metrics``."""

    studies: dict[str, int]
    deliveries: dict[tuple[str, str], int]
    queued_versions: int
    instances: int
    not_grounded: int
    """Studies that are done and in which nothing could be grounded."""


def read_counts(connection: Connection) -> StoreCounts:
    """Count studies and deliveries by state."""
    queued = connection.scalar(
        select(func.count())
        .select_from(versions)
        .where(versions.c.state.in_([VersionState.READY, VersionState.PROCESSING]))
    )
    # From the versions, of which few have a reason, to their studies.
    is_newest = (
        select(studies.c.id)
        .where(
            studies.c.id == versions.c.study_id,
            studies.c.latest_version_id == versions.c.id,
        )
        .exists()
    )
    not_grounded = connection.scalar(
        select(func.count())
        .select_from(versions)
        .where(
            versions.c.state == VersionState.DONE,
            versions.c.reason.is_not(None),
            is_newest,
        )
    )
    return StoreCounts(
        studies=states(connection),
        deliveries=deliveries_by_state(connection),
        queued_versions=int(queued or 0),
        instances=kept_instances(connection),
        not_grounded=int(not_grounded or 0),
    )


def read_last_reconciled(connection: Connection) -> dict[str, int]:
    """Return what was found the last time that files and rows were compared."""
    detail = connection.scalar(
        select(events.c.detail)
        .where(events.c.kind == EventKind.FILES_RECONCILED)
        .order_by(events.c.id.desc())
        .limit(1)
    )
    return dict(detail or {})


def read_snapshot(connection: Connection, *, limit: int) -> StatusSnapshot:
    """Read the newest ``limit`` studies, every destination and the last errors."""
    rows = connection.execute(
        select(studies, versions.c.content_version, versions.c.reason)
        .add_columns(versions.c.result_dir)
        .outerjoin(versions, versions.c.id == studies.c.latest_version_id)
        .order_by(studies.c.last_received_at.desc(), studies.c.id.desc())
        .limit(limit)
    ).all()
    found = [row.id for row in rows]
    instance_counts = _count(
        connection, instances.c.study_id, found, instances.c.is_conflict
    )
    version_counts = _count(connection, versions.c.study_id, found)
    result_counts = _count(
        connection,
        results.c.version_id,
        [row.latest_version_id for row in rows if row.latest_version_id],
    )
    by_study = _deliveries(connection, found)
    totals = deliveries_by_state(connection)
    names = sorted({name for name, _ in totals})
    return StatusSnapshot(
        studies=tuple(
            StudyStatus(
                study_instance_uid=row.study_instance_uid,
                state=row.state,
                instances=sum(instance_counts[row.id].values()),
                conflicts=instance_counts[row.id].get(True, 0),
                last_received_at=row.last_received_at,
                content_version=row.content_version,
                versions=sum(version_counts[row.id].values()),
                reason=row.reason,
                results=sum(result_counts[row.latest_version_id].values()),
                result_dir=row.result_dir,
                deliveries=tuple(by_study[row.id]),
            )
            for row in rows
        ),
        destinations=tuple(
            DestinationStatus(
                name, *(totals.get((name, state), 0) for state in _DELIVERY_ORDER)
            )
            for name in names
        ),
        errors=_errors(connection),
    )


_DELIVERY_ORDER = (
    DeliveryState.DELIVERED,
    DeliveryState.STORED,
    DeliveryState.PENDING,
    DeliveryState.DEAD,
)

_ERRORS_SHOWN = 20
_ERRORS = (
    EventKind.STUDY_FAILED,
    EventKind.DELIVERY_FAILED,
    EventKind.DELIVERY_DEAD,
    EventKind.COMMITMENT_REPORT_DEAD,
    EventKind.FILE_MISSING,
    EventKind.FILE_QUARANTINED,
    EventKind.INSTANCE_CONFLICT,
)


def _count(
    connection: Connection, column: Any, keys: list[int], by: Any = None
) -> defaultdict[int | None, dict[Any, int]]:
    counts: defaultdict[int | None, dict[Any, int]] = defaultdict(dict)
    group = [column] if by is None else [column, by]
    query = select(*group, func.count()).where(column.in_(keys)).group_by(*group)
    for row in connection.execute(query):
        counts[row[0]][None if by is None else row[1]] = row[-1]
    return counts


def _deliveries(
    connection: Connection, study_ids: list[int]
) -> defaultdict[int, list[DeliveryStatus]]:
    rows = connection.execute(
        select(versions.c.study_id, deliveries)
        .join(versions, versions.c.id == deliveries.c.version_id)
        .where(versions.c.study_id.in_(study_ids))
        .order_by(versions.c.study_id, deliveries.c.destination, deliveries.c.id)
    )
    grouped: dict[tuple[int, str], list[Row[Any]]] = defaultdict(list)
    for row in rows:
        grouped[row.study_id, row.destination].append(row)
    by_study: defaultdict[int, list[DeliveryStatus]] = defaultdict(list)
    for (study_id, destination), items in grouped.items():
        waiting = [one for one in items if one.state != DeliveryState.DELIVERED]
        told = waiting or items
        by_study[study_id].append(
            DeliveryStatus(
                destination,
                delivered=len(items) - len(waiting),
                stored=sum(one.state == DeliveryState.STORED for one in items),
                pending=sum(one.state == DeliveryState.PENDING for one in items),
                dead=sum(one.state == DeliveryState.DEAD for one in items),
                last_status=told[-1].last_status,
                last_comment=told[-1].last_comment,
                next_attempt_at=min(
                    (one.next_attempt_at for one in waiting), default=None
                ),
            )
        )
    return by_study


def _errors(connection: Connection) -> tuple[RecentError, ...]:
    # One kind at a time, each by its index: together they would all be sorted.
    rows = [
        row
        for kind in _ERRORS
        for row in connection.execute(
            select(events)
            .where(events.c.kind == kind)
            .order_by(events.c.id.desc())
            .limit(_ERRORS_SHOWN)
        )
    ]
    rows.sort(key=lambda row: int(row.id), reverse=True)
    return tuple(
        RecentError(
            row.at,
            row.kind,
            row.subject,
            str(row.detail.get("reason") or row.detail.get("comment") or ""),
        )
        for row in rows[:_ERRORS_SHOWN]
    )
