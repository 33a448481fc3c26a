"""Which study a report belongs to, and which of its reports counts.

A report that names a study by its UID belongs to that study and to no other. One
that names an accession number belongs to the studies of that number: an order may
have several. An accession number is unique only for its issuer, so the studies must
be of one patient, and of the report's patient where it names one; when that cannot be
told the report waits. Nothing is ever guessed between patients.

All of this is asked again whenever a study appears or tells more of itself, and a
report leaves a study that it no longer fits: where things end does not depend on the
order in which they came.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    Row,
    and_,
    exists,
    func,
    insert,
    or_,
    select,
    update,
)

from dicom_node.audit import EventKind
from dicom_node.records import IncomingReport, Report, ReportChannel, ReportStatus
from dicom_node.store.events import record_event
from dicom_node.store.schema import StudyState, instances, reports, studies

__all__ = [
    "ARRIVAL",
    "Doubt",
    "Match",
    "add_copy",
    "collect_again",
    "counted_report_ids",
    "counts",
    "has_counted_instance",
    "is_late_preliminary",
    "match_studies",
    "meet_reports",
    "note_report",
    "of_study",
    "patient_ids_of",
    "read_reports",
    "report_hashes",
    "settle",
    "source_of",
    "waits_with",
]

ARRIVAL = func.coalesce(reports.c.copy_of, reports.c.id)
"""When a report came: the row of a copy is younger than what it copies."""


class Doubt(StrEnum):
    """Why a report is not joined to a study that it names."""

    OTHER_PATIENT = "the report and the study are of different patients"
    WHICH_PATIENT = (
        "several studies have this accession number, and they may be of different "
        "patients"
    )


@dataclass(frozen=True, slots=True)
class Match:
    """The studies that a report belongs to; ``doubt`` is why it is none."""

    study_ids: tuple[int, ...] = ()
    doubt: Doubt | None = None


def match_studies(
    connection: Connection,
    *,
    study_instance_uid: str | None,
    accession_number: str | None,
    patient_ids: AbstractSet[str],
) -> Match:
    """Find the studies that a report belongs to.

    Parameters
    ----------
    connection : sqlalchemy.Connection
        A transaction.
    study_instance_uid, accession_number : str, optional
        What the report names; with a UID the accession number is not looked at.
    patient_ids : set of str
        Identifiers of the report's patient: a study has one of them. None: the
        report does not say whose it is.

    """
    if study_instance_uid:
        named = studies.c.study_instance_uid == study_instance_uid
    elif accession_number:
        named = studies.c.accession_number == accession_number
    else:
        return Match()
    rows = connection.execute(
        select(studies.c.id, studies.c.patient_id).where(named).order_by(studies.c.id)
    )
    return _choose([(row.id, row.patient_id) for row in rows], patient_ids)


def meet_reports(connection: Connection, study_id: int, *, now: datetime) -> None:
    """Give a study what is its own, when it appears or tells more of itself.

    Reports that no longer fit wait again: the study turns out to be another
    patient's, or another patient's study has the same accession number.
    """
    study = connection.execute(select(studies).where(studies.c.id == study_id)).one()
    changed: set[int] = set()
    for rows in _arrivals(connection, study):
        changed |= _give(connection, rows, study_id=study_id, now=now)
    for one in sorted(changed):
        settle(connection, of_study(one))
        collect_again(connection, one, now=now)


def settle(connection: Connection, group: ColumnElement[bool]) -> None:
    """Decide which reports of a group are current, and what each replaces.

    In the order of their arrival the next one with the same sender and identifier
    replaces the one before; one without an identifier replaces nothing. What says
    the same again changes nothing, and a preliminary report that comes after a final
    one is late, and never replaces it.

    Parameters
    ----------
    connection : sqlalchemy.Connection
        A write transaction.
    group : sqlalchemy clause
        Chooses the rows: the reports of one study, or those that wait for the same.

    """
    rows = connection.execute(
        select(reports)
        .where(group, reports.c.removed_at.is_(None))
        .order_by(ARRIVAL, reports.c.id)
    ).all()
    current: dict[tuple[str, ...], Row[Any]] = {}
    replaces: dict[int, int | None] = {}
    for row in rows:
        named = row.identifier or f" {row.sha256}"
        key = (row.channel, row.sender, named)
        before = current.get(key)
        replaces[row.id] = None
        if before is not None:
            is_late = is_late_preliminary(row.status, after=before.status)
            if is_late or row.sha256 == before.sha256:
                continue
            replaces[row.id] = before.id
        current[key] = row
    newest = {row.id for row in current.values()}
    for row in rows:
        is_current, before_id = row.id in newest, replaces[row.id]
        if (row.is_current, row.predecessor_id) != (is_current, before_id):
            connection.execute(
                update(reports)
                .where(reports.c.id == row.id)
                .values(is_current=is_current, predecessor_id=before_id)
            )


def is_late_preliminary(status: str, *, after: str) -> bool:
    """Tell whether a report is a preliminary one that its final one has overtaken."""
    return status == ReportStatus.PRELIMINARY and after != ReportStatus.PRELIMINARY


def counts(*, preliminary: bool) -> ColumnElement[bool]:
    """Return the claim that a report's text counts: nothing replaced or withdrew it.

    Preliminary reports count where ``preliminary`` says so.
    """
    silent = {ReportStatus.CANCELLED}
    if not preliminary:
        silent.add(ReportStatus.PRELIMINARY)
    return and_(reports.c.is_current, reports.c.status.not_in(silent))


def counted_report_ids(
    connection: Connection, study_id: int, *, counts_preliminary: bool
) -> list[int]:
    """Return the reports of a study whose text counts, oldest first."""
    return list(
        connection.scalars(
            select(reports.c.id)
            .where(of_study(study_id), counts(preliminary=counts_preliminary))
            .order_by(reports.c.id)
        )
    )


def read_reports(
    connection: Connection, report_ids: Iterable[int]
) -> tuple[Report, ...]:
    """Return reports by their rows, which never change in what they say."""
    rows = connection.execute(
        select(reports).where(reports.c.id.in_(list(report_ids))).order_by(reports.c.id)
    )
    return tuple(
        Report(
            text=row.text,
            source=source_of(row),
            status=ReportStatus(row.status),
            lasting_name=_lasting_name(row),
        )
        for row in rows
    )


def _lasting_name(row: Row[Any]) -> str | None:
    """Return what `settle` knows the next version of a report by."""
    if not row.identifier:
        return None
    return json.dumps([str(row.channel), row.sender, row.identifier])


def of_study(study_id: int) -> ColumnElement[bool]:
    """Return the claim that a report was joined to a study."""
    return reports.c.study_id == study_id


def report_hashes(connection: Connection, report_ids: Iterable[int]) -> list[str]:
    """Return a hash of each report: of its source, status and text."""
    rows = connection.execute(
        select(reports).where(reports.c.id.in_(list(report_ids))).order_by(reports.c.id)
    )
    return [f"{source_of(row)} {row.sha256}" for row in rows]


def source_of(row: Row[Any]) -> str:
    """Return what phrases name as their source: the channel and the node's number."""
    return f"{ReportChannel(row.channel)}:{row.id}"


