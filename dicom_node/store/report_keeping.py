"""How reports that arrive are kept: all those of a message, or none."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, and_, insert, select

from dicom_node.audit import EventKind
from dicom_node.records import IncomingReport
from dicom_node.store.events import record_event
from dicom_node.store.report_joins import (
    ARRIVAL,
    Doubt,
    Match,
    add_copy,
    collect_again,
    has_counted_instance,
    is_late_preliminary,
    match_studies,
    note_report,
    of_study,
    patient_ids_of,
    settle,
    waits_with,
)
from dicom_node.store.schema import reports, studies

__all__ = ["ReportOutcome", "ReportReceipt", "keep_reports"]


class ReportOutcome(StrEnum):
    """What an arriving report is to the node."""

    JOINED = "joined"
    """A study with images has it."""
    WAITING = "waiting"
    """Its study, or the study's first image, is not here yet."""
    DUPLICATE = "duplicate"
    """The same text and status were there: nothing changes."""


@dataclass(frozen=True, slots=True)
class ReportReceipt:
    """What became of a report, durable when it is returned.

    ``study_instance_uid`` is the first of its studies, None when it waits for one.
    """

    report_id: int
    outcome: ReportOutcome
    study_instance_uid: str | None


def keep_reports(
    connection: Connection, arrived: Sequence[IncomingReport], *, now: datetime | None
) -> tuple[ReportReceipt, ...] | None:
    """Keep the reports of a message.

    Parameters
    ----------
    connection : sqlalchemy.Connection
        A write transaction.
    arrived : sequence of IncomingReport
        As their sender says them.
    now : datetime, optional
        The moment; ``received_at`` of each report when absent.

    Returns
    -------
    tuple of ReportReceipt, optional
        What became of each. None: a study is another patient's, which is an event;
        none of them is kept.

    """
    for one in arrived:
        if _is_mismatch(connection, one, now=now or one.received_at):
            return None
    return tuple(_record(connection, one, now or one.received_at) for one in arrived)


def _is_mismatch(
    connection: Connection, report: IncomingReport, *, now: datetime
) -> bool:
    """Whether the study that a report names by its UID is another patient's.

    This is an event. An accession number may be another issuer's, so that a report
    which names no more waits for the study that it means.
    """
    if _match(connection, report).doubt is not Doubt.OTHER_PATIENT:
        return False
    if report.study_instance_uid is None:
        return False
    record_event(
        connection,
        EventKind.REPORT_HELD_BACK,
        at=now,
        detail={
            "channel": report.channel,
            "status": report.status,
            "reason": str(Doubt.OTHER_PATIENT),
        },
    )
    return True


def _match(connection: Connection, report: IncomingReport) -> Match:
    return match_studies(
        connection,
        study_instance_uid=report.study_instance_uid,
        accession_number=report.accession_number,
        patient_ids=report.patient_ids,
    )


def _record(
    connection: Connection, report: IncomingReport, now: datetime
) -> ReportReceipt:
    """Keep a report at each of its studies, or waiting, unless it is there."""
    match = _match(connection, report)
    sha256 = _hash(report)
    groups = [of_study(one) for one in match.study_ids] or [waits_with(report)]
    known = [_same(connection, one, report, sha256=sha256) for one in groups]
    if None not in known:
        study_uid = _study_with_images(connection, match.study_ids)
        found = min(one for one in known if one is not None)
        return ReportReceipt(found, ReportOutcome.DUPLICATE, study_uid)
    rows = [_insert(connection, report, match.study_ids[:1], sha256=sha256)]
    rows += [add_copy(connection, rows[0], one) for one in match.study_ids[1:]]
    for row, group in zip(rows, groups, strict=True):
        note_report(
            connection, EventKind.REPORT_RECEIVED, row, study_id=row.study_id, now=now
        )
        settle(connection, group)
        if row.study_id is not None:
            collect_again(connection, row.study_id, now=now)
    if match.doubt is not None:
        note_report(
            connection,
            EventKind.REPORT_HELD_BACK,
            rows[0],
            study_id=None,
            now=now,
            reason=match.doubt,
        )
    study_uid = _study_with_images(connection, match.study_ids)
    outcome = ReportOutcome.WAITING if study_uid is None else ReportOutcome.JOINED
    return ReportReceipt(rows[0].id, outcome, study_uid)


def _insert(
    connection: Connection,
    report: IncomingReport,
    study_ids: Sequence[int],
    *,
    sha256: str,
) -> Row[Any]:
    return connection.execute(
        insert(reports)
        .values(
            channel=report.channel,
            sender=report.sender,
            identifier=report.identifier,
            status=report.status,
            study_instance_uid=report.study_instance_uid,
            accession_number=report.accession_number,
            patient_id=report.patient_id,
            other_patient_ids=list(report.other_patient_ids),
            text=report.text,
            sha256=sha256,
            received_at=report.received_at,
            study_id=next(iter(study_ids), None),
            is_current=False,
        )
        .returning(reports)
    ).one()


def _same(
    connection: Connection,
    group: ColumnElement[bool],
    report: IncomingReport,
    *,
    sha256: str,
) -> int | None:
    """Return the row that says the same of the same and need not be said again."""
    alike = and_(
        reports.c.channel == report.channel,
        reports.c.sender == report.sender,
        reports.c.identifier == report.identifier,
    )
    if not report.identifier:
        alike = and_(alike, reports.c.sha256 == sha256)
    rows = connection.execute(
        select(reports)
        .where(group, alike, reports.c.removed_at.is_(None))
        .order_by(ARRIVAL, reports.c.id)
    ).all()
    current = next((row for row in rows if row.is_current), None)
    if current is None:
        return None
    # What came under other names may yet turn out to be of other studies.
    named = [row for row in rows if _names_the_same(row, report)]
    is_late = is_late_preliminary(report.status, after=current.status)
    if not is_late:
        # What came after the current one and says the same changed nothing either.
        named = [
            row
            for row in named
            if row.sha256 == current.sha256 and _arrival(row) >= _arrival(current)
        ]
    if not named or named[-1].sha256 != sha256:
        return None
    found = named[-1]
    waiting = connection.scalars(
        select(ARRIVAL).where(alike, reports.c.study_id.is_(None))
    )
    others = {*waiting} - {_arrival(row) for row in rows}
    # What waits under other names may turn out to be of this study, and the later one.
    return None if max(others, default=0) > _arrival(found) else int(found.id)


def _names_the_same(row: Row[Any], report: IncomingReport) -> bool:
    return (
        row.study_instance_uid == report.study_instance_uid
        and row.accession_number == report.accession_number
        and patient_ids_of(row) == report.patient_ids
    )


def _arrival(row: Row[Any]) -> int:
    return int(row.copy_of or row.id)


def _study_with_images(connection: Connection, study_ids: Iterable[int]) -> str | None:
    return connection.scalar(
        select(studies.c.study_instance_uid)
        .where(studies.c.id.in_(list(study_ids)), has_counted_instance())
        .order_by(studies.c.id)
        .limit(1)
    )


def _hash(report: IncomingReport) -> str:
    return hashlib.sha256(f"{report.status}\n{report.text}".encode()).hexdigest()
