"""A version with its worker: taken into work, given up, and what it supersedes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Row, select, update

from dicom_node.audit import EventKind
from dicom_node.errors import StoreError
from dicom_node.records import ObjectReference, StoredInstance, StudyReady
from dicom_node.store.events import record_event
from dicom_node.store.newest import newest_results, reference_of, superseded_by
from dicom_node.store.priors import choose_priors, read_priors
from dicom_node.store.report_joins import read_reports
from dicom_node.store.schema import (
    StudyState,
    VersionState,
    instances,
    results,
    studies,
    versions,
)
from dicom_node.store.versions import VersionKey, counted, key_of, set_study_state

__all__ = [
    "VersionSize",
    "Work",
    "fail_version",
    "start_version",
    "supersede_results",
    "version_instances",
    "version_size",
]


@dataclass(frozen=True, slots=True)
class Work:
    """What a worker needs to process a version."""

    key: VersionKey
    ready: StudyReady
    predecessors: tuple[ObjectReference, ...]
    """The result objects that the new ones supersede."""


@dataclass(frozen=True, slots=True)
class VersionSize:
    """What tells how long a version will take, and how long it has waited."""

    queued_at: datetime
    pictures: int
    """Frames of its instances."""


def start_version(
    connection: Connection,
    version_id: int,
    *,
    run: int,
    fingerprint: str,
    data_dir: Path,
    now: datetime,
    counts_preliminary: bool = True,
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
    counts_preliminary : bool
        Whether preliminary reports of earlier studies count.

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
        predecessors[fingerprint] = _superseded(connection, row)
    priors = row.priors
    if priors is None:
        priors = choose_priors(
            connection, row.study_id, counts_preliminary=counts_preliminary
        )
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
        key=key_of(row),
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


def supersede_results(
    connection: Connection,
    version_id: int,
    *,
    run: int,
    fingerprint: str,
    sop_instance_uids: Sequence[str],
) -> tuple[ObjectReference, ...] | None:
    """Choose anew what a run supersedes that did not come out as the one before.

    Parameters
    ----------
    connection : sqlalchemy.Connection
        A write transaction.
    version_id, run : int
        The work.
    fingerprint : str
        Names the model and configuration that processed it.
    sop_instance_uids : sequence of str
        What the run made.

    Returns
    -------
    tuple of ObjectReference or None
        What the objects have to name, kept for every run by this fingerprint; None:
        they name it already, or are those of the run before.

    """
    row = connection.execute(
        select(versions).where(versions.c.id == version_id).with_for_update()
    ).one()
    replaced = superseded_by(connection, version_id, sop_instance_uids)
    chosen = _listed(replaced)
    if row.run != run or not chosen or row.predecessors.get(fingerprint) == chosen:
        return None
    connection.execute(
        update(versions)
        .where(versions.c.id == version_id)
        .values(predecessors=dict(row.predecessors) | {fingerprint: chosen})
    )
    return replaced


def version_instances(
    connection: Connection, version_id: int, *, data_dir: Path
) -> tuple[StoredInstance, ...]:
    """Return what a version holds, without taking it into work."""
    row = connection.execute(
        select(versions).where(versions.c.id == version_id)
    ).one_or_none()
    return () if row is None else _instances(connection, row, data_dir)


def version_size(connection: Connection, version_id: int) -> VersionSize | None:
    """Return how large a version is; None: there is none of this number."""
    row = connection.execute(
        select(versions).where(versions.c.id == version_id)
    ).one_or_none()
    if row is None:
        return None
    told = connection.scalars(
        select(instances.c.attributes).where(
            counted(row.study_id), instances.c.id <= row.last_instance_id
        )
    )
    pictures = sum(_frames(one) for one in told)
    return VersionSize(row.created_at, pictures)


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


def _instances(
    connection: Connection, version: Row[Any], data_dir: Path
) -> tuple[StoredInstance, ...]:
    rows = connection.execute(
        select(instances)
        .where(counted(version.study_id), instances.c.id <= version.last_instance_id)
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


def _frames(attributes: dict[str, Any] | None) -> int:
    # What a peer says of its image may be anything.
    said = (attributes or {}).get("NumberOfFrames")
    return max(1, said) if isinstance(said, int) else 1


def _superseded(connection: Connection, version: Row[Any]) -> list[list[str]]:
    """Find the newest results before these: of this version, else of the ones before.

    Results of this very version are superseded too: a second answer always says which
    it replaces.
    """
    current: Row[Any] | None = version
    while current is not None:
        if rows := newest_results(connection, current.id):
            return _listed(reference_of(row) for row in rows)
        current = _predecessor(connection, current)
    return []


def _listed(references: Iterable[ObjectReference]) -> list[list[str]]:
    return [
        [
            one.sop_class_uid,
            one.sop_instance_uid,
            one.series_instance_uid,
            one.study_instance_uid,
        ]
        for one in references
    ]


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
