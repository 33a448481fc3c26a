"""Rows that retention removes: they stay, and say since when they are empty."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import ColumnElement, Connection, select, update

from dicom_node.store.schema import instances, reports, results, studies, versions

__all__ = ["mark_images", "mark_reports", "mark_results"]


def mark_images(connection: Connection, study_id: int, *, now: datetime) -> int:
    """Mark a study's instances and reports as removed; return how many instances."""
    mark_reports(connection, reports.c.study_id == study_id, now=now)
    connection.execute(
        update(studies).where(studies.c.id == study_id).values(removed_at=now)
    )
    return connection.execute(
        update(instances)
        .where(instances.c.study_id == study_id, instances.c.removed_at.is_(None))
        .values(removed_at=now)
    ).rowcount


def mark_results(connection: Connection, study_id: int, *, now: datetime) -> int:
    """Mark a study's results as removed; return how many."""
    made = select(versions.c.id).where(versions.c.study_id == study_id)
    connection.execute(
        update(versions)
        .where(versions.c.study_id == study_id, versions.c.removed_at.is_(None))
        .values(removed_at=now)
    )
    return connection.execute(
        update(results)
        .where(results.c.version_id.in_(made), results.c.removed_at.is_(None))
        .values(removed_at=now)
    ).rowcount


def mark_reports(
    connection: Connection, which: ColumnElement[bool], *, now: datetime
) -> int:
    """Delete the text of reports; return of how many."""
    return connection.execute(
        update(reports)
        .where(which, reports.c.removed_at.is_(None))
        .values(text="", is_current=False, removed_at=now)
    ).rowcount