def collect_again(connection: Connection, study_id: int, *, now: datetime) -> None:
    """Let a study with images of its own wait for the quiet time, from now."""
    connection.execute(
        update(studies)
        .where(
            studies.c.id == study_id,
            studies.c.is_prior.is_(False),
            has_counted_instance(),
        )
        .values(state=StudyState.COLLECTING, last_received_at=now)
    )


def has_counted_instance() -> ColumnElement[bool]:
    """Return the claim that a study of the query has an instance to process."""
    return exists().where(
        instances.c.study_id == studies.c.id,
        instances.c.is_own_result.is_(False),
        instances.c.is_conflict.is_(False),
        instances.c.removed_at.is_(None),
    )


def note_report(
    connection: Connection,
    kind: EventKind,
    row: Row[Any],
    *,
    study_id: int | None,
    now: datetime,
    reason: str | None = None,
) -> None:
    """Write an event about a report, without anything that it says."""
    detail: dict[str, str | int | float | bool | None] = {"status": row.status}
    if reason is not None:
        detail["reason"] = str(reason)
    record_event(
        connection,
        kind,
        at=now,
        study_id=study_id,
        subject=source_of(row),
        detail=detail,
    )


def patient_ids_of(row: Row[Any]) -> frozenset[str]:
    """Return the identifiers of a report's patient."""
    return frozenset(filter(None, (row.patient_id, *(row.other_patient_ids or ()))))


