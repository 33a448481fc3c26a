"""Work that was claimed from a worklist, and what came of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

from sqlalchemy import Row, insert, select, update

from dicom_node.audit import EventKind
from dicom_node.records import ObjectReference
from dicom_node.store.database import Database
from dicom_node.store.events import record_event
from dicom_node.store.newest import newest_results, reference_of
from dicom_node.store.schema import (
    DeliveryState,
    StudyState,
    VersionState,
    deliveries,
    studies,
    versions,
    workitems,
)

__all__ = ["StudyOutput", "Workitem", "WorkitemState", "WorkitemStore"]


class WorkitemState(StrEnum):
    """How far a workitem is with us; the manager's state is its own."""

    CLAIMING = "claiming"
    """It is about to be asked for, or the answer is not known."""
    CLAIMED = "claimed"
    """It is ours: its input is to be found."""
    PROCESSING = "processing"
    """Its study was put to work."""
    CANCELING = "canceling"
    """It cannot be done, and the manager does not know yet."""
    COMPLETED = "completed"
    CANCELED = "canceled"
    LOST = "lost"
    """Somebody else has it, or it is gone."""


_ENDED = (WorkitemState.COMPLETED, WorkitemState.CANCELED, WorkitemState.LOST)


@dataclass(frozen=True, slots=True)
class Workitem:
    """A workitem as the node knows it."""

    workitem_uid: str
    transaction_uid: str
    state: WorkitemState
    study_instance_uid: str | None
    claimed_at: datetime
    detail: Mapping[str, Any]
    """``version_before`` (the newest version when the study was put to work),
    ``reason``, ``progress``."""


@dataclass(frozen=True, slots=True)
class StudyOutput:
    """Where a study stands, and the results of its newest version."""

    state: StudyState | None
    """None: there is no such study."""
    reason: str
    """Why it failed."""
    run: int
    """How often its newest version was asked for."""
    started_at: datetime | None
    finished_at: datetime | None
    results: tuple[tuple[ObjectReference, str], ...]
    """Each with its profile."""
    waiting: frozenset[str]
    """Destinations that do not have all of them yet."""
    lost: frozenset[str] = frozenset()
    """Destinations for which some of them were given up."""


class WorkitemStore:
    """The workitems of this node.

    Parameters
    ----------
    database : Database
        Where they are kept, so that a restart goes on. Every method raises
        StoreError when the database cannot answer.

    """

    def __init__(self, database: Database) -> None:
        self._database = database

    def begin(
        self, workitem_uid: str, *, transaction_uid: str, now: datetime
    ) -> Workitem | None:
        """Note a workitem before it is claimed; None: it was noted before."""
        with self._database.write() as connection:
            known = connection.scalar(
                select(workitems.c.id).where(workitems.c.workitem_uid == workitem_uid)
            )
            if known is not None:
                return None
            row = connection.execute(
                insert(workitems)
                .values(
                    workitem_uid=workitem_uid,
                    transaction_uid=transaction_uid,
                    state=WorkitemState.CLAIMING,
                    claimed_at=now,
                    detail={},
                )
                .returning(workitems)
            ).one()
            return _workitem(row)

    def open(self) -> tuple[Workitem, ...]:
        """Return what has not ended, oldest first."""
        with self._database.read() as connection:
            rows = connection.execute(
                select(workitems)
                .where(workitems.c.state.not_in(_ENDED))
                .order_by(workitems.c.id)
            )
            return tuple(_workitem(row) for row in rows)

    def find(self, workitem_uid: str) -> Workitem | None:
        """Return a workitem, or None where the node never saw it."""
        with self._database.read() as connection:
            row = connection.execute(
                select(workitems).where(workitems.c.workitem_uid == workitem_uid)
            ).one_or_none()
        return None if row is None else _workitem(row)

    def advance(
        self,
        one: Workitem,
        state: WorkitemState,
        *,
        now: datetime,
        study_instance_uid: str | None = None,
        **detail: Any,
    ) -> Workitem:
        """Note how far a workitem is; a claim and an end are events."""
        uid = study_instance_uid or one.study_instance_uid
        with self._database.write() as connection:
            study_id = None
            if uid is not None:
                study_id = connection.scalar(
                    select(studies.c.id).where(studies.c.study_instance_uid == uid)
                )
            merged = {**one.detail, **detail}
            row = connection.execute(
                update(workitems)
                .where(workitems.c.workitem_uid == one.workitem_uid)
                .values(
                    state=state,
                    study_instance_uid=uid,
                    study_id=study_id,
                    ended_at=now if state in _ENDED else None,
                    detail=merged,
                )
                .returning(workitems)
            ).one()
            if state is not one.state and state in {*_ENDED, WorkitemState.CLAIMED}:
                told = {"state": str(state)}
                if merged.get("reason"):
                    told["reason"] = str(merged["reason"])
                record_event(
                    connection,
                    EventKind.WORKITEM_CLAIMED
                    if state is WorkitemState.CLAIMED
                    else EventKind.WORKITEM_ENDED,
                    at=now,
                    study_id=study_id,
                    subject=one.workitem_uid,
                    detail=told,
                )
            return _workitem(row)

    def output(self, study_instance_uid: str) -> StudyOutput:
        """Return where a study stands and what its newest version's results are."""
        with self._database.read() as connection:
            study = connection.execute(
                select(studies).where(
                    studies.c.study_instance_uid == study_instance_uid
                )
            ).one_or_none()
            if study is None:
                return StudyOutput(None, "", 0, None, None, (), frozenset())
            version = connection.execute(
                select(versions).where(versions.c.id == study.latest_version_id)
            ).one_or_none()
            if version is None:
                state = StudyState(study.state)
                return StudyOutput(state, "", 0, None, None, (), frozenset())
            made: tuple[tuple[ObjectReference, str], ...] = ()
            if version.state == VersionState.DONE:
                made = tuple(
                    (reference_of(row), row.profile)
                    for row in newest_results(connection, version.id)
                )
            waiting = connection.scalars(
                select(deliveries.c.destination)
                .distinct()
                .where(
                    deliveries.c.version_id == version.id,
                    deliveries.c.state.in_(
                        [DeliveryState.PENDING, DeliveryState.STORED]
                    ),
                )
            )
            lost = connection.scalars(
                select(deliveries.c.destination)
                .distinct()
                .where(
                    deliveries.c.version_id == version.id,
                    deliveries.c.state == DeliveryState.DEAD,
                )
            )
            return StudyOutput(
                state=StudyState(study.state),
                reason=version.reason or "",
                run=version.run,
                started_at=version.started_at,
                finished_at=version.finished_at,
                results=made,
                waiting=frozenset(waiting),
                lost=frozenset(lost),
            )


def _workitem(row: Row[Any]) -> Workitem:
    return Workitem(
        workitem_uid=row.workitem_uid,
        transaction_uid=row.transaction_uid,
        state=WorkitemState(row.state),
        study_instance_uid=row.study_instance_uid,
        claimed_at=row.claimed_at,
        detail=row.detail,
    )
