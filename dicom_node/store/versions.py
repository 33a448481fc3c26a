"""Versions of a study: when one is opened, and which wait for a worker."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row, and_, insert, or_, select, update

from dicom_node.audit import EventKind
from dicom_node.errors import StoreError
from dicom_node.store.events import record_event
from dicom_node.store.report_joins import (
    counted_report_ids,
    report_hashes,
)
from dicom_node.store.schema import (
    StudyState,
    VersionState,
    instances,
    reports,
    studies,
    versions,
)

__all__ = [
    "CollectingStudy",
    "VersionKey",
    "all_runs",
    "collecting_studies",
    "counted",
    "key_of",
    "open_version",
    "set_study_state",
    "study_of",
    "unfinished_versions",
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


def all_runs(connection: Connection) -> Iterator[VersionKey]:
    """Yield every run of every version so far, whatever became of it."""
    rows = connection.execute(
        select(
            versions.c.id,
            versions.c.content_version,
            versions.c.run,
            studies.c.study_instance_uid,
        ).join(studies, studies.c.id == versions.c.study_id)
    )
    for row in rows:
        for run in range(row.run + 1):
            yield VersionKey(row.id, row.study_instance_uid, row.content_version, run)


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
        .where(counted(study_id))
        .order_by(instances.c.id)
    ).all()
    latest = _latest(connection, study)
    report_ids = counted_report_ids(
        connection, study_id, counts_preliminary=counts_preliminary
    )
    if not rows or (
        latest is not None and _holds(connection, latest, rows, report_ids)
    ):
        # A report came that counts for nothing, or was withdrawn before it counted; or
        # what retention removed was sent again.
        connection.execute(
            update(studies)
            .where(studies.c.id == study_id)
            .values(state=StudyState.IDLE if latest is None else latest.state)
        )
        return None
    hashes = [row.sha256 for row in rows]
    if report_ids or (latest is not None and latest.report_ids):
        hashes += report_hashes(connection, report_ids)
        # A report that comes back is no return to the version that held it before.
        hashes += [] if latest is None else [latest.content_version]
    version = version_of(hashes)
    if latest is not None and _is_known(connection, study_id, version):
        # So is what comes back after retention has removed it.
        version = version_of([*hashes, latest.content_version])
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
    return tuple(key_of(row) for row in rows)


def study_of(connection: Connection, version_id: int) -> int:
    """Return the number of a version's study.

    Raises
    ------
    StoreError
        There is no such version.

    """
    found = connection.scalar(
        select(versions.c.study_id).where(versions.c.id == version_id)
    )
    if found is None:
        msg = "the version is not in the database"
        raise StoreError(msg, version_id=version_id)
    return int(found)


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


def counted(study_id: int) -> Any:
    """Return the condition for the instances of a study that are processed.

    The node's own results and the second of two instances with one UID are kept only;
    what retention removed is not there.
    """
    return and_(
        instances.c.study_id == study_id,
        instances.c.is_own_result.is_(False),
        instances.c.is_conflict.is_(False),
        instances.c.removed_at.is_(None),
    )


def key_of(row: Row[Any]) -> VersionKey:
    """Return the key of a version, from its row joined with its study's UID."""
    return VersionKey(row.id, row.study_instance_uid, row.content_version, row.run)


def _holds(
    connection: Connection,
    latest: Row[Any],
    rows: Sequence[Any],
    report_ids: Sequence[int],
) -> bool:
    """Whether a version holds these instances and reports already.

    It may hold more: of what retention removed, some may have been sent again, and a
    part must not supersede the whole.
    """
    if rows[-1].id > latest.last_instance_id or len(rows) > latest.instance_count:
        return False
    if latest.state == VersionState.FAILED and latest.removed_at is not None:
        return False  # sent again after it was given up, it is tried again
    held = list(latest.report_ids or [])
    removed = set(
        connection.scalars(
            select(reports.c.id).where(
                reports.c.id.in_(held), reports.c.removed_at.is_not(None)
            )
        )
    )
    return [one for one in held if one not in removed] == list(report_ids)


def _is_known(connection: Connection, study_id: int, version: str) -> bool:
    return (
        connection.scalar(
            select(versions.c.id).where(
                versions.c.study_id == study_id, versions.c.content_version == version
            )
        )
        is not None
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


def _latest(connection: Connection, study: Row[Any]) -> Row[Any] | None:
    return connection.execute(
        select(versions).where(versions.c.id == study.latest_version_id)
    ).one_or_none()
