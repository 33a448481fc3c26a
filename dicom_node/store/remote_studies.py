"""What was sent to remote models, and what came back; in no study of the node's own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Row, bindparam, insert, select, update

from dicom_node.audit import EventKind
from dicom_node.errors import StoreError
from dicom_node.records import ReceivedInstance
from dicom_node.store.database import Database
from dicom_node.store.events import record_event
from dicom_node.store.instances import InstanceOutcome
from dicom_node.store.schema import remote_answers, remote_studies, studies, versions
from dicom_node.store.versions import VersionKey

__all__ = ["RemoteAnswer", "RemoteState", "RemoteStudy", "RemoteStudyStore"]


class RemoteState(StrEnum):
    """How far a study is with a remote model."""

    SENDING = "sending"
    """It may have been sent in part."""
    SENT = "sent"
    ANSWERED = "answered"
    """Its results are here; later ones do not count."""
    FAILED = "failed"
    """It was refused, or no results came in time."""


_OPEN = (RemoteState.SENDING, RemoteState.SENT)
# Asked for each instance: to build the statement takes longer than to run it.
_OF_STUDY = (
    select(remote_studies.c.id, remote_studies.c.state, versions.c.study_id)
    .join(versions, versions.c.id == remote_studies.c.version_id)
    .where(remote_studies.c.pseudonymous_study_uid == bindparam("uid"))
)


@dataclass(frozen=True, slots=True)
class RemoteStudy:
    """A run of a version that a remote model interprets."""

    id: int
    key: VersionKey
    remote: str
    pseudonymous_study_uid: str
    state: RemoteState
    sent_at: datetime | None
    detail: Mapping[str, Any]
    """``began_at``; ``refused``: reason by series UID; ``reason`` of a failure;
    ``answer_ids``: what counted."""


@dataclass(frozen=True, slots=True)
class RemoteAnswer:
    """An instance that came back; ``path`` is relative to the data folder."""

    id: int
    sop_class_uid: str
    sop_instance_uid: str
    path: Path
    sha256: str
    calling_ae_title: str
    received_at: datetime


class RemoteStudyStore:
    """The studies that are with remote models.

    Parameters
    ----------
    database : Database
        Where they are kept, so that a restart sends none again. Every method raises
        StoreError when the database cannot answer.

    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self.titles: frozenset[str] = frozenset()
        """AE titles of remotes: what they send belongs to no study of the node."""

    def key_of(self, study_instance_uid: str, content_version: str) -> VersionKey:
        """Return which run of which version is being processed.

        Raises
        ------
        StoreError
            There is no such version.

        """
        with self._database.read() as connection:
            row = connection.execute(
                select(versions.c.id, versions.c.run)
                .join(studies, studies.c.id == versions.c.study_id)
                .where(
                    studies.c.study_instance_uid == study_instance_uid,
                    versions.c.content_version == content_version,
                )
                .order_by(versions.c.id.desc())
            ).first()
        if row is None:
            raise StoreError("the version is not in the database")
        return VersionKey(row.id, study_instance_uid, content_version, row.run)

    def begin(
        self,
        key: VersionKey,
        *,
        remote: str,
        pseudonymous_study_uid: str,
        now: datetime,
    ) -> RemoteStudy:
        """Note that a version goes to a remote; the same run again is the same row."""
        conditions = (
            remote_studies.c.version_id == key.version_id,
            remote_studies.c.run == key.run,
            remote_studies.c.remote == remote,
        )
        with self._database.write() as connection:
            if not (known := _select(connection, *conditions)):
                connection.execute(
                    insert(remote_studies).values(
                        version_id=key.version_id,
                        run=key.run,
                        remote=remote,
                        pseudonymous_study_uid=pseudonymous_study_uid,
                        state=RemoteState.SENDING,
                        detail={"began_at": now.isoformat()},
                    )
                )
                known = _select(connection, *conditions)
            return known[0]

    def open_studies(self) -> tuple[RemoteStudy, ...]:
        """Return the studies whose results are waited for."""
        with self._database.read() as connection:
            return _select(connection, remote_studies.c.state.in_(_OPEN))

    def sent(
        self,
        one: RemoteStudy,
        *,
        instances: int,
        refused: Mapping[str, str],
        now: datetime,
    ) -> None:
        """Note that a study has left, and which of its series did not."""
        self._change(
            one,
            EventKind.STUDY_EXPORTED,
            told={"destination": one.remote, "instances": instances},
            at=now,
            state=RemoteState.SENT,
            sent_at=now,
            detail={**one.detail, "refused": dict(refused)},
        )

    def answered(
        self, one: RemoteStudy, *, answer_ids: Sequence[int], reason: str, now: datetime
    ) -> None:
        """Note which results count; those that come later do not."""
        self._change(
            one,
            EventKind.REMOTE_ANSWERED,
            told={"remote": one.remote, "objects": len(answer_ids)},
            at=now,
            state=RemoteState.ANSWERED,
            ended_at=now,
            detail={**one.detail, "answer_ids": list(answer_ids), "reason": reason},
        )

    def failed(
        self,
        one: RemoteStudy,
        *,
        reason: str,
        refused: Mapping[str, str],
        now: datetime,
    ) -> None:
        """Note that no results will be used, and why; of some series, why before."""
        self._change(
            one,
            EventKind.REMOTE_FAILED,
            told={"remote": one.remote, "reason": reason},
            at=now,
            state=RemoteState.FAILED,
            ended_at=now,
            detail={
                **one.detail,
                "refused": {**one.detail.get("refused", {}), **refused},
                "reason": reason,
            },
        )

    def answers(self, one: RemoteStudy) -> tuple[RemoteAnswer, ...]:
        """Return what came back for a study, in the order of coming."""
        with self._database.read() as connection:
            rows = connection.execute(
                select(remote_answers)
                .where(remote_answers.c.remote_study_id == one.id)
                .order_by(remote_answers.c.id)
            )
            return tuple(
                RemoteAnswer(
                    row.id,
                    row.sop_class_uid,
                    row.sop_instance_uid,
                    Path(row.path),
                    row.sha256,
                    row.calling_ae_title,
                    row.received_at,
                )
                for row in rows
            )

    def is_remote(self, instance: ReceivedInstance) -> bool:
        """Return whether a remote sends an instance, by its title."""
        return instance.calling_ae_title in self.titles

    def keep_answer(
        self, connection: Connection, instance: ReceivedInstance
    ) -> InstanceOutcome | None:
        """Record an instance that is a remote's; None: it is a study's of the node.

        Parameters
        ----------
        connection : sqlalchemy.Connection
            The transaction in which it is received.
        instance : ReceivedInstance
            The instance.

        """
        row = connection.execute(
            _OF_STUDY, {"uid": instance.study_instance_uid}
        ).one_or_none()
        if row is None and not self.is_remote(instance):
            return None
        path = instance.path.as_posix()
        known = connection.scalar(
            select(remote_answers.c.id).where(remote_answers.c.path == path)
        )
        if known is not None:
            return InstanceOutcome.DUPLICATE
        connection.execute(
            insert(remote_answers).values(
                remote_study_id=None if row is None else row.id,
                sop_class_uid=instance.sop_class_uid,
                sop_instance_uid=instance.sop_instance_uid,
                path=path,
                sha256=instance.sha256,
                calling_ae_title=instance.calling_ae_title,
                received_at=instance.received_at,
            )
        )
        is_waited_for = row is not None and row.state in _OPEN
        record_event(
            connection,
            EventKind.REMOTE_RESULT_RECEIVED,
            at=instance.received_at,
            study_id=None if row is None else row.study_id,
            subject=instance.sop_instance_uid,
            detail={
                "calling_ae_title": instance.calling_ae_title,
                "peer_address": instance.peer_address,
                "is_waited_for": is_waited_for,
            },
        )
        return InstanceOutcome.NEW

    def _change(
        self,
        one: RemoteStudy,
        kind: EventKind,
        *,
        told: Mapping[str, str | int],
        at: datetime,
        **values: object,
    ) -> None:
        """Change a study's row and tell it in the trail, in one transaction."""
        with self._database.write() as connection:
            connection.execute(
                update(remote_studies)
                .where(remote_studies.c.id == one.id)
                .values(**values)
            )
            record_event(
                connection,
                kind,
                at=at,
                study_id=_study_id(connection, one),
                subject=one.pseudonymous_study_uid,
                detail=told,
            )


def _select(connection: Connection, *conditions: Any) -> tuple[RemoteStudy, ...]:
    rows = connection.execute(
        select(
            remote_studies,
            studies.c.study_instance_uid,
            versions.c.content_version,
        )
        .join(versions, versions.c.id == remote_studies.c.version_id)
        .join(studies, studies.c.id == versions.c.study_id)
        .where(*conditions)
        .order_by(remote_studies.c.id)
    )
    return tuple(_study(row) for row in rows)


def _study(row: Row[Any]) -> RemoteStudy:
    return RemoteStudy(
        id=row.id,
        key=VersionKey(
            version_id=row.version_id,
            study_instance_uid=row.study_instance_uid,
            content_version=row.content_version,
            run=row.run,
        ),
        remote=row.remote,
        pseudonymous_study_uid=row.pseudonymous_study_uid,
        state=RemoteState(row.state),
        sent_at=row.sent_at,
        detail=row.detail,
    )


def _study_id(connection: Connection, one: RemoteStudy) -> int | None:
    return connection.scalar(
        select(versions.c.study_id).where(versions.c.id == one.key.version_id)
    )
