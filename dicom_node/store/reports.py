"""Reports that came by HL7, FHIR or REST: kept, joined to their studies, replaced."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    Row,
    and_,
    func,
    insert,
    not_,
    or_,
    select,
    union,
)

from dicom_node.audit import EventKind
from dicom_node.errors import PatientMismatchError
from dicom_node.records import IncomingReport, ReportChannel, ReportStatus
from dicom_node.store.database import Database
from dicom_node.store.events import record_event
from dicom_node.store.report_joins import (
    Doubt,
    collect_again,
    counts,
    has_counted_instance,
    is_late_preliminary,
    match_studies,
    note_report,
    settle,
)
from dicom_node.store.schema import instances, reports, studies

__all__ = [
    "ReportOutcome",
    "ReportReceipt",
    "ReportStore",
    "StoredReport",
]


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


@dataclass(frozen=True, slots=True)
class StoredReport:
    """A report as it is kept; its text stays out of ``repr``."""

    report_id: int
    channel: ReportChannel
    sender: str
    status: ReportStatus
    text: str = field(repr=False)
    received_at: datetime
    is_current: bool
    """No later one replaced it."""
    predecessor_id: int | None = None


class ReportStore:
    """Reports by study.

    Parameters
    ----------
    database : Database
        Where they are kept.

    """

    def __init__(self, database: Database) -> None:
        self._database = database

    def record(
        self, report: IncomingReport, *, now: datetime | None = None
    ) -> ReportReceipt:
        """Keep a report, durable on return, and join it to the study that it names.

        Which study that is, `report_joins` says. The same sender and identifier
        replace what was there for the same study; who sends a report again under
        another study withdraws the first by a cancellation.

        Parameters
        ----------
        report : IncomingReport
            Checked by `inbox.ReportInbox`.
        now : datetime, optional
            The moment, from which the study is quiet; ``report.received_at`` when
            absent.

        Raises
        ------
        PatientMismatchError
            The study is another patient's; the report is not kept.
        StoreError
            The database could not answer; the report is not kept.

        """
        moment = now or report.received_at
        receipt = self._database.commit_together(
            lambda connection: _record(connection, report, moment)
        )
        if receipt is None:
            raise PatientMismatchError
        return receipt

    def of_study(self, study_instance_uid: str) -> tuple[StoredReport, ...]:
        """Return a study's reports, replaced ones too, oldest first."""
        with self._database.read() as connection:
            rows = connection.execute(
                select(reports)
                .join(studies, studies.c.id == reports.c.study_id)
                .where(studies.c.study_instance_uid == study_instance_uid)
                .order_by(reports.c.id)
            )
            return tuple(_stored(row) for row in rows)

    def waiting(self, limit: int = 100) -> tuple[StoredReport, ...]:
        """Return the newest reports that wait for their study or its first image."""
        with self._database.read() as connection:
            rows = connection.execute(
                select(reports)
                .outerjoin(studies, studies.c.id == reports.c.study_id)
                .where(_waits())
                .order_by(reports.c.id.desc())
                .limit(limit)
            )
            return tuple(_stored(row) for row in rows)

    def count_waiting(self) -> int:
        """Return how many reports wait for their study or its first image."""
        with self._database.read() as connection:
            found = connection.scalar(
                select(func.count())
                .select_from(reports)
                .outerjoin(studies, studies.c.id == reports.c.study_id)
                .where(_waits())
            )
        return int(found or 0)

    def studies_with_report(
        self,
        study_ids: Iterable[int],
        *,
        document_classes: Iterable[str],
        counts_preliminary: bool,
    ) -> set[int]:
        """Return which of these studies have a report, sent or as a document.

        Parameters
        ----------
        study_ids : iterable of int
            The studies' rows.
        document_classes : iterable of str
            SOP classes of the documents that may hold a report.
        counts_preliminary : bool
            Whether preliminary reports count.

        """
        wanted = list(study_ids)
        sent = select(reports.c.study_id).where(
            reports.c.study_id.in_(wanted), counts(preliminary=counts_preliminary)
        )
        documents = select(instances.c.study_id).where(
            instances.c.study_id.in_(wanted),
            instances.c.is_own_result.is_(False),
            instances.c.sop_class_uid.in_(list(document_classes)),
        )
        with self._database.read() as connection:
            return set(connection.scalars(union(sent, documents)))


