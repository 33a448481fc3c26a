"""Versions that wait for the machine: why, and back to work when they were given up."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import Connection, select, update

from dicom_node.audit import EventKind
from dicom_node.store.events import record_event
from dicom_node.store.schema import StudyState, VersionState, studies, versions
from dicom_node.store.versions import set_study_state

__all__ = ["note_waiting", "requeue_failed"]


def note_waiting(
    connection: Connection, version_id: int, *, run: int, reason: str
) -> None:
    """Say why a version is not processed yet; its state does not change."""
    connection.execute(
        update(versions)
        .where(
            versions.c.id == version_id,
            versions.c.run == run,
            versions.c.state.in_([VersionState.READY, VersionState.PROCESSING]),
        )
        .values(reason=reason[:1024])
    )


def requeue_failed(
    connection: Connection, *, reason_prefix: str, now: datetime
) -> tuple[str, ...]:
    """Ask again for every study whose newest version failed for such a reason.

    Returns
    -------
    tuple of str
        The studies' UIDs.

    """
    rows = connection.execute(
        select(studies.c.id, studies.c.study_instance_uid, studies.c.latest_version_id)
        .join(versions, versions.c.id == studies.c.latest_version_id)
        .where(
            versions.c.state == VersionState.FAILED,
            versions.c.removed_at.is_(None),
            versions.c.reason.startswith(reason_prefix, autoescape=True),
        )
        .order_by(studies.c.id)
        .with_for_update()
    ).all()
    for row in rows:
        connection.execute(
            update(versions)
            .where(versions.c.id == row.latest_version_id)
            .values(state=VersionState.READY, run=versions.c.run + 1, reason=None)
        )
        set_study_state(connection, row.latest_version_id, StudyState.READY)
        record_event(
            connection,
            EventKind.STUDY_REQUEUED,
            at=now,
            study_id=row.id,
            detail={"outcome": "process_again"},
        )
    return tuple(row.study_instance_uid for row in rows)
