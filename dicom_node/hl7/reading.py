"""From ORU^R01 to reports: one for each OBR with what follows it (HL7 v2 chapter 7)."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from dicom_node.errors import ReportRefusedError
from dicom_node.hl7.embedded import PdfReader, embedded_text
from dicom_node.hl7.message import Message, Segment
from dicom_node.hl7.tables import (
    OBSERVATION_STATUS,
    REPORT_STATUS,
    SECTION_OF_CODE,
    STUDY_UID_CODES,
    WITHDRAWN,
)
from dicom_node.hl7.text import plain_text
from dicom_node.records import IncomingReport, ReportChannel, ReportStatus
from dicom_node.reports.sections import SectionKind, section_kind, split_sections

__all__ = ["ACCESSION_FIELDS", "check_kind", "read_reports"]

ACCESSION_FIELDS = ("IPC-1", "OBR-18", "OBR-3", "OBR-20", "ORC-3")
"""Where the accession number is looked for: the first that is not empty. IPC-1 says so
by name; OBR-18 is where IHE Scheduled Workflow puts it; OBR-3 and ORC-3, the filler's
order number, are the accession number in most systems."""

_TEXT_TYPES = frozenset({"TX", "FT", "ST", ""})
_CODED_TYPES = frozenset({"CE", "CWE", "CF", "CNE"})
_NUMBER_TYPES = frozenset({"NM", "SN"})
_UID = re.compile(r"(?!.{65})(?:0|[1-9]\d*)(?:\.(?:0|[1-9]\d*))+")
_VERSION = re.compile(r"2(?:\.\d){0,2}")


@dataclass
class _Order:
    """An OBR with what belongs to it."""

    request: Segment
    common: Segment | None
    observations: list[Segment] = field(default_factory=list)
    others: dict[str, Segment] = field(default_factory=dict)

    def segment(self, name: str) -> Segment | None:
        if name == "OBR":
            return self.request
        return self.common if name == "ORC" else self.others.get(name)

    def value(self, place: str) -> str:
        """Return a field's first component, by its name such as ``OBR-18``."""
        name, _, number = place.partition("-")
        segment = self.segment(name)
        return "" if segment is None else segment.component(int(number))


def check_kind(message: Message) -> None:
    """Raise ReportRefusedError unless a message is one that brings reports.

    Its ``code`` is of table 0357: 200 message type, 201 event, 203 version.
    """
    code, event = message.kind
    if code != "ORU":
        msg = "only ORU messages are taken"
        raise ReportRefusedError(msg, code=200, field="MSH-9")
    if event not in ("R01", ""):
        msg = "only the event R01 is taken"
        raise ReportRefusedError(msg, code=201, field="MSH-9")
    version = message.header.component(12)
    if version and not _VERSION.fullmatch(version):
        msg = "only HL7 version 2 is taken"
        raise ReportRefusedError(msg, code=203, field="MSH-12")