def _record(
    connection: Connection, report: IncomingReport, now: datetime
) -> ReportReceipt | None:
    """Keep a report; None when its study is another patient's, which is an event."""
    match = match_studies(
        connection,
        study_instance_uid=report.study_instance_uid,
        accession_number=report.accession_number,
        patient_id=report.patient_id,
    )
    if match.doubt is Doubt.OTHER_PATIENT:
        record_event(
            connection,
            EventKind.REPORT_HELD_BACK,
            at=now,
            detail={
                "channel": report.channel,
                "status": report.status,
                "reason": str(match.doubt),
            },
        )
        return None
    receipts = [
        _keep(connection, report, key, now=now, doubt=match.doubt)
        for key in match.study_ids or (None,)
    ]
    return max(receipts, key=lambda one: _WEIGHT[one.outcome])


_WEIGHT = {
    ReportOutcome.DUPLICATE: 0,
    ReportOutcome.WAITING: 1,
    ReportOutcome.JOINED: 2,
}
"""Of the studies of one order, the one with most news is told."""


def _keep(
    connection: Connection,
    report: IncomingReport,
    study_id: int | None,
    *,
    now: datetime,
    doubt: Doubt | None,
) -> ReportReceipt:
    """Insert a report for one study, or for none yet, unless it is there."""
    group = (
        _waiting_with(report) if study_id is None else reports.c.study_id == study_id
    )
    study_uid = _study_with_images(connection, study_id)
    sha256 = _hash(report)
    known = _same(connection, group, report, sha256=sha256)
    if known is not None:
        return ReportReceipt(known, ReportOutcome.DUPLICATE, study_uid)
    row = connection.execute(
        insert(reports)
        .values(
            channel=report.channel,
            sender=report.sender,
            identifier=report.identifier,
            status=report.status,
            study_instance_uid=report.study_instance_uid,
            accession_number=report.accession_number,
            patient_id=report.patient_id,
            text=report.text,
            sha256=sha256,
            received_at=report.received_at,
            study_id=study_id,
            is_current=False,
        )
        .returning(reports)
    ).one()
    note_report(connection, EventKind.REPORT_RECEIVED, row, study_id=study_id, now=now)
    if doubt is not None:
        note_report(
            connection,
            EventKind.REPORT_HELD_BACK,
            row,
            study_id=study_id,
            now=now,
            reason=doubt,
        )
    settle(connection, group)
    if study_id is not None:
        collect_again(connection, study_id, now=now)
    outcome = ReportOutcome.WAITING if study_uid is None else ReportOutcome.JOINED
    return ReportReceipt(row.id, outcome, study_uid)


def _same(
    connection: Connection,
    group: ColumnElement[bool],
    report: IncomingReport,
    *,
    sha256: str,
) -> int | None:
    """Return the row that says the same already and need not be said again."""
    alike = and_(
        reports.c.channel == report.channel,
        reports.c.sender == report.sender,
        reports.c.identifier == report.identifier,
    )
    rows = connection.execute(
        select(reports).where(group, alike).order_by(reports.c.id)
    ).all()
    current = next((row for row in rows if row.is_current), None)
    if current is None:
        return None
    waiting = connection.scalars(
        select(reports.c.id).where(alike, reports.c.study_id.is_(None))
    )
    others = {*waiting} - {row.id for row in rows}
    is_late = is_late_preliminary(report.status, after=current.status)
    candidates = rows if is_late else [current]
    found = max((row.id for row in candidates if row.sha256 == sha256), default=None)
    # What waits under other names may turn out to be of this study, and the later one.
    return None if found is None or max(others, default=0) > found else found


def _study_with_images(connection: Connection, study_id: int | None) -> str | None:
    return connection.scalar(
        select(studies.c.study_instance_uid).where(
            studies.c.id == study_id, has_counted_instance()
        )
    )


def _waiting_with(report: IncomingReport) -> ColumnElement[bool]:
    return and_(
        reports.c.study_id.is_(None),
        reports.c.study_instance_uid == report.study_instance_uid,
        reports.c.accession_number == report.accession_number,
        # Its sender may have mended whose it is.
        reports.c.patient_id == report.patient_id,
    )


def _waits() -> ColumnElement[bool]:
    return and_(
        reports.c.is_current,
        or_(reports.c.study_id.is_(None), not_(has_counted_instance())),
    )


def _hash(report: IncomingReport) -> str:
    return hashlib.sha256(f"{report.status}\n{report.text}".encode()).hexdigest()


def _stored(row: Row[Any]) -> StoredReport:
    return StoredReport(
        report_id=row.id,
        channel=ReportChannel(row.channel),
        sender=row.sender,
        status=ReportStatus(row.status),
        text=row.text,
        received_at=row.received_at,
        is_current=row.is_current,
        predecessor_id=row.predecessor_id,
    )
