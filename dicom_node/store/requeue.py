"""A person asks for a study again: the request is a row that the node picks up."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from enum import StrEnum
from typing import Any

from sqlalchemy import Connection, Row, func, select, update

from dicom_node.audit import EventKind
from dicom_node.errors import StoreError
from dicom_node.store.events import record_event
from dicom_node.store.outbox import enter_missing, revive_deliveries
from dicom_node.store.schema import (
    StudyState,
    VersionState,
    instances,
    reports,
    studies,
    versions,
)
from dicom_node.store.versions import counted, set_study_state

__all__ = ["RequeueOutcome", "requeue_study"]


class RequeueOutcome(StrEnum):
    """What a request starts, in words for the person who made it."""

    PROCESS_NOW = "it is processed now, without waiting for more images"
    PROCESS_AGAIN = (
        "it is processed again; what a destination has already is not sent twice"
    )
    DELIVER_NOW = "its results are sent now to every destination that lacks them"
    RUNNING = "it is being processed already"
    NOTHING = "it has no images of its own to process"
    REMOVED = (
        "retention has deleted images or reports of it: it is processed when they are "
        "sent again"
    )


def requeue_study(
    connection: Connection,
    study_instance_uid: str,
    *,
    destinations: Mapping[str, str],
    now: datetime,
) -> RequeueOutcome:
    """Ask for a study again, whether or not the node runs.

    What is on its way to a destination that is no longer configured is left alone;
    a destination that was configured since gets the newest results.

    Parameters
    ----------
    connection : sqlalchemy.Connection
        A write transaction.
    study_instance_uid : str
        The study.
    destinations : mapping of str to str
        The profile that each configured destination gets.
    now : datetime
        The moment.

    Raises
    ------
    StoreError
        No such study.

    """
    study = connection.execute(
        select(studies)
        .where(studies.c.study_instance_uid == study_instance_uid)
        .with_for_update()
    ).one_or_none()
    if study is None:
        msg = "no study with this UID was received"
        raise StoreError(msg, study_instance_uid=study_instance_uid)
    if study.is_prior:
        study = _take_up_prior(connection, study.id)
    undelivered = revive_deliveries(
        connection, study.id, destinations=destinations, now=now
    )
    if study.state == StudyState.DONE:
        undelivered += enter_missing(
            connection, study.latest_version_id, destinations=destinations, now=now
        )
    if study.state == StudyState.COLLECTING:
        outcome = RequeueOutcome.PROCESS_NOW
    elif study.state == StudyState.IDLE:
        return RequeueOutcome.NOTHING
    elif study.state in {StudyState.READY, StudyState.PROCESSING}:
        outcome = RequeueOutcome.RUNNING
    elif study.state == StudyState.DONE and undelivered:
        outcome = RequeueOutcome.DELIVER_NOW
    elif _lacks_something(connection, study.latest_version_id):
        return RequeueOutcome.REMOVED
    else:
        outcome = RequeueOutcome.PROCESS_AGAIN
        connection.execute(
            update(versions)
            .where(versions.c.id == study.latest_version_id)
            .values(
                state=VersionState.READY,
                run=versions.c.run + 1,
                reason=None,
                rule=None,
                model=None,
                priority=None,
            )
        )
        set_study_state(connection, study.latest_version_id, StudyState.READY)
    connection.execute(
        update(studies).where(studies.c.id == study.id).values(is_forced=True)
    )
    record_event(
        connection,
        EventKind.STUDY_REQUEUED,
        at=now,
        study_id=study.id,
        detail={"outcome": outcome.name.lower()},
    )
    return outcome


def _lacks_something(connection: Connection, version_id: int) -> bool:
    """Whether retention removed something that a version counts."""
    version = connection.execute(
        select(versions).where(versions.c.id == version_id)
    ).one()
    left = connection.scalar(
        select(func.count())
        .select_from(instances)
        .where(counted(version.study_id), instances.c.id <= version.last_instance_id)
    )
    removed = connection.scalar(
        select(func.count())
        .select_from(reports)
        .where(
            reports.c.id.in_(version.report_ids or []),
            reports.c.removed_at.is_not(None),
        )
    )
    return (left or 0) < version.instance_count or bool(removed)


def _take_up_prior(connection: Connection, study_id: int) -> Row[Any]:
    """Let a study that was fetched to compare with be one to process."""
    has_images = connection.scalar(
        select(instances.c.id)
        .where(
            instances.c.study_id == study_id,
            instances.c.is_own_result.is_(False),
            instances.c.is_conflict.is_(False),
            instances.c.removed_at.is_(None),
        )
        .limit(1)
    )
    values: dict[str, Any] = {"is_prior": False}
    if has_images is not None:
        values["state"] = StudyState.COLLECTING
    return connection.execute(
        update(studies)
        .where(studies.c.id == study_id)
        .values(values)
        .returning(studies)
    ).one()
