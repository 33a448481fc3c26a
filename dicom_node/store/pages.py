"""Queries behind the pages: the list of studies, and everything of one study."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Connection, Row, Select, and_, func, or_, select, tuple_

from dicom_node.store.database import Database
from dicom_node.store.schema import (
    DeliveryState,
    deliveries,
    instances,
    reports,
    results,
    series,
    studies,
    versions,
)
from dicom_node.store.tallies import states

__all__ = ["DeliverySummary", "PageStore", "StudyPage", "StudyRow"]

_SEARCHED = 2000
"""Names are looked for in the newest studies only: no index holds them."""


@dataclass(frozen=True, slots=True)
class DeliverySummary:
    """A study's results at one destination, by state."""

    destination: str
    delivered: int
    stored: int
    pending: int
    dead: int
    last_comment: str | None
    next_attempt_at: datetime | None


@dataclass(frozen=True, slots=True)
class StudyRow:
    """A study in the list."""

    id: int
    study_instance_uid: str
    state: str
    reason: str | None
    is_prior: bool
    rule: str | None
    priority: str | None
    attributes: dict[str, str]
    modalities: tuple[str, ...]
    instances: int
    versions: int
    has_report: bool
    """A report came for it by HL7, FHIR or REST."""
    first_received_at: datetime
    last_received_at: datetime
    images_removed_at: datetime | None
    """When retention deleted its images."""
    result_dir: str | None
    """Of the newest version that has results, relative to the data folder."""
    result_version: str | None
    deliveries: tuple[DeliverySummary, ...]


@dataclass(frozen=True, slots=True)
class StudyPage:
    """Some studies, newest first; ``next`` is where the page after it begins."""

    studies: tuple[StudyRow, ...]
    next: str | None
    counts: dict[str, int]
    """Of all studies, by state."""


class PageStore:
    """Reads what the pages show.

    Parameters
    ----------
    database : Database
        Where it is.

    """

    def __init__(self, database: Database) -> None:
        self._database = database

    def list_studies(
        self,
        *,
        limit: int,
        before: str | None = None,
        state: str | None = None,
        search: str = "",
    ) -> StudyPage:
        """Return studies, the newest first.

        Parameters
        ----------
        limit : int
            How many at most.
        before : str, optional
            ``next`` of the page before.
        state : str, optional
            Only studies in this state.
        search : str
            Patient ID, accession number or Study Instance UID; where it is none, a
            part of the patient's name in one of the newest 2000 studies.

        Raises
        ------
        ValueError
            ``before`` is no page.
        StoreError
            The database could not answer.

        """
        query = _newest_first()
        if state:
            query = query.where(studies.c.state == state)
        if before:
            query = query.where(
                tuple_(studies.c.last_received_at, studies.c.id)
                < tuple_(*_parse_cursor(before))
            )
        with self._database.read() as connection:
            if search.strip():
                rows = _search(connection, query, search.strip())[: limit + 1]
            else:
                rows = list(connection.execute(query.limit(limit + 1)))
            shown = rows[:limit]
            return StudyPage(
                studies=_describe(connection, shown),
                next=_cursor(shown[-1]) if len(rows) > limit else None,
                counts=states(connection),
            )

    def study(self, study_instance_uid: str) -> StudyRow | None:
        """Return one study; None: no such study was received."""
        with self._database.read() as connection:
            rows = connection.execute(
                _newest_first().where(
                    studies.c.study_instance_uid == study_instance_uid
                )
            ).all()
            found = _describe(connection, rows)
        return found[0] if found else None


def _newest_first() -> Select[Any]:
    return (
        select(
            studies,
            versions.c.reason,
            versions.c.rule,
            versions.c.priority,
        )
        .outerjoin(versions, versions.c.id == studies.c.latest_version_id)
        .order_by(studies.c.last_received_at.desc(), studies.c.id.desc())
    )


def _search(connection: Connection, query: Select[Any], text: str) -> list[Row[Any]]:
    exact = or_(
        studies.c.patient_id == text,
        studies.c.accession_number == text,
        studies.c.study_instance_uid == text,
    )
    if found := list(connection.execute(query.where(exact))):
        return found
    wanted = text.casefold().replace(",", " ").split()
    found = []
    for row in connection.execute(query.limit(_SEARCHED)):
        name = str((row.attributes or {}).get("PatientName", "")).casefold()
        if all(word in name for word in wanted):
            found.append(row)
    return found


def _cursor(row: Row[Any]) -> str:
    return f"{row.last_received_at.astimezone(UTC).isoformat()}~{row.id}"


def _parse_cursor(text: str) -> tuple[datetime, int]:
    moment, _, number = text.partition("~")
    parsed = datetime.fromisoformat(moment)
    return parsed if parsed.tzinfo else parsed.replace(tzinfo=UTC), int(number)


