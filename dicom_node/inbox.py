"""The one door that every report comes in by, whichever channel brought it."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime

import structlog

from dicom_node.errors import PatientMismatchError, ReportRefusedError
from dicom_node.records import IncomingReport, ReportStatus
from dicom_node.store import ReportOutcome, ReportReceipt, Store

__all__ = ["MAX_TEXT_CHARACTERS", "ReportInbox", "ReportOutcome", "ReportReceipt"]

MAX_TEXT_CHARACTERS = 1 << 20
"""Longest text that is taken for a report: 150,000 words."""

_UID = re.compile(r"[0-9.]{1,64}")

_LENGTHS = {
    "sender": 128,
    "identifier": 128,
    "accession_number": 64,
    "patient_id": 64,
}
"""As wide as the columns: a longer value would not be found again."""

_CHANGES = frozenset({ReportStatus.CORRECTED, ReportStatus.CANCELLED})
"""Without an identifier nobody can tell what they change."""

_log = structlog.get_logger(__name__)


class ReportInbox:
    """Checks reports and hands them to the store.

    Parameters
    ----------
    store : Store
        Where they are kept.
    clock : callable
        Tells when they arrive: a sender's own time must not hold a study.

    """

    def __init__(self, store: Store, *, clock: Callable[[], datetime]) -> None:
        self._store = store
        self._clock = clock

    def accept(self, report: IncomingReport) -> ReportReceipt:
        """Keep a report, as `accept_all` keeps those of a message."""
        return self.accept_all([report])[0]

    def accept_all(
        self, arrived: Sequence[IncomingReport]
    ) -> tuple[ReportReceipt, ...]:
        """Keep the reports of one message: all or none, durable when this returns.

        Parameters
        ----------
        arrived : sequence of IncomingReport
            As the sender said them.

        Returns
        -------
        tuple of ReportReceipt
            For each its row, what became of it, and its study if it has one.

        Raises
        ------
        ReportRefusedError
            One names no study, holds no text, changes what it does not name, or has
            a value that cannot be kept. The message says which and quotes nothing.
        PatientMismatchError
            The study that one names by its UID is another patient's.
        StoreError
            The database could not answer.

        """
        checked = [_checked(one) for one in arrived]
        try:
            receipts = self._store.reports.record_all(checked, now=self._clock())
        except PatientMismatchError as error:
            _log.warning(
                "report_refused", channel=checked[0].channel, reason=str(error)
            )
            raise
        for report, receipt in zip(checked, receipts, strict=True):
            _log.info(
                "report_accepted",
                report=f"{report.channel}:{receipt.report_id}",
                status=report.status,
                outcome=receipt.outcome,
                study_instance_uid=receipt.study_instance_uid,
            )
        return receipts


def _checked(report: IncomingReport) -> IncomingReport:
    """Return the report in one form: plain line ends, no blanks around its names."""
    if len(report.text) > MAX_TEXT_CHARACTERS:
        msg = f"the report has more than {MAX_TEXT_CHARACTERS} characters"
        raise ReportRefusedError(msg)
    text = _plain(report.text)
    if not text.strip() and report.status is not ReportStatus.CANCELLED:
        raise ReportRefusedError("the report holds no text")
    values: dict[str, str | None] = {
        name: _plain(getattr(report, name) or "").strip() or None
        for name in (*_LENGTHS, "study_instance_uid")
    }
    for name, length in _LENGTHS.items():
        if len(values[name] or "") > length:
            msg = f"the report's {name.replace('_', ' ')} is longer than {length}"
            raise ReportRefusedError(msg)
    uid = values["study_instance_uid"]
    if uid is not None and not _UID.fullmatch(uid):
        raise ReportRefusedError("the report's Study Instance UID is no UID")
    if uid is None and values["accession_number"] is None:
        msg = "the report names neither a Study Instance UID nor an accession number"
        raise ReportRefusedError(msg)
    if not values["identifier"] and report.status in _CHANGES:
        msg = "a corrected or cancelled report must have the identifier of the first"
        raise ReportRefusedError(msg)
    others = [_plain(one).strip() for one in report.other_patient_ids]
    return replace(
        report,
        text=text,
        sender=values["sender"] or "",
        identifier=values["identifier"] or "",
        study_instance_uid=uid,
        accession_number=values["accession_number"],
        patient_id=values["patient_id"],
        other_patient_ids=tuple(dict.fromkeys(filter(None, others))),
    )


def _plain(text: str) -> str:
    """Return text with plain line ends, and nothing that a database cannot hold."""
    text = text.replace("\r\n", "\n").replace("\r", "\n").replace("\x0c", "\n")
    text = "".join(one for one in text if one in "\n\t" or ord(one) >= 32)
    return text.encode("utf-8", "replace").decode("utf-8")