def waits_with(row: Row[Any] | IncomingReport) -> ColumnElement[bool]:
    """Return the claim that a report waits for the same as this one."""
    return and_(
        reports.c.study_id.is_(None),
        reports.c.study_instance_uid == row.study_instance_uid,
        reports.c.accession_number == row.accession_number,
        # Its sender may have mended whose it is.
        reports.c.patient_id == row.patient_id,
    )


def add_copy(connection: Connection, row: Row[Any], study_id: int) -> Row[Any]:
    """Give another study a report too, and return its row."""
    values = {key: value for key, value in row._mapping.items() if key != "id"}
    values |= {
        "study_id": study_id,
        "copy_of": row.copy_of or row.id,
        "predecessor_id": None,
        "is_current": False,
    }
    return connection.execute(insert(reports).values(values).returning(reports)).one()


def _choose(
    candidates: Sequence[tuple[int, str | None]], patient_ids: AbstractSet[str]
) -> Match:
    known = {one for _, one in candidates if one}
    if patient_ids and known:
        agreeing = tuple(key for key, one in candidates if one in patient_ids)
        if agreeing:
            return Match(agreeing)
        if any(not one for _, one in candidates):
            return Match(doubt=Doubt.WHICH_PATIENT)
        return Match(doubt=Doubt.OTHER_PATIENT)
    is_one_patient = len(known) == 1 and all(one for _, one in candidates)
    if len(candidates) > 1 and not is_one_patient:
        return Match(doubt=Doubt.WHICH_PATIENT)
    return Match(tuple(key for key, _ in candidates))


def _arrivals(connection: Connection, study: Row[Any]) -> list[list[Row[Any]]]:
    """Return what names a study: for each report that came, its rows."""
    named = reports.c.study_instance_uid == study.study_instance_uid
    if study.accession_number:
        by_order = and_(
            reports.c.study_instance_uid.is_(None),
            reports.c.accession_number == study.accession_number,
        )
        named = or_(named, by_order)
    found: dict[int, list[Row[Any]]] = {}
    for row in connection.execute(
        select(reports)
        .where(named, reports.c.removed_at.is_(None))
        .order_by(ARRIVAL, reports.c.id)
    ):
        found.setdefault(row.copy_of or row.id, []).append(row)
    return list(found.values())


def _give(
    connection: Connection, rows: Sequence[Row[Any]], *, study_id: int, now: datetime
) -> set[int]:
    """Let the rows of a report lie at its studies and nowhere else; return changed."""
    first = rows[0]
    match = match_studies(
        connection,
        study_instance_uid=first.study_instance_uid,
        accession_number=first.accession_number,
        patient_ids=patient_ids_of(first),
    )
    held = {row.study_id for row in rows}
    free = [row for row in rows if row.study_id not in match.study_ids]
    left = {row.study_id for row in free if row.study_id is not None}
    joined = [one for one in match.study_ids if one not in held]
    for one in joined:
        if free:
            row = free.pop(0)
            _move(connection, row, one)
        else:
            row = add_copy(connection, first, one)
        note_report(connection, EventKind.REPORT_JOINED, row, study_id=one, now=now)
    for row in free:
        _move(connection, row, None)
    if left:
        settle(connection, waits_with(first))
    if match.doubt is not None and any(row.is_current for row in rows):
        note_report(
            connection,
            EventKind.REPORT_HELD_BACK,
            first,
            study_id=study_id,
            now=now,
            reason=match.doubt,
        )
    return left | set(joined)


def _move(connection: Connection, row: Row[Any], study_id: int | None) -> None:
    if row.study_id != study_id:
        connection.execute(
            update(reports).where(reports.c.id == row.id).values(study_id=study_id)
        )