def read_reports(
    message: Message,
    *,
    received_at: datetime,
    accession_fields: Sequence[str] = ACCESSION_FIELDS,
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
    read_pdf : callable, optional
        Returns the text of a PDF, or raises ReportError; asked about a report that
        has no text beside it.

    Returns
    -------
    tuple of IncomingReport
        One for each OBR with observations, at least one. Rows of OBX whose status
        (table 0085) withdraws them are left out; a group of nothing else is a
        cancelled report with an empty text.

    Raises
    ------
    ReportRefusedError
        The message is none of these, or a report of it names no study or has no
        text. Nothing of the message is then to be kept. ``code`` is of table 0357,
        ``field`` where it is.

    """
    check_kind(message)
    orders = _orders(message)
    if not orders:
        msg = "the message has no OBR segment"
        raise ReportRefusedError(msg, code=100, field="OBR")
    told = [
        one
        for one in orders
        if one.observations
        or REPORT_STATUS.get(one.value("OBR-25")) is ReportStatus.CANCELLED
    ]
    if not told:
        msg = "the message has no OBX segment"
        raise ReportRefusedError(msg, code=100, field="OBX")
    patient_id = _patient_id(message)
    sender = "/".join(
        filter(None, (message.header.component(3), message.header.component(4)))
    )
    return tuple(
        _report(
            one,
            received_at=received_at,
            accession_fields=accession_fields,
            patient_id=patient_id,
            sender=sender,
            read_pdf=read_pdf,
        )
        for one in told
    )


def _orders(message: Message) -> list[_Order]:
    orders: list[_Order] = []
    common: Segment | None = None
    for segment in message.segments:
        if segment.name == "ORC":
            common = segment
        elif segment.name == "OBR":
            orders.append(_Order(segment, common))
            common = None
        elif orders and segment.name == "OBX":
            orders[-1].observations.append(segment)
        elif orders:
            orders[-1].others.setdefault(segment.name, segment)
    return orders


def _report(
    order: _Order,
    *,
    received_at: datetime,
    accession_fields: Sequence[str],
    patient_id: str | None,
    sender: str,
    read_pdf: PdfReader | None,
) -> IncomingReport:
    accession = next(filter(None, map(order.value, accession_fields)), None)
    study = _study_instance_uid(order)
    if accession is None and study is None:
        msg = "the report names neither an accession number nor a study"
        raise ReportRefusedError(msg, code=101, field="OBR-18")
    status = _status(order)
    text = _text(order.observations)
    if not text.strip() and status is not ReportStatus.CANCELLED:
        text = embedded_text(order.observations, read_pdf=read_pdf)
    identifier = next(filter(None, map(order.value, ("OBR-3", "ORC-3", "OBR-2"))), "")
    return IncomingReport(
        text=text,
        channel=ReportChannel.HL7,
        status=status,
        identifier=identifier,
        sender=sender,
        received_at=received_at,
        study_instance_uid=study,
        accession_number=accession,
        patient_id=patient_id,
    )


def _patient_id(message: Message) -> str | None:
    """Return PID-3: the medical record number among several, else the first."""
    patient = next(message.named("PID"), None)
    if patient is None:
        return None
    found: list[tuple[str, str]] = []
    for index in range(len(patient.repetitions(3))):
        parts = [*patient.components(3, repetition=index), "", "", "", ""]
        if parts[0] and parts[0] != '""':
            found.append((parts[4].upper(), parts[0]))
    for kind in ("MR", "PI"):
        for named, value in found:
            if named == kind:
                return value
    # Version 2.2 and older have it in PID-2.
    return found[0][1] if found else patient.component(2) or None


def _study_instance_uid(order: _Order) -> str | None:
    """Return the study by ZDS-1, IPC-3 or the observation that names it."""
    named = [order.value("ZDS-1"), order.value("IPC-3")]
    named += [one.component(5) for one in order.observations if _names_study(one)]
    for value in filter(None, named):
        uid = value.removeprefix("urn:oid:")
        if not _UID.fullmatch(uid):
            msg = "the Study Instance UID is no UID"
            raise ReportRefusedError(msg, code=102, field="ZDS-1")
        return uid
    return None


def _names_study(observation: Segment) -> bool:
    names = observation.components(3)
    return any(one.upper() in STUDY_UID_CODES for one in names)


def _status(order: _Order) -> ReportStatus:
    given = order.value("OBR-25").upper()
    if given:
        if given not in REPORT_STATUS:
            msg = "the result status is not of table 0123"
            raise ReportRefusedError(msg, code=103, field="OBR-25")
        status = REPORT_STATUS[given]
        corrected = any(one.component(11) == "C" for one in order.observations)
        is_final = status is ReportStatus.FINAL
        return ReportStatus.CORRECTED if corrected and is_final else status
    rows = {
        code: OBSERVATION_STATUS.get(code)
        for code in (one.component(11).upper() for one in order.observations)
        if code
    }
    if None in rows.values():
        msg = "the observation status is not of table 0085"
        raise ReportRefusedError(msg, code=103, field="OBX-11")
    standing = {one for code, one in rows.items() if code not in WITHDRAWN}
    if rows and not standing:
        return ReportStatus.CANCELLED
    for one in (ReportStatus.PRELIMINARY, ReportStatus.CORRECTED, ReportStatus.FINAL):
        if one in standing:
            return one
    # Who says nothing has not said that it is final.
    return ReportStatus.PRELIMINARY


def _text(observations: Iterable[Segment]) -> str:
    """Join the text of the rows, with a heading where another section begins."""
    rows = [
        (_heading(one), value)
        for one in observations
        if one.component(11).upper() not in WITHDRAWN and not _names_study(one)
        for value in [_value(one)]
        if value is not None
    ]
    headings = {heading for heading, _ in rows}
    if headings <= {None, "FINDINGS"}:
        # One body, which may have headings of its own.
        return "\n".join(value for _, value in rows)
    lines: list[str] = []
    current: str | None = None
    for heading, value in rows:
        if heading != current:
            # What has no name does not belong to the section before it.
            name = heading or "REPORT"
            if lines:
                lines.append("")
            if not _begins_with(value, name):
                lines.append(f"{name}:")
            current = heading
        lines.append(value)
    return "\n".join(lines)


def _begins_with(text: str, heading: str) -> bool:
    """Whether a text brings a heading of that kind itself."""
    first = split_sections(text)[:1]
    return bool(first) and (
        first[0].start > 0
        and first[0].kind is section_kind(heading)
        and first[0].kind is not SectionKind.UNTITLED
    )


def _heading(observation: Segment) -> str | None:
    r"""Return the heading for OBX-3, None for one that names no section.

    ``18782-3^...^LN``, ``GDT``, ``71020&IMP^...`` and ``X^Impression`` are known.
    """
    delimiters = observation.delimiters
    raw = observation.repetitions(3)[0].split(delimiters.component)
    parts = [
        plain_text(sub, delimiters).strip()
        for one in raw
        for sub in one.split(delimiters.subcomponent)
    ]
    for part in parts:
        if part.upper() in SECTION_OF_CODE:
            return SECTION_OF_CODE[part.upper()]
    for part in parts:
        if part and section_kind(part) is not None:
            return part.upper()
    return None


def _value(observation: Segment) -> str | None:
    """Return OBX-5 as text, None for a type that has none."""
    kind = observation.component(2).upper()
    delimiters = observation.delimiters
    if kind in _TEXT_TYPES:
        # Components mean nothing in text: a "^" that was not escaped is a "^".
        return "\n".join(
            plain_text(one, delimiters) for one in observation.repetitions(5)
        )
    if kind in _CODED_TYPES:
        texts = (
            _coded_text(observation.components(5, repetition=index))
            for index in range(len(observation.repetitions(5)))
        )
        return "\n".join(filter(None, texts)) or None
    if kind in _NUMBER_TYPES:
        number = " ".join(filter(None, observation.components(5)))
        if not number:
            return None
        name = observation.component(3, 2) or observation.component(3)
        return f"{name}: {number} {observation.component(6)}".strip()
    return None


def _coded_text(parts: list[str]) -> str:
    """Return the words of a CE or CWE: original text, else text, else code."""
    parts = [*parts, *[""] * 9]
    return parts[8] or parts[1] or parts[4] or parts[0]
