"""Queries behind a study's page: its versions, results, deliveries and events."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from sqlalchemy import func, select

from dicom_node.audit import EventKind
from dicom_node.records import PriorStudy
from dicom_node.store.database import Database
from dicom_node.store.priors import read_priors
from dicom_node.store.schema import (
    DeliveryState,
    VersionState,
    corrections,
    deliveries,
    events,
    instances,
    results,
    studies,
    versions,
)
from dicom_node.store.tallies import deliveries_by_state, states

__all__ = [
    "DetailStore",
    "EventRow",
    "PendingDestination",
    "ResultRow",
    "ShownVersion",
    "VersionRow",
]


_READING = (EventKind.STUDY_VIEWED, EventKind.STUDIES_SEARCHED)
"""Pages that are told of these would load again because they were loaded."""


@dataclass(frozen=True, slots=True)
class ShownVersion:
    """A version that has results."""

    id: int
    study_id: int
    content_version: str
    result_dir: str
    """Relative to the data folder."""
    images_removed_at: datetime | None = None
    """When retention deleted the study's images."""


@dataclass(frozen=True, slots=True)
class VersionRow:
    """One content version of a study."""

    content_version: str
    state: str
    reason: str | None
    run: int
    rule: str | None
    model: str | None
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    is_latest: bool
    has_result: bool
    corrected_regions: int
    """How many regions people judged; they stay with this version."""


@dataclass(frozen=True, slots=True)
class ResultRow:
    """A result object of a version; ``path`` is relative to the data folder."""

    sop_instance_uid: str
    sop_class_uid: str
    profile: str
    transfer_syntax_uid: str
    path: str


@dataclass(frozen=True, slots=True)
class EventRow:
    """A line of the audit trail; ``study_instance_uid`` is that of its study."""

    id: int
    at: datetime
    kind: str
    subject: str | None
    detail: dict[str, Any]
    study_instance_uid: str | None = None


@dataclass(frozen=True, slots=True)
class PendingDestination:
    """What a destination has and lacks, over all studies."""

    name: str
    counts: dict[str, int]
    """By delivery state."""
    oldest_pending_at: datetime | None
    """When the oldest result that it lacks was made."""


