"""Instances as they arrive: new, the same again, or the same UID with other bytes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, bindparam, insert, select, update

from dicom_node.audit import EventKind
from dicom_node.errors import OutOfResourcesError
from dicom_node.records import ReceivedInstance
from dicom_node.store.describe import StudyRow, describe_study, look_at_study
from dicom_node.store.events import record_event
from dicom_node.store.prepared import PreparedChange, PreparedLook
from dicom_node.store.report_joins import meet_reports
from dicom_node.store.schema import (
    StudyState,
    events,
    instances,
    remote_answers,
    studies,
)

__all__ = [
    "InstanceOutcome",
    "RecordedFile",
    "insert_instance",
    "known_paths",
    "record_missing_file",
    "recorded_files",
    "sender_of",
]


# Made once: to build a statement takes longer than to run it.
_KNOWN = PreparedLook(
    select(instances.c.sha256, instances.c.is_conflict, instances.c.removed_at).where(
        instances.c.sop_instance_uid == bindparam("uid")
    )
)
_INSERT = PreparedChange(
    insert(instances),
    (
        "study_id",
        "series_instance_uid",
        "sop_instance_uid",
        "sop_class_uid",
        "transfer_syntax_uid",
        "path",
        "sha256",
        "size_bytes",
        "calling_ae_title",
        "peer_address",
        "received_at",
        "is_own_result",
        "is_conflict",
        "attributes",
    ),
)
_CAME_AGAIN = PreparedChange(
    update(studies)
    .where(studies.c.id == bindparam("study"))
    .values(last_received_at=bindparam("at"))
)


class InstanceOutcome(StrEnum):
    """What an arriving instance is to the node."""

    NEW = "new"
    DUPLICATE = "duplicate"
    """The same UID and bytes were there: only when it last came changes."""
    CONFLICT = "conflict"
    """The same UID was there with other bytes: kept beside the first, flagged, and
    not processed, so that a study never has two images in one place. Sent again, it
    is one again, and only when it last came changes."""


@dataclass(frozen=True, slots=True)
class RecordedFile:
    """A file that a row vouches for."""

    instance_id: int
    study_id: int
    path: Path
    sha256: str
    size_bytes: int


def insert_instance(
    connection: Connection,
    instance: ReceivedInstance,
    *,
    study: StudyRow | None,
    is_fetched: bool = False,
    data_dir: Path | None = None,
) -> InstanceOutcome:
    """Record an instance and what it means for its study.

    The caller holds the write transaction, so nothing comes between the look and
    the insert.

    Parameters
    ----------
    connection : sqlalchemy.Connection
        A write transaction.
    instance : ReceivedInstance
        The instance.
    study : sqlalchemy.Row or None
        By `look_at_study`, in this transaction.
    is_fetched : bool
        Its study is being fetched to compare with: a prior stays one.
    data_dir : pathlib.Path, optional
        Where the files lie, to look for that of an instance which retention removed.

    Raises
    ------
    OutOfResourcesError
        Retention deleted the file between its arrival and this look: whoever sent it
        has to send it again.

    """
    known = {}
    if study is None or study.known_id is not None:
        same_uid = {"uid": instance.sop_instance_uid}
        known = {row.sha256: row for row in _KNOWN.rows(connection, same_uid)}
    same = known.get(instance.sha256)
    if same is not None and same.removed_at is None:
        is_other = same.is_conflict
        _note_repeated(connection, instance)
        return InstanceOutcome.CONFLICT if is_other else InstanceOutcome.DUPLICATE
    is_conflict = any(
        one.removed_at is None and not one.is_conflict for one in known.values()
    )
    counts = not instance.is_own_result and not is_conflict
    study = study or _make_study(connection, instance)
    study_id = int(study.id)
    if same is None:
        _insert(connection, study_id, instance, is_conflict=is_conflict)
    else:
        _bring_back(connection, instance, data_dir=data_dir, is_conflict=is_conflict)
    is_news = describe_study(connection, study, instance)
    _note_arrival(connection, study, instance, counts=counts, is_fetched=is_fetched)
    if is_news:
        meet_reports(connection, study_id, now=instance.received_at)
    record_event(
        connection,
        EventKind.INSTANCE_CONFLICT if is_conflict else EventKind.INSTANCE_RECEIVED,
        at=instance.received_at,
        study_id=study_id,
        subject=instance.sop_instance_uid,
        detail={
            "sha256": instance.sha256,
            "is_own_result": instance.is_own_result,
            **sender_of(instance),
        },
    )
    return InstanceOutcome.CONFLICT if is_conflict else InstanceOutcome.NEW


def _note_repeated(connection: Connection, instance: ReceivedInstance) -> None:
    """Note that an instance was acknowledged again: retention counts from then."""
    connection.execute(
        update(instances)
        .where(
            instances.c.sop_instance_uid == instance.sop_instance_uid,
            instances.c.sha256 == instance.sha256,
            instances.c.received_at < instance.received_at,
        )
        .values(received_at=instance.received_at)
    )


def sender_of(instance: ReceivedInstance) -> dict[str, str]:
    """Return who sent an instance, as its event tells it."""
    return {
        "calling_ae_title": instance.calling_ae_title,
        "peer_address": instance.peer_address,
    }


def known_paths(connection: Connection, paths: Iterable[str]) -> set[str]:
    """Return which of these relative paths a row vouches for; removed ones do not."""
    wanted = list(paths)
    return {
        path
        for table, is_here in (
            (instances, (instances.c.removed_at.is_(None),)),
            (remote_answers, ()),
        )
        for path in connection.scalars(
            select(table.c.path).where(table.c.path.in_(wanted), *is_here)
        )
    }


def recorded_files(
    connection: Connection, *, after_id: int, limit: int
) -> Iterator[RecordedFile]:
    """Yield files that a row vouches for, in the order of their rows."""
    rows = connection.execute(
        select(
            instances.c.id,
            instances.c.study_id,
            instances.c.path,
            instances.c.sha256,
            instances.c.size_bytes,
        )
        .where(instances.c.id > after_id, instances.c.removed_at.is_(None))
        .order_by(instances.c.id)
        .limit(limit)
    )
    for row in rows:
        yield RecordedFile(
            row.id, row.study_id, Path(row.path), row.sha256, row.size_bytes
        )


def record_missing_file(connection: Connection, file: RecordedFile) -> None:
    """Write an event about a lost file, once for each."""
    known = connection.scalar(
        select(events.c.id).where(
            events.c.kind == EventKind.FILE_MISSING, events.c.subject == file.sha256
        )
    )
    if known is None:
        record_event(
            connection,
            EventKind.FILE_MISSING,
            study_id=file.study_id,
            subject=file.sha256,
            detail={"reason": "the instance's file is gone or has another size"},
        )


def _insert(
    connection: Connection,
    study_id: int,
    instance: ReceivedInstance,
    *,
    is_conflict: bool,
) -> None:
    _INSERT.run(
        connection,
        {
            "study_id": study_id,
            "series_instance_uid": instance.series_instance_uid,
            "sop_instance_uid": instance.sop_instance_uid,
            "sop_class_uid": instance.sop_class_uid,
            "transfer_syntax_uid": instance.transfer_syntax_uid,
            "path": instance.path.as_posix(),
            "sha256": instance.sha256,
            "size_bytes": instance.size_bytes,
            "calling_ae_title": instance.calling_ae_title,
            "peer_address": instance.peer_address,
            "received_at": instance.received_at,
            "is_own_result": instance.is_own_result,
            "is_conflict": is_conflict,
            "attributes": dict(instance.image),
        },
    )


def _note_arrival(
    connection: Connection,
    study: StudyRow,
    instance: ReceivedInstance,
    *,
    counts: bool,
    is_fetched: bool,
) -> None:
    """Let a study know that something of it came; its images make it collect."""
    becomes: dict[str, Any] = {}
    if study.removed_at is not None:
        becomes["removed_at"] = None
    if counts:
        if study.is_prior and not is_fetched:
            becomes["is_prior"] = False
        is_prior = study.is_prior and is_fetched
        if not is_prior and study.state != StudyState.COLLECTING:
            becomes["state"] = StudyState.COLLECTING
        if not becomes:
            at = {"study": study.id, "at": instance.received_at}
            _CAME_AGAIN.run(connection, at)
            return
        becomes["last_received_at"] = instance.received_at
    if becomes:
        connection.execute(
            update(studies).where(studies.c.id == study.id).values(becomes)
        )


def _bring_back(
    connection: Connection,
    instance: ReceivedInstance,
    *,
    data_dir: Path | None,
    is_conflict: bool,
) -> None:
    """Let an instance that retention removed be kept again, if its file is there."""
    # Files are deleted under the lock of this transaction, for rows that are removed:
    # what is there now stays.
    if data_dir is None or not (data_dir / instance.path).is_file():
        raise OutOfResourcesError("it is being deleted: send it again")
    connection.execute(
        update(instances)
        .where(
            instances.c.sop_instance_uid == instance.sop_instance_uid,
            instances.c.sha256 == instance.sha256,
        )
        .values(
            path=instance.path.as_posix(),
            size_bytes=instance.size_bytes,
            calling_ae_title=instance.calling_ae_title,
            peer_address=instance.peer_address,
            received_at=instance.received_at,
            is_conflict=is_conflict,
            removed_at=None,
        )
    )


def _make_study(connection: Connection, instance: ReceivedInstance) -> StudyRow:
    while (study := look_at_study(connection, instance)) is None:
        connection.execute(
            insert(studies).values(
                study_instance_uid=instance.study_instance_uid,
                state=StudyState.IDLE,
                is_forced=False,
                first_received_at=instance.received_at,
                last_received_at=instance.received_at,
            )
        )
    return study
