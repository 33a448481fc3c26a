"""What retention may delete: rows first, and then the files that no row names."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import (
    ColumnElement,
    Connection,
    and_,
    delete,
    func,
    literal,
    not_,
    or_,
    select,
    tuple_,
)

from dicom_node.audit import EventKind
from dicom_node.store.database import Database
from dicom_node.store.events import record_event
from dicom_node.store.lookups import has_some
from dicom_node.store.removable import (
    StudyPart,
    finished_at,
    is_asked_about,
    is_compared_with,
    is_failed,
    is_finished,
    is_quiet,
    no_newer_images,
    no_newer_results,
    size_of,
)
from dicom_node.store.removal import mark_images, mark_reports, mark_results
from dicom_node.store.schema import (
    DeliveryState,
    VersionState,
    cursors,
    deliveries,
    events,
    instances,
    remote_answers,
    remote_studies,
    reports,
    results,
    studies,
    versions,
)
from dicom_node.store.tallies import kept_bytes

__all__ = [
    "Candidate",
    "Freed",
    "HeldStudies",
    "RemovalRule",
    "RetentionStore",
]


@dataclass(frozen=True, slots=True)
class RemovalRule:
    """Why something may go."""

    reason: str
    """As the audit trail says it."""
    parts: frozenset[StudyPart]
    before: datetime | None = None
    """Only what has not changed since; None: whenever it is finished."""
    is_of_failed: bool = False
    """Studies that failed, or that a destination never took; else finished ones."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """A study of which a rule lets something go."""

    study_id: int
    study_instance_uid: str
    size_bytes: int
    """Of the parts that the rule names."""
    finished_at: datetime
    last_received_at: datetime


@dataclass(frozen=True, slots=True)
class Freed:
    """What was marked as removed; its files are still there."""

    size_bytes: int
    instances: int
    results: int


@dataclass(frozen=True, slots=True)
class HeldStudies:
    """Why studies may not be deleted: how many there are of each."""

    undelivered: Mapping[str, int]
    """By destination."""
    at_work: int
    """They collect, wait for the worker or are with it."""
    failed: int


class RetentionStore:
    """Removal of what is done with.

    Parameters
    ----------
    database : Database
        Every method raises StoreError when it cannot answer.

    """

    def __init__(self, database: Database) -> None:
        self._database = database

    def candidates(
        self, rule: RemovalRule, *, limit: int, after: Candidate | None = None
    ) -> tuple[Candidate, ...]:
        """Return studies of which a rule lets something go, the longest kept first.

        Parameters
        ----------
        rule : RemovalRule
            What goes.
        limit : int
            How many are a page.
        after : Candidate, optional
            The last of the page before.

        """
        beyond = []
        if after is not None:
            place = tuple_(studies.c.last_received_at, studies.c.id)
            moment = literal(after.last_received_at, studies.c.last_received_at.type)
            beyond.append(place > tuple_(moment, after.study_id))
        query = (
            select(
                studies.c.id,
                studies.c.study_instance_uid,
                size_of(rule.parts).label("size_bytes"),
                finished_at().label("finished_at"),
                studies.c.last_received_at,
            )
            .where(*_conditions(rule), *beyond)
            # By an index: to sort by another moment, all of them would be looked at.
            .order_by(studies.c.last_received_at, studies.c.id)
            .limit(limit)
        )
        with self._database.read() as connection:
            return tuple(
                Candidate(
                    row.id,
                    row.study_instance_uid,
                    int(row.size_bytes),
                    row.finished_at,
                    row.last_received_at,
                )
                for row in connection.execute(query)
            )

    def remove(
        self,
        study_id: int,
        rule: RemovalRule,
        *,
        now: datetime,
        is_busy: Callable[[str], bool],
    ) -> Freed | None:
        """Mark what a rule lets go of a study as removed, with its event.

        Parameters
        ----------
        study_id : int
            The study.
        rule : RemovalRule
            Asked again here, in the transaction of the change.
        now : datetime
            The moment.
        is_busy : callable
            Whether a study of this UID is being fetched.

        Returns
        -------
        Freed or None
            None: the rule does not hold any more, or somebody waits for the study.

        """
        with self._database.write() as connection:
            study = connection.execute(
                select(studies)
                .where(studies.c.id == study_id, *_conditions(rule))
                .with_for_update()
            ).one_or_none()
            if (
                study is None
                or is_busy(study.study_instance_uid)
                or is_compared_with(connection, study_id)
                or is_asked_about(connection, study_id, now=now)
            ):
                return None
            size = _size_now(connection, study_id, rule.parts)
            gone = {"instances": 0, "results": 0}
            if StudyPart.IMAGES in rule.parts:
                gone["instances"] = mark_images(connection, study_id, now=now)
            if StudyPart.RESULTS in rule.parts:
                gone["results"] = mark_results(connection, study_id, now=now)
            if any(gone.values()):
                record_event(
                    connection,
                    EventKind.STUDY_REMOVED,
                    at=now,
                    study_id=study_id,
                    detail={"reason": rule.reason, "size_bytes": size, **gone},
                )
            return Freed(size, **gone)

    def unfinished(self) -> set[int]:
        """Return studies of which a crash left what remote models had sent."""
        with self._database.read() as connection:
            return set(
                connection.scalars(
                    select(versions.c.study_id)
                    .join(remote_studies, remote_studies.c.version_id == versions.c.id)
                    .join(
                        remote_answers,
                        remote_answers.c.remote_study_id == remote_studies.c.id,
                    )
                    .where(versions.c.removed_at.is_not(None))
                    .distinct()
                )
            )

    def remove_waiting_reports(self, *, before: datetime, now: datetime) -> int:
        """Delete the text of reports whose study never came, or is gone."""
        is_left = or_(
            reports.c.study_id.is_(None),
            reports.c.study_id.in_(
                select(studies.c.id).where(studies.c.removed_at.is_not(None))
            ),
        )
        with self._database.write() as connection:
            return mark_reports(
                connection, and_(is_left, reports.c.received_at < before), now=now
            )

    def remove_events(self, *, before: datetime, limit: int) -> int:
        """Delete events that are older and that every reader has passed."""
        with self._database.write() as connection:
            passed = connection.scalar(select(func.min(cursors.c.position)))
            # What is looked up by its kind stays, and so does the newest, which tells
            # readers how far the trail goes.
            # The oldest rows are looked at, and not all: where none of them is old
            # enough, none that came later is.
            oldest = (
                select(events.c.id, events.c.at)
                .where(
                    events.c.kind.not_in(
                        [EventKind.FILES_RECONCILED, EventKind.FILE_MISSING]
                    ),
                    events.c.id < select(func.max(events.c.id)).scalar_subquery(),
                )
                .order_by(events.c.id)
                .limit(limit)
            )
            if passed is not None:
                oldest = oldest.where(events.c.id <= passed)
            keys = [row.id for row in connection.execute(oldest) if row.at < before]
            connection.execute(delete(events).where(events.c.id.in_(keys)))
            return len(keys)

    def kept_bytes(self) -> int:
        """Return the size of the images and results that are kept."""
        with self._database.read() as connection:
            return kept_bytes(connection)

    def kept_hashes(self, sha256s: Iterable[str]) -> set[str]:
        """Return which of these hashes are of an instance or result that is kept."""
        wanted = list(sha256s)
        with self._database.read() as connection:
            return {
                sha256
                for table in (instances, results)
                for sha256 in connection.scalars(
                    select(table.c.sha256).where(
                        table.c.sha256.in_(wanted), table.c.removed_at.is_(None)
                    )
                )
            }

    def held(self) -> HeldStudies:
        """Count the studies that may not be deleted."""
        is_here = studies.c.removed_at.is_(None)
        with self._database.read() as connection:
            undelivered = connection.execute(
                select(
                    deliveries.c.destination,
                    func.count(versions.c.study_id.distinct()),
                )
                .join(versions, versions.c.id == deliveries.c.version_id)
                .where(
                    deliveries.c.state.in_(
                        [one for one in DeliveryState if one != DeliveryState.DELIVERED]
                    ),
                    versions.c.removed_at.is_(None),
                )
                .group_by(deliveries.c.destination)
            ).all()
            at_work = connection.scalar(
                select(func.count())
                .select_from(studies)
                .where(is_here, not_(is_quiet()))
            )
            failed = connection.scalar(
                select(func.count())
                .select_from(studies)
                .where(is_here, studies.c.state == VersionState.FAILED)
            )
        return HeldStudies(
            {row[0]: row[1] for row in undelivered}, int(at_work or 0), int(failed or 0)
        )


def _conditions(rule: RemovalRule) -> list[ColumnElement[bool]]:
    has = {
        StudyPart.IMAGES: studies.c.removed_at.is_(None),
        StudyPart.RESULTS: has_some(
            select(versions.c.id).where(
                versions.c.study_id == studies.c.id,
                versions.c.result_dir.is_not(None),
                versions.c.removed_at.is_(None),
            )
        ),
    }
    conditions = [
        is_failed() if rule.is_of_failed else is_finished(),
        or_(*(has[part] for part in sorted(rule.parts))),
    ]
    if rule.before is not None:
        if StudyPart.IMAGES in rule.parts:
            conditions += [
                studies.c.last_received_at < rule.before,
                no_newer_images(rule.before),
            ]
        if StudyPart.RESULTS in rule.parts or rule.is_of_failed:
            conditions += [
                # None was made before the first image came: most are told by this.
                studies.c.first_received_at < rule.before,
                no_newer_results(rule.before),
            ]
    return conditions


def _size_now(connection: Connection, study_id: int, parts: Iterable[StudyPart]) -> int:
    return int(
        connection.scalar(select(size_of(parts)).where(studies.c.id == study_id)) or 0
    )
