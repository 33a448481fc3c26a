"""Versions of a study: what was complete, what became of it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Row, and_, insert, or_, select, update

from dicom_node.audit import EventKind
from dicom_node.errors import StoreError
from dicom_node.records import ObjectReference, StoredInstance, StudyReady
from dicom_node.store.events import record_event
from dicom_node.store.priors import choose_priors, read_priors
from dicom_node.store.report_joins import (
    counted_report_ids,
    read_reports,
    report_hashes,
)
from dicom_node.store.schema import (
    StudyState,
    VersionState,
    instances,
    results,
    studies,
    versions,
)

__all__ = [
    "CollectingStudy",
    "VersionKey",
    "Work",
    "collecting_studies",
    "fail_version",
    "open_version",
    "set_study_state",
    "start_version",
    "unfinished_versions",
    "version_instances",
]


@dataclass(frozen=True, slots=True)
class CollectingStudy:
    """A study with instances in no version, or one that is to be processed now."""

    study_id: int
    study_instance_uid: str
    last_received_at: datetime
    is_collecting: bool
    is_forced: bool


@dataclass(frozen=True, slots=True)
class VersionKey:
    """Names one run of one version: the same key is the same piece of work."""

    version_id: int
    study_instance_uid: str
    content_version: str
    run: int


@dataclass(frozen=True, slots=True)
class Work:
    """What a worker needs to process a version."""

    key: VersionKey
    ready: StudyReady
    predecessors: tuple[ObjectReference, ...]
    """The result objects that the new ones supersede."""


def collecting_studies(connection: Connection) -> tuple[CollectingStudy, ...]:
    """Return the studies that wait for a version, those that wait longest first."""
    rows = connection.execute(
        select(studies)
        .where(
            or_(studies.c.state == StudyState.COLLECTING, studies.c.is_forced.is_(True))
        )
        .order_by(studies.c.last_received_at)
    )
    return tuple(
        CollectingStudy(
            row.id,
            row.study_instance_uid,
            row.last_received_at,
            row.state == StudyState.COLLECTING,
            row.is_forced,
        )
        for row in rows
    )


def open_version(
    connection: Connection,
    study_id: int,
    *,
    now: datetime,
    version_of: Callable[[Iterable[str]], str],
    counts_preliminary: bool = True,
) -> VersionKey | None:
    """Make a version of everything that a study has, in the caller's write block.

    Parameters
    ----------
    connection : sqlalchemy.Connection
        A write transaction.
    study_id : int
        The study.
    now : datetime
        The moment of the version.
    version_of : callable
        Turns the hashes of instances and reports into a content version.
    counts_preliminary : bool
        Whether preliminary reports count.

    Returns
    -------
    VersionKey or None
        None when the study has nothing that its newest version lacks.

    """
    study = connection.execute(
        select(studies).where(studies.c.id == study_id).with_for_update()
    ).one()
    if study.state != StudyState.COLLECTING:
        return None
    rows = connection.execute(
        select(instances.c.id, instances.c.sha256)
        .where(_counts(study_id))
        .order_by(instances.c.id)
    ).all()
    latest = _latest(connection, study)
    report_ids = counted_report_ids(
        connection, study_id, counts_preliminary=counts_preliminary
    )
    if latest is not None and (latest.last_instance_id, latest.report_ids or []) == (
        rows[-1].id,
        report_ids,
    ):
        # A report came that counts for nothing, or was withdrawn before it counted.
        connection.execute(
            update(studies).where(studies.c.id == study_id).values(state=latest.state)
        )
        return None
    hashes = [row.sha256 for row in rows]
    if report_ids or (latest is not None and latest.report_ids):
        hashes += report_hashes(connection, report_ids)
        # A report that comes back is no return to the version that held it before.
        hashes += [] if latest is None else [latest.content_version]
    version = version_of(hashes)
    key = connection.execute(
        insert(versions).values(
            study_id=study_id,
            content_version=version,
            predecessor_id=study.latest_version_id,
            last_instance_id=rows[-1].id,
            instance_count=len(rows),
            state=VersionState.READY,
            run=1,
            predecessors={},
            created_at=now,
            report_ids=report_ids,
        )
    ).inserted_primary_key
    version_id = int(key[0])  # type: ignore[index]
    if study.latest_version_id is not None:
        _supersede(connection, study.latest_version_id, study_id, now=now)
    connection.execute(
        update(studies)
        .where(studies.c.id == study_id)
        .values(state=StudyState.READY, latest_version_id=version_id, is_forced=False)
    )
    record_event(
        connection,
        EventKind.STUDY_COMPLETE,
        at=now,
        study_id=study_id,
        subject=version,
        detail={
            "instance_count": len(rows),
            "report_count": len(report_ids),
            "is_forced": study.is_forced,
        },
    )
    return VersionKey(version_id, study.study_instance_uid, version, 1)


def unfinished_versions(connection: Connection) -> tuple[VersionKey, ...]:
    """Return the versions that wait for a worker or were with one."""
    rows = connection.execute(
        select(versions, studies.c.study_instance_uid)
        .join(studies, studies.c.id == versions.c.study_id)
        .where(versions.c.state.in_([VersionState.READY, VersionState.PROCESSING]))
        .order_by(versions.c.id)
    )
    return tuple(_key(row) for row in rows)


def start_version(
    connection: Connection,
    version_id: int,
    *,
    run: int,
    fingerprint: str,
    data_dir: Path,
    now: datetime,
) -> Work | None:
    """Take a version into work; None when there is nothing to do for this run.

    A repeated start, after a crash, returns the same work.

    Parameters
    ----------
    connection : sqlalchemy.Connection
        A write transaction.
    version_id, run : int
        The work.
    fingerprint : str
        Names the model and configuration that will process it.
    data_dir : pathlib.Path
        The data folder, to make paths absolute.
    now : datetime
        The moment.

    """
    row = connection.execute(
        select(versions, studies.c.study_instance_uid, studies.c.latest_version_id)
        .join(studies, studies.c.id == versions.c.study_id)
        .where(versions.c.id == version_id)
    ).one_or_none()
    if row is None:
        msg = "the version is not in the database"
        raise StoreError(msg, version_id=version_id)
    if row.run != run or row.state not in {VersionState.READY, VersionState.PROCESSING}:
        return None
    predecessors = dict(row.predecessors)
    if fingerprint not in predecessors:
        predecessors[fingerprint] = [
            list(one) for one in _superseded(connection, row, fingerprint)
        ]
    priors = row.priors
    if priors is None:
        priors = choose_priors(connection, row.study_id)
    connection.execute(
        update(versions)
        .where(versions.c.id == version_id)
        .values(
            state=VersionState.PROCESSING,
            started_at=now,
            reason=None,
            predecessors=predecessors,
            priors=priors,
        )
    )
    set_study_state(connection, version_id, StudyState.PROCESSING)
    return Work(
        key=_key(row),
        ready=StudyReady(
            study_instance_uid=row.study_instance_uid,
            content_version=row.content_version,
            instances=_instances(connection, row, data_dir),
            predecessor_version=_predecessor_version(connection, row),
            reports=read_reports(connection, row.report_ids or ()),
            priors=read_priors(connection, priors, data_dir=data_dir),
        ),
        predecessors=tuple(ObjectReference(*one) for one in predecessors[fingerprint]),
    )


def version_instances(
    connection: Connection, version_id: int, *, data_dir: Path
) -> tuple[StoredInstance, ...]:
    """Return what a version holds, without taking it into work."""
    row = connection.execute(
        select(versions).where(versions.c.id == version_id)
    ).one_or_none()
    return () if row is None else _instances(connection, row, data_dir)


def fail_version(
    connection: Connection, version_id: int, *, run: int, reason: str, now: datetime
) -> None:
    """Give a version up; it stays visible and can be requeued."""
    changed = connection.execute(
        update(versions)
        .where(
            versions.c.id == version_id,
            versions.c.run == run,
            versions.c.state.in_([VersionState.READY, VersionState.PROCESSING]),
        )
        .values(state=VersionState.FAILED, reason=reason[:1024], finished_at=now)
        .returning(versions.c.study_id, versions.c.content_version)
    ).one_or_none()
    if changed is None:
        return
    set_study_state(connection, version_id, StudyState.FAILED)
    record_event(
        connection,
        EventKind.STUDY_FAILED,
        at=now,
        study_id=changed.study_id,
        subject=changed.content_version,
        detail={"reason": reason[:1024]},
    )


def set_study_state(connection: Connection, version_id: int, state: StudyState) -> None:
    """Let a study follow its newest version, unless newer images or reports came."""
    connection.execute(
        update(studies)
        .where(
            studies.c.latest_version_id == version_id,
            studies.c.state != StudyState.COLLECTING,
        )
        .values(state=state)
    )


def _counts(study_id: int) -> Any:
    # Our own results and the second of two instances with one UID are kept, not
    # processed.
    return and_(
        instances.c.study_id == study_id,
        instances.c.is_own_result.is_(False),
        instances.c.is_conflict.is_(False),
    )


def _supersede(
    connection: Connection, version_id: int, study_id: int, *, now: datetime
) -> None:
    changed = connection.execute(
        update(versions)
        .where(versions.c.id == version_id, versions.c.state == VersionState.READY)
        .values(state=VersionState.SUPERSEDED, finished_at=now)
        .returning(versions.c.content_version)
    ).scalar_one_or_none()
    if changed is not None:
        record_event(
            connection,
            EventKind.STUDY_SUPERSEDED,
            at=now,
            study_id=study_id,
            subject=changed,
        )


def _instances(
    connection: Connection, version: Row[Any], data_dir: Path
) -> tuple[StoredInstance, ...]:
    rows = connection.execute(
        select(instances)
        .where(_counts(version.study_id), instances.c.id <= version.last_instance_id)
        # The order must not depend on who sent what first.
        .order_by(instances.c.sop_instance_uid)
    )
    return tuple(
        StoredInstance(
            sop_instance_uid=row.sop_instance_uid,
            sop_class_uid=row.sop_class_uid,
            transfer_syntax_uid=row.transfer_syntax_uid,
            series_instance_uid=row.series_instance_uid,
            path=data_dir / row.path,
            sha256=row.sha256,
        )
        for row in rows
    )


def _superseded(
    connection: Connection, version: Row[Any], fingerprint: str
) -> list[tuple[str, str, str, str]]:
    """Find the newest results before these: of this version, else of the ones before.

    Results of this very version under another fingerprint are superseded too: a
    second answer always says which it replaces.
    """
    current: Row[Any] | None = version
    while current is not None:
        rows = connection.execute(
            select(results)
            .where(
                results.c.version_id == current.id,
                or_(current.id != version.id, results.c.fingerprint != fingerprint),
            )
            .order_by(results.c.id)
        ).all()
        if rows:
            newest = rows[-1].fingerprint
            return [
                (
                    row.sop_class_uid,
                    row.sop_instance_uid,
                    row.series_instance_uid,
                    row.study_instance_uid,
                )
                for row in rows
                if row.fingerprint == newest
            ]
        current = _predecessor(connection, current)
    return []


def _latest(connection: Connection, study: Row[Any]) -> Row[Any] | None:
    return connection.execute(
        select(versions).where(versions.c.id == study.latest_version_id)
    ).one_or_none()


def _predecessor_version(connection: Connection, version: Row[Any]) -> str | None:
    """Return the content version of the nearest version that has results."""
    current = _predecessor(connection, version)
    while current is not None:
        found = connection.scalar(
            select(results.c.id).where(results.c.version_id == current.id).limit(1)
        )
        if found is not None:
            return str(current.content_version)
        current = _predecessor(connection, current)
    return None


def _predecessor(connection: Connection, version: Row[Any]) -> Row[Any] | None:
    if version.predecessor_id is None:
        return None
    return connection.execute(
        select(versions).where(versions.c.id == version.predecessor_id)
    ).one()


def _key(row: Row[Any]) -> VersionKey:
    return VersionKey(row.id, row.study_instance_uid, row.content_version, row.run)
