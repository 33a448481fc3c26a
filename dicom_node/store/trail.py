"""The audit trail as its readers see it: in order, from where each has come to."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Row, func, insert, select, text, update

from dicom_node.store.database import Database
from dicom_node.store.schema import (
    cursors,
    events,
    instances,
    remote_answers,
    reports,
    results,
    studies,
)

__all__ = ["Backlog", "TrailEvent", "TrailStore", "TrailStudy"]

_CHUNK = 500
"""Values that one statement names; SQLite takes 999 in its oldest versions."""


@dataclass(frozen=True, slots=True)
class TrailStudy:
    """What an audit message says of a study; texts are empty where nothing is known."""

    study_instance_uid: str
    patient_id: str
    patient_name: str
    """PN as it was received, component groups and all."""
    accession_number: str


@dataclass(frozen=True, slots=True)
class TrailEvent:
    """A row of the audit trail."""

    id: int
    at: datetime
    kind: str
    study_id: int | None
    subject: str | None
    detail: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Backlog:
    """What a reader has not dealt with; ``oldest_at`` is None where that is nothing."""

    count: int
    oldest_at: datetime | None


class TrailStore:
    """Readers of ``events``, each with a cursor of its own.

    Parameters
    ----------
    database : Database
        Where both are. Every method raises StoreError when it cannot answer.

    """

    def __init__(self, database: Database) -> None:
        self._database = database

    def open_cursor(self, name: str) -> int:
        """Return how far a reader has come; a new one begins with what comes next."""
        with self._database.write() as connection:
            found = connection.scalar(
                select(cursors.c.position).where(cursors.c.name == name)
            )
            if found is not None:
                return int(found)
            newest = int(connection.scalar(select(func.max(events.c.id))) or 0)
            connection.execute(insert(cursors).values(name=name, position=newest))
            return newest

    def move_cursor(self, name: str, position: int) -> None:
        """Note that a reader has dealt with every row up to this one."""
        with self._database.write() as connection:
            connection.execute(
                update(cursors)
                .where(cursors.c.name == name, cursors.c.position < position)
                .values(position=position)
            )

    def read(self, after: int, *, limit: int) -> tuple[TrailEvent, ...]:
        """Return the rows after this one in their order; none is passed over.

        On PostgreSQL a row may become visible after one with a higher number. Where a
        number is missing, every transaction that may have taken it is waited for.
        """
        query = (
            select(events).where(events.c.id > after).order_by(events.c.id).limit(limit)
        )
        with self._database.read() as connection:
            rows = connection.execute(query).all()
            if not self._database.is_sqlite and _has_gap(rows, after):
                connection.rollback()
                connection.execute(text("LOCK TABLE events IN SHARE MODE"))
                rows = connection.execute(query).all()
        return tuple(
            TrailEvent(
                row.id, row.at, row.kind, row.study_id, row.subject, row.detail or {}
            )
            for row in rows
        )

    def backlog(self, name: str) -> Backlog:
        """Return what a reader has not dealt with."""
        position = (
            select(cursors.c.position).where(cursors.c.name == name).scalar_subquery()
        )
        waits = events.c.id > func.coalesce(position, 0)
        with self._database.read() as connection:
            count = connection.scalar(
                select(func.count()).select_from(events).where(waits)
            )
            oldest = connection.scalar(
                select(events.c.at).where(waits).order_by(events.c.id).limit(1)
            )
        return Backlog(int(count or 0), oldest)

    def studies(self, study_ids: Iterable[int]) -> dict[int, TrailStudy]:
        """Return studies by the identifier of their row."""
        found: dict[int, TrailStudy] = {}
        with self._database.read() as connection:
            for chunk in _chunks(study_ids):
                rows = connection.execute(
                    select(studies).where(studies.c.id.in_(chunk))
                )
                for row in rows:
                    said = row.attributes or {}
                    found[row.id] = TrailStudy(
                        row.study_instance_uid,
                        row.patient_id or said.get("PatientID", ""),
                        said.get("PatientName", ""),
                        row.accession_number or said.get("AccessionNumber", ""),
                    )
        return found

    def report_patients(self, report_ids: Iterable[int]) -> dict[int, str]:
        """Return Patient IDs by the identifier of a report's row."""
        found: dict[int, str] = {}
        with self._database.read() as connection:
            for chunk in _chunks(report_ids):
                rows = connection.execute(
                    select(reports.c.id, reports.c.patient_id).where(
                        reports.c.id.in_(chunk)
                    )
                )
                found |= {row.id: row.patient_id or "" for row in rows}
        return found

    def sop_classes(self, sop_instance_uids: Iterable[str]) -> dict[str, str]:
        """Return SOP Class UIDs by SOP Instance UID, of instances and of results."""
        found: dict[str, str] = {}
        with self._database.read() as connection:
            for chunk in _chunks(sop_instance_uids):
                for table in (remote_answers, results, instances):
                    rows = connection.execute(
                        select(table.c.sop_instance_uid, table.c.sop_class_uid).where(
                            table.c.sop_instance_uid.in_(chunk)
                        )
                    )
                    found |= {row[0]: row[1] for row in rows}
        return found


def _has_gap(rows: Iterable[Row[Any]], after: int) -> bool:
    return any(row.id != after + at for at, row in enumerate(rows, start=1))


def _chunks(values: Iterable[Any]) -> Iterable[list[Any]]:
    every = list(dict.fromkeys(values))
    return (every[at : at + _CHUNK] for at in range(0, len(every), _CHUNK))
