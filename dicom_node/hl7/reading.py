"""From ORU^R01 to reports: one for each order (HL7 v2 chapter 7)."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

from dicom_node.errors import ReportRefusedError
from dicom_node.hl7.body import names_study, report_text, with_headings
from dicom_node.hl7.embedded import PdfReader, embedded_text
from dicom_node.hl7.message import Message
from dicom_node.hl7.orders import Request, read_requests
from dicom_node.hl7.tables import OBSERVATION_STATUS, REPORT_STATUS, WITHDRAWN
from dicom_node.records import IncomingReport, ReportChannel, ReportStatus

__all__ = ["ACCESSION_FIELDS", "check_kind", "read_reports"]

ACCESSION_FIELDS = ("IPC-1", "OBR-18", "OBR-3", "OBR-20", "ORC-3")
"""Where the accession number is looked for: the first that is not empty. IPC-1 says so
by name; OBR-18 is where IHE Scheduled Workflow puts it; OBR-3 and ORC-3, the filler's
order number, are the accession number in most systems."""

_BY_PROGRESS = (
    ReportStatus.PRELIMINARY,
    ReportStatus.CORRECTED,
    ReportStatus.FINAL,
)
"""Of several, the first of these counts."""

_UID = re.compile(r"(?!.{65})(?:0|[1-9]\d*)(?:\.(?:0|[1-9]\d*))+")
_VERSION = re.compile(r"2(?:\.\d){0,2}")


def check_kind(message: Message, *, processing_ids: Sequence[str] = ("P",)) -> None:
    """Raise ReportRefusedError unless a message is one that brings reports.

    Its ``code`` is of table 0357: 200 message type, 201 event, 202 processing id, 203
    version. Who leaves the processing id out (MSH-11, table 0103) means production.
    """
    code, event = message.kind
    if code != "ORU":
        msg = "only ORU messages are taken"
        raise ReportRefusedError(msg, code=200, field="MSH-9")
    if event not in ("R01", ""):
        msg = "only the event R01 is taken"
        raise ReportRefusedError(msg, code=201, field="MSH-9")
    if (message.header.component(11).upper() or "P") not in processing_ids:
        msg = "messages of this processing id are not taken"
        raise ReportRefusedError(msg, code=202, field="MSH-11")
    version = message.header.component(12)
    if version and not _VERSION.fullmatch(version):
        msg = "only HL7 version 2 is taken"
        raise ReportRefusedError(msg, code=203, field="MSH-12")


def read_reports(
    message: Message,
    *,
    received_at: datetime,
    accession_fields: Sequence[str] = ACCESSION_FIELDS,
    processing_ids: Sequence[str] = ("P",),
    read_pdf: PdfReader | None = None,
) -> tuple[IncomingReport, ...]:
    """Read the reports of an ORU^R01.

    Parameters
    ----------
    message : Message
        As it came.
    received_at : datetime
        When.
    accession_fields : sequence of str
        Where the accession number is looked for, in this order.
    processing_ids : sequence of str
        What MSH-11 may say.
    read_pdf : callable, optional
        Returns the text of a PDF, or raises ReportError; asked about a report that
        has no text beside it.

    Returns
    -------
    tuple of IncomingReport
        One for each order with observations, at least one; it is of the patient in
        the PID before it. Several OBR with one filler order number are one order:
        their texts follow each other. Rows of OBX whose status (table 0085)
        withdraws them are left out; a group of nothing else is a cancelled report
        with an empty text.

    Raises
    ------
    ReportRefusedError
        The message is none of these, or a report of it names no study or has no
        text. Nothing of the message is then to be kept. ``code`` is of table 0357,
        ``field`` where it is.

    """
    check_kind(message, processing_ids=processing_ids)
    requests = read_requests(message)
    if not requests:
        msg = "the message has no OBR segment"
        raise ReportRefusedError(msg, code=100, field="OBR")
    told = [
        one
        for one in requests
        if one.observations
        or REPORT_STATUS.get(one.value("OBR-25").upper()) is ReportStatus.CANCELLED
    ]
    if not told:
        msg = "the message has no OBX segment"
        raise ReportRefusedError(msg, code=100, field="OBX")
    sender = "/".join(
        filter(None, (message.header.component(3), message.header.component(4)))
    )
    parts = [
        _part(one, accession_fields=accession_fields, read_pdf=read_pdf) for one in told
    ]
    return tuple(
        IncomingReport(
            text=_joined(one),
            channel=ReportChannel.HL7,
            status=_least(one),
            identifier=one[0].identifier,
            sender=sender,
            received_at=received_at,
            study_instance_uid=next(
                filter(None, (part.study_instance_uid for part in one)), None
            ),
            accession_number=one[0].accession_number,
            patient_id=next(iter(one[0].patient_ids), None),
            other_patient_ids=one[0].patient_ids[1:],
        )
        for one in _by_order(parts)
    )


@dataclass(frozen=True)
class _Part:
    """What one OBR says of a report."""

    text: str
    status: ReportStatus
    procedure: str
    identifier: str
    study_instance_uid: str | None
    accession_number: str | None
    patient_ids: tuple[str, ...]

    def is_of(self, other: _Part) -> bool:
        """Whether both are of one order."""
        names = {self.study_instance_uid, other.study_instance_uid} - {None}
        return len(names) < 2 and (
            (self.identifier, self.accession_number, self.patient_ids)
            == (other.identifier, other.accession_number, other.patient_ids)
        )


def _by_order(parts: Iterable[_Part]) -> list[list[_Part]]:
    orders: list[list[_Part]] = []
    for part in parts:
        for order in orders:
            if all(part.is_of(one) for one in order):
                order.append(part)
                break
        else:
            orders.append([part])
    return orders


def _part(
    request: Request, *, accession_fields: Sequence[str], read_pdf: PdfReader | None
) -> _Part:
    accession = next(filter(None, map(request.value, accession_fields)), None)
    study = _study_instance_uid(request)
    if accession is None and study is None:
        msg = "the report names neither an accession number nor a study"
        raise ReportRefusedError(msg, code=101, field="OBR-18")
    status = _status(request)
    text = report_text(request.observations)
    if not text.strip() and status is not ReportStatus.CANCELLED:
        text = embedded_text(request.observations, read_pdf=read_pdf)
    numbers = map(request.value, ("OBR-3", "ORC-3", "OBR-2"))
    return _Part(
        text=text,
        status=status,
        procedure=request.procedure,
        identifier=next(filter(None, numbers), ""),
        study_instance_uid=study,
        accession_number=accession,
        patient_ids=request.patient_ids,
    )


def _joined(order: Sequence[_Part]) -> str:
    """Return the texts of an order, each under what was examined."""
    told = [one for one in order if one.status is not ReportStatus.CANCELLED]
    if len(told) < 2:
        return told[0].text if told else order[0].text
    return "\n\n".join(
        "\n\n".join(
            filter(None, (one.procedure and f"EXAMINATION: {one.procedure}", body))
        )
        for one in told
        for body in [with_headings(one.text)]
    )


def _least(order: Sequence[_Part]) -> ReportStatus:
    """Return how far an order is: as far as the least of what is not withdrawn."""
    found = {one.status for one in order}
    for one in _BY_PROGRESS:
        if one in found:
            return one
    return ReportStatus.CANCELLED


def _study_instance_uid(request: Request) -> str | None:
    """Return the study by ZDS-1, IPC-3 or the observation that names it."""
    named = [request.value("ZDS-1"), request.value("IPC-3")]
    named += [one.component(5) for one in request.observations if names_study(one)]
    for value in filter(None, named):
        uid = value.removeprefix("urn:oid:")
        if not _UID.fullmatch(uid):
            msg = "the Study Instance UID is no UID"
            raise ReportRefusedError(msg, code=102, field="ZDS-1")
        return uid
    return None


def _status(request: Request) -> ReportStatus:
    given = request.value("OBR-25").upper()
    if given:
        if given not in REPORT_STATUS:
            msg = "the result status is not of table 0123"
            raise ReportRefusedError(msg, code=103, field="OBR-25")
        status = REPORT_STATUS[given]
        corrected = any(one.component(11) == "C" for one in request.observations)
        is_final = status is ReportStatus.FINAL
        return ReportStatus.CORRECTED if corrected and is_final else status
    rows = {
        code: OBSERVATION_STATUS.get(code)
        for code in (one.component(11).upper() for one in request.observations)
        if code
    }
    if None in rows.values():
        msg = "the observation status is not of table 0085"
        raise ReportRefusedError(msg, code=103, field="OBX-11")
    standing = {one for code, one in rows.items() if code not in WITHDRAWN}
    if rows and not standing:
        return ReportStatus.CANCELLED
    for one in _BY_PROGRESS:
        if one in standing:
            return one
    # Who says nothing has not said that it is final.
    return ReportStatus.PRELIMINARY
