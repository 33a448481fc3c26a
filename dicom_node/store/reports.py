"""Reports that came by HL7, FHIR or REST: kept, joined to their studies, replaced."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Row, Select, func, select, union

from dicom_node.audit import EventKind
from dicom_node.errors import PatientMismatchError, ReportError
from dicom_node.records import IncomingReport, ReportChannel, ReportStatus
from dicom_node.store.database import Database
from dicom_node.store.events import record_event
from dicom_node.store.removal import mark_reports
from dicom_node.store.report_joins import ARRIVAL, counts, source_of
from dicom_node.store.report_keeping import (
    ReportOutcome,
    ReportReceipt,
    keep_reports,
)
from dicom_node.store.schema import instances, reports, studies

__all__ = [
    "ReportOutcome",
    "ReportReceipt",
    "ReportStore",
    "StoredReport",
]


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
    identifier: str = ""
    accession_number: str | None = None
    study_instance_uid: str | None = None
    """Of the study that has it, else the one that it names."""


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
        """Keep a report, as `record_all` keeps several."""
        return self.record_all([report], now=now)[0]

    def record_all(
        self, arrived: Sequence[IncomingReport], *, now: datetime | None = None
    ) -> tuple[ReportReceipt, ...]:
        """Keep the reports of one message, all or none, durable on return.

        Each is joined to the studies that it names: which these are, `report_joins`
        says. The same sender and identifier replace what was there for the same
        study; who sends a report again under another study withdraws the first by a
        cancellation.

        Parameters
        ----------
        arrived : sequence of IncomingReport
            Checked by `inbox.ReportInbox`.
        now : datetime, optional
            The moment, from which the studies are quiet; ``received_at`` of each
            report when absent.

        Raises
        ------
        PatientMismatchError
            A study that one of them names by its UID is another patient's; none of
            them is kept.
        StoreError
            The database could not answer; none of them is kept.

        """
        receipts = self._database.commit_together(
            lambda connection: keep_reports(connection, arrived, now=now)
        )
        if receipts is None:
            raise PatientMismatchError
        return receipts

    def get(self, report_id: int) -> StoredReport | None:
        """Return a report by its number, None when there is none."""
        with self._database.read() as connection:
            row = connection.execute(
                _stored_reports().where(reports.c.id == report_id)
            ).one_or_none()
            return None if row is None else _stored(row)

    def of_study(self, study_instance_uid: str) -> tuple[StoredReport, ...]:
        """Return a study's reports, replaced ones too, oldest first."""
        with self._database.read() as connection:
            rows = connection.execute(
                _stored_reports()
                .where(studies.c.study_instance_uid == study_instance_uid)
                .order_by(ARRIVAL, reports.c.id)
            )
            return tuple(_stored(row) for row in rows)

    def waiting(self, limit: int = 100) -> tuple[StoredReport, ...]:
        """Return the newest reports that wait for their study or its first image."""
        with self._database.read() as connection:
            rows = connection.execute(
                _stored_reports()
                .where(reports.c.waits.is_(True))
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
                .where(reports.c.waits.is_(True))
            )
        return int(found or 0)

    def forget_waiting(
        self, report_id: int, *, by: str, now: datetime | None = None
    ) -> None:
        """Delete the text of a report that waits: it is joined to no study any more.

        Parameters
        ----------
        report_id : int
            Of `waiting`.
        by : str
            Who asks: a person's name, or which door.
        now : datetime, optional
            The moment; the wall clock's when absent.

        Raises
        ------
        ReportError
            No report of that number waits.

        """
        moment = now or datetime.now(UTC)
        with self._database.write() as connection:
            row = connection.execute(
                select(reports).where(
                    reports.c.id == report_id, reports.c.waits.is_(True)
                )
            ).one_or_none()
            if row is None:
                raise ReportError("no report of that number waits")
            mark_reports(connection, reports.c.id == report_id, now=moment)
            record_event(
                connection,
                EventKind.REPORT_FORGOTTEN,
                at=moment,
                study_id=row.study_id,
                subject=source_of(row),
                detail={"report": report_id, "person": by},
            )

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
            instances.c.removed_at.is_(None),
            instances.c.sop_class_uid.in_(list(document_classes)),
        )
        with self._database.read() as connection:
            return set(connection.scalars(union(sent, documents)))


def _stored_reports() -> Select[Any]:
    return select(
        reports, studies.c.study_instance_uid.label("joined_study_uid")
    ).outerjoin(studies, studies.c.id == reports.c.study_id)


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
        identifier=row.identifier,
        accession_number=row.accession_number,
        study_instance_uid=row.joined_study_uid or row.study_instance_uid,
    )
