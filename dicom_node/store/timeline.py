"""When what happened to a study's versions, for the picture of its way."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Row, func, select

from dicom_node.audit import EventKind
from dicom_node.stages import Stage, read_stages
from dicom_node.store.database import Database
from dicom_node.store.requeue import RequeueOutcome
from dicom_node.store.schema import (
    DeliveryState,
    VersionState,
    deliveries,
    events,
    instances,
    studies,
    versions,
)
from dicom_node.store.versions import counted
from dicom_node.timeline import DestinationMoments, VersionMoments

__all__ = ["TimelineStore"]


_TOLD = (EventKind.STUDY_REQUEUED, EventKind.DELIVERY_BEGUN)

_RUN_ENDS = (
    EventKind.STUDY_PROCESSED,
    EventKind.STUDY_FAILED,
    EventKind.STUDY_IGNORED,
)

_AGAIN = RequeueOutcome.PROCESS_AGAIN.name.lower()

_UNDER_WAY = {VersionState.READY, VersionState.PROCESSING}


class TimelineStore:
    """Reads the moments of versions.

    Parameters
    ----------
    database : Database
        Where they are.

    """

    def __init__(self, database: Database) -> None:
        self._database = database

    def of_study(
        self, study_instance_uid: str, *, data_dir: Path, limit: int = 20
    ) -> tuple[VersionMoments, ...]:
        """Return the moments of a study's versions, the newest first.

        Parameters
        ----------
        study_instance_uid : str
            The study.
        data_dir : pathlib.Path
            The data folder: the worker's steps lie beside the results.
        limit : int
            So many versions at most.

        """
        with self._database.read() as connection:
            rows = connection.execute(
                select(versions, studies.c.study_instance_uid)
                .join(studies, studies.c.id == versions.c.study_id)
                .where(studies.c.study_instance_uid == study_instance_uid)
                .order_by(versions.c.id.desc())
                .limit(limit)
            ).all()
            told = _told(connection, rows[0].study_id) if rows else ()
            # Nobody asks again for a version that another one has followed.
            ends = [None, *(row.created_at for row in rows)]
            return tuple(
                _moments(connection, row, told, data_dir=data_dir, until=until)
                for row, until in zip(rows, ends, strict=False)
            )


def _told(connection: Connection, study_id: int) -> Sequence[Any]:
    return connection.execute(
        select(events.c.at, events.c.kind, events.c.detail)
        .where(
            events.c.study_id == study_id,
            events.c.kind.in_([*_TOLD, *_RUN_ENDS]),
        )
        .order_by(events.c.id)
    ).all()


def _moments(
    connection: Connection,
    row: Row[Any],
    told: Sequence[Any],
    *,
    data_dir: Path,
    until: datetime | None,
) -> VersionMoments:
    since = connection.scalar(
        select(versions.c.last_instance_id).where(versions.c.id == row.predecessor_id)
    )
    count, first, last = connection.execute(
        select(
            func.count(),
            func.min(instances.c.received_at),
            func.max(instances.c.received_at),
        ).where(
            counted(row.study_id),
            instances.c.id > (since or 0),
            instances.c.id <= row.last_instance_id,
        )
    ).one()
    complete = queued = row.created_at
    started, ended = row.started_at, None
    if row.run > 1:
        asked = _at(
            told, EventKind.STUDY_REQUEUED, since=complete, until=until, outcome=_AGAIN
        )
        queued = max(asked, default=complete)
        ends = _at(told, *_RUN_ENDS, since=complete, until=queued)
        ended = max(ends, default=None)
        # What the row says may be of the run before.
        started = None if started is None or started < queued else started
    finished = None if row.state in _UNDER_WAY else row.finished_at
    stages: tuple[Stage, ...] = ()
    if row.result_dir is not None and row.state == VersionState.DONE:
        stages = read_stages(data_dir / row.result_dir)
    return VersionMoments(
        study_instance_uid=row.study_instance_uid,
        content_version=row.content_version,
        state=row.state,
        instances=count,
        first_received_at=first,
        last_received_at=last,
        completed_at=complete,
        queued_at=queued,
        started_at=started,
        finished_at=finished,
        run_before_ended_at=ended,
        stages=stages,
        destinations=tuple(_destinations(connection, row, told)),
    )


def _destinations(
    connection: Connection, version: Row[Any], told: Sequence[Any]
) -> Iterable[DestinationMoments]:
    rows = connection.execute(
        select(
            deliveries.c.destination,
            deliveries.c.state,
            func.max(deliveries.c.stored_at),
            func.max(deliveries.c.delivered_at),
        )
        .where(deliveries.c.version_id == version.id)
        .group_by(deliveries.c.destination, deliveries.c.state)
        .order_by(deliveries.c.destination)
    ).all()
    for name in dict.fromkeys(row.destination for row in rows):
        mine = [row for row in rows if row.destination == name]
        states = {row.state for row in mine}
        stored, delivered = _latest(mine, 2), _latest(mine, 3)
        begun = _at(
            told,
            EventKind.DELIVERY_BEGUN,
            since=version.finished_at,
            destination=name,
        )
        yield DestinationMoments(
            name=name,
            begun_at=min(begun, default=stored or delivered),
            acknowledged_at=stored or delivered,
            committed_at=delivered if delivered != stored else None,
            is_sent=DeliveryState.PENDING not in states,
            is_over=states <= {DeliveryState.DELIVERED, DeliveryState.DEAD},
        )


def _latest(rows: Sequence[Any], column: int) -> datetime | None:
    return max((row[column] for row in rows if row[column] is not None), default=None)


def _at(
    told: Sequence[Any],
    *kinds: EventKind,
    since: datetime | None = None,
    until: datetime | None = None,
    **detail: str,
) -> list[datetime]:
    return [
        one.at
        for one in told
        if one.kind in kinds
        and (since is None or one.at >= since)
        and (until is None or one.at <= until)
        and all(one.detail.get(key) == value for key, value in detail.items())
    ]