class DetailStore:
    """Reads what a study's page and the operations page show.

    Parameters
    ----------
    database : Database
        Where it is.

    """

    def __init__(self, database: Database) -> None:
        self._database = database

    def shown_version(
        self, study_instance_uid: str, content_version: str | None = None
    ) -> ShownVersion | None:
        """Return a version with results, the newest when none is named."""
        query = (
            select(
                versions.c.id,
                versions.c.study_id,
                versions.c.content_version,
                versions.c.result_dir,
                studies.c.removed_at,
            )
            .join(studies, studies.c.id == versions.c.study_id)
            .where(
                studies.c.study_instance_uid == study_instance_uid,
                versions.c.result_dir.is_not(None),
                versions.c.removed_at.is_(None),
            )
            .order_by(versions.c.id.desc())
            .limit(1)
        )
        if content_version is not None:
            query = query.where(versions.c.content_version == content_version)
        with self._database.read() as connection:
            row = connection.execute(query).one_or_none()
        return None if row is None else ShownVersion(*row)

    def results_removed_at(self, study_instance_uid: str) -> datetime | None:
        """Return when retention deleted the newest results of a study, if it did."""
        with self._database.read() as connection:
            found: datetime | None = connection.scalar(
                select(func.max(versions.c.removed_at))
                .join(studies, studies.c.id == versions.c.study_id)
                .where(
                    studies.c.study_instance_uid == study_instance_uid,
                    versions.c.result_dir.is_not(None),
                )
            )
        return found

    def versions(self, study_id: int) -> tuple[VersionRow, ...]:
        """Return a study's versions, the newest first."""
        with self._database.read() as connection:
            latest = connection.scalar(
                select(studies.c.latest_version_id).where(studies.c.id == study_id)
            )
            rows = connection.execute(
                select(versions)
                .where(versions.c.study_id == study_id)
                .order_by(versions.c.id.desc())
            ).all()
            judged: dict[int, int] = {
                row[0]: row[1]
                for row in connection.execute(
                    select(
                        corrections.c.version_id,
                        func.count(corrections.c.tracking_uid.distinct()),
                    )
                    .where(corrections.c.study_id == study_id)
                    .group_by(corrections.c.version_id)
                )
            }
        return tuple(
            VersionRow(
                content_version=row.content_version,
                state=row.state,
                reason=row.reason,
                run=row.run,
                rule=row.rule,
                model=row.model,
                created_at=row.created_at,
                started_at=row.started_at,
                finished_at=row.finished_at,
                is_latest=row.id == latest,
                has_result=row.result_dir is not None,
                corrected_regions=judged.get(row.id, 0),
            )
            for row in rows
        )

    def results(self, version_id: int) -> tuple[ResultRow, ...]:
        """Return the result objects of a version's last run, in the order of making."""
        # A result that is made again keeps the row of the first: where its file lies
        # tells whose it is now.
        shown, maker = versions.alias("shown"), versions.alias("maker")
        folder = shown.c.result_dir + "/"
        with self._database.read() as connection:
            rows = connection.execute(
                select(
                    results.c.sop_instance_uid,
                    results.c.sop_class_uid,
                    results.c.profile,
                    results.c.transfer_syntax_uid,
                    results.c.path,
                )
                .join(maker, maker.c.id == results.c.version_id)
                .join(shown, shown.c.study_id == maker.c.study_id)
                .where(
                    shown.c.id == version_id,
                    results.c.removed_at.is_(None),
                    func.substr(results.c.path, 1, func.length(folder)) == folder,
                )
                .order_by(results.c.id)
            )
            return tuple(ResultRow(*row) for row in rows)

    def find_result(
        self, study_instance_uid: str, sop_instance_uid: str
    ) -> ResultRow | None:
        """Return one result object of a study; None: it has none of that UID."""
        with self._database.read() as connection:
            row = connection.execute(
                select(
                    results.c.sop_instance_uid,
                    results.c.sop_class_uid,
                    results.c.profile,
                    results.c.transfer_syntax_uid,
                    results.c.path,
                )
                .join(versions, versions.c.id == results.c.version_id)
                .join(studies, studies.c.id == versions.c.study_id)
                .where(
                    results.c.sop_instance_uid == sop_instance_uid,
                    results.c.removed_at.is_(None),
                    studies.c.study_instance_uid == study_instance_uid,
                )
            ).one_or_none()
        return None if row is None else ResultRow(*row)

    def deliveries(self, study_id: int) -> Sequence[Any]:
        """Return every delivery of a study's results, with the result's columns."""
        with self._database.read() as connection:
            return connection.execute(
                select(deliveries, results.c.sop_instance_uid, results.c.sop_class_uid)
                .join(results, results.c.id == deliveries.c.result_id)
                .join(versions, versions.c.id == deliveries.c.version_id)
                .where(versions.c.study_id == study_id)
                .order_by(deliveries.c.id.desc())
                .limit(1000)
            ).all()

    def events(self, study_id: int, *, limit: int = 200) -> tuple[EventRow, ...]:
        """Return what happened to a study, the newest first, images left out."""
        with self._database.read() as connection:
            rows = connection.execute(
                select(events)
                .where(
                    events.c.study_id == study_id,
                    events.c.kind != EventKind.INSTANCE_RECEIVED,
                )
                .order_by(events.c.id.desc())
                .limit(limit)
            )
            return tuple(
                EventRow(row.id, row.at, row.kind, row.subject, row.detail)
                for row in rows
            )

    def paths(self, study_id: int) -> dict[str, str]:
        """Return the files of a study's instances by SOP Instance UID."""
        with self._database.read() as connection:
            rows = connection.execute(
                select(instances.c.sop_instance_uid, instances.c.path).where(
                    instances.c.study_id == study_id,
                    instances.c.is_conflict.is_(False),
                    instances.c.removed_at.is_(None),
                )
            )
            return {row.sop_instance_uid: row.path for row in rows}

    def priors(self, version_id: int, *, data_dir: Path) -> tuple[PriorStudy, ...]:
        """Return the earlier studies that were chosen for a version."""
        with self._database.read() as connection:
            chosen = connection.scalar(
                select(versions.c.priors).where(versions.c.id == version_id)
            )
            return read_priors(connection, chosen or [], data_dir=data_dir)

    def last_event_id(self) -> int:
        """Return the newest event's number."""
        with self._database.read() as connection:
            return int(connection.scalar(select(func.max(events.c.id))) or 0)

    def events_after(self, event_id: int, *, limit: int) -> tuple[EventRow, ...]:
        """Return the events after one, the oldest first; who reads changes nothing."""
        with self._database.read() as connection:
            rows = connection.execute(
                select(events, studies.c.study_instance_uid)
                .outerjoin(studies, studies.c.id == events.c.study_id)
                .where(events.c.id > event_id, events.c.kind.not_in(_READING))
                .order_by(events.c.id)
                .limit(limit)
            )
            return tuple(
                EventRow(
                    row.id,
                    row.at,
                    row.kind,
                    row.subject,
                    row.detail,
                    row.study_instance_uid,
                )
                for row in rows
            )

    def destinations(self) -> tuple[PendingDestination, ...]:
        """Return what each destination has and lacks."""
        with self._database.read() as connection:
            counted = deliveries_by_state(connection)
            oldest = connection.execute(
                select(deliveries.c.destination, func.min(results.c.created_at))
                .join(results, results.c.id == deliveries.c.result_id)
                .where(deliveries.c.state == DeliveryState.PENDING)
                .group_by(deliveries.c.destination)
            ).all()
        since = {row[0]: row[1] for row in oldest}
        names = sorted({name for name, _ in counted})
        return tuple(
            PendingDestination(
                name,
                {state: count for (of, state), count in counted.items() if of == name},
                since.get(name),
            )
            for name in names
        )

    def failing_destinations(self, *, before: datetime) -> dict[str, datetime]:
        """Return the destinations that have lacked a result for long, and since when.

        Parameters
        ----------
        before : datetime
            Only results count that were made before, and were tried since in vain.

        """
        since = func.min(results.c.created_at)
        with self._database.read() as connection:
            rows = connection.execute(
                select(deliveries.c.destination, since)
                .join(results, results.c.id == deliveries.c.result_id)
                .where(deliveries.c.state == DeliveryState.PENDING)
                .where(deliveries.c.attempts > 0, results.c.created_at < before)
                .group_by(deliveries.c.destination)
            ).all()
        return {row[0]: row[1] for row in rows}

    def version_counts(self) -> dict[str, int]:
        """Count the versions of all studies by state."""
        with self._database.read() as connection:
            return states(connection, of_versions=True)

    def count_ready(self, rules: Sequence[str]) -> int:
        """Count the versions that wait for the worker by one of these rules."""
        if not rules:
            return 0
        with self._database.read() as connection:
            found = connection.scalar(
                select(func.count())
                .select_from(versions)
                .where(
                    versions.c.state == VersionState.READY,
                    versions.c.rule.in_(list(rules)),
                )
            )
        return int(found or 0)