def _describe(connection: Connection, rows: Sequence[Row[Any]]) -> tuple[StudyRow, ...]:
    keys = [row.id for row in rows]
    counts = _count(
        connection, instances.c.study_id, keys, instances.c.removed_at.is_(None)
    )
    version_counts = _count(connection, versions.c.study_id, keys)
    with_report = _count(
        connection, reports.c.study_id, keys, reports.c.removed_at.is_(None)
    )
    answers = _newest_results(connection, keys)
    modalities = _modalities(connection, keys)
    delivered = _deliveries(connection, keys)
    return tuple(
        StudyRow(
            id=row.id,
            study_instance_uid=row.study_instance_uid,
            state=row.state,
            reason=row.reason,
            is_prior=row.is_prior,
            rule=row.rule,
            priority=row.priority,
            attributes=dict(row.attributes or {}),
            modalities=tuple(modalities[row.id]),
            instances=counts.get(row.id, 0),
            versions=version_counts.get(row.id, 0),
            has_report=row.id in with_report,
            first_received_at=row.first_received_at,
            last_received_at=row.last_received_at,
            images_removed_at=row.removed_at,
            result_dir=answers.get(row.id, (None, None))[0],
            result_version=answers.get(row.id, (None, None))[1],
            deliveries=tuple(delivered[row.id]),
        )
        for row in rows
    )


def _count(
    connection: Connection, column: Any, keys: list[int], *conditions: Any
) -> dict[int, int]:
    query = (
        select(column, func.count())
        .where(column.in_(keys), *conditions)
        .group_by(column)
    )
    return {row[0]: row[1] for row in connection.execute(query)}


def _newest_results(
    connection: Connection, keys: list[int]
) -> dict[int, tuple[str, str]]:
    """Return folder and content version of the newest results of each study."""
    newest = (
        select(func.max(versions.c.id))
        .where(
            versions.c.study_id.in_(keys),
            versions.c.result_dir.is_not(None),
            versions.c.removed_at.is_(None),
        )
        .group_by(versions.c.study_id)
    )
    rows = connection.execute(
        select(
            versions.c.study_id, versions.c.result_dir, versions.c.content_version
        ).where(versions.c.id.in_(newest))
    )
    return {row.study_id: (row.result_dir, row.content_version) for row in rows}


def _modalities(connection: Connection, keys: list[int]) -> defaultdict[int, list[str]]:
    """Return what each study's series are, our own results left out."""
    ours = (
        select(results.c.series_instance_uid)
        .join(versions, versions.c.id == results.c.version_id)
        .where(versions.c.study_id == series.c.study_id)
    )
    rows = connection.execute(
        select(series.c.study_id, series.c.modality)
        .where(
            series.c.study_id.in_(keys),
            series.c.modality.is_not(None),
            series.c.series_instance_uid.not_in(ours),
        )
        .distinct()
        .order_by(series.c.study_id, series.c.modality)
    )
    found: defaultdict[int, list[str]] = defaultdict(list)
    for row in rows:
        found[row.study_id].append(row.modality)
    return found


def _deliveries(
    connection: Connection, keys: Iterable[int]
) -> defaultdict[int, list[DeliverySummary]]:
    rows = connection.execute(
        select(
            versions.c.study_id,
            deliveries.c.destination,
            deliveries.c.state,
            deliveries.c.last_comment,
            deliveries.c.next_attempt_at,
        )
        .join(
            versions,
            and_(
                versions.c.id == deliveries.c.version_id,
                versions.c.study_id.in_(list(keys)),
            ),
        )
        .order_by(versions.c.study_id, deliveries.c.destination, deliveries.c.id)
    )
    grouped: dict[tuple[int, str], list[Any]] = defaultdict(list)
    for row in rows:
        grouped[row.study_id, row.destination].append(row)
    found: defaultdict[int, list[DeliverySummary]] = defaultdict(list)
    for (study_id, destination), items in grouped.items():
        number = {
            state: sum(one.state == state for one in items) for state in DeliveryState
        }
        waiting = [one for one in items if one.state != DeliveryState.DELIVERED]
        due = [
            one.next_attempt_at for one in items if one.state == DeliveryState.PENDING
        ]
        found[study_id].append(
            DeliverySummary(
                destination,
                delivered=number[DeliveryState.DELIVERED],
                stored=number[DeliveryState.STORED],
                pending=number[DeliveryState.PENDING],
                dead=number[DeliveryState.DEAD],
                last_comment=(waiting or items)[-1].last_comment,
                next_attempt_at=min(due, default=None),
            )
        )
    return found
