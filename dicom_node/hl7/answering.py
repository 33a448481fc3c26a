"""One message in, its answers out: acknowledged only when its reports are durable."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from datetime import datetime
from enum import StrEnum
from typing import Protocol

import structlog

from dicom_node.audit import Counters
from dicom_node.errors import (
    PatientMismatchError,
    ReportError,
    ReportRefusedError,
    StoreError,
)
from dicom_node.hl7.acknowledgement import (
    Acknowledgement,
    Kind,
    codes_to_send,
    make_acknowledgement,
)
from dicom_node.hl7.embedded import PdfReader
from dicom_node.hl7.message import Message
from dicom_node.hl7.reading import ACCESSION_FIELDS, read_reports
from dicom_node.records import IncomingReport

__all__ = ["Answering", "Inbox", "MessageOutcome"]

log = structlog.get_logger(__name__)

_REJECTED = frozenset({200, 201, 202, 203})
"""Codes of table 0357 that say: such a message is not taken. The answer is AR."""


class Inbox(Protocol):
    """Where reports go: `dicom_node.inbox.ReportInbox`."""

    def accept_all(self, arrived: Sequence[IncomingReport]) -> object:
        """Keep reports, all or none; they are durable when this returns."""
        ...


class MessageOutcome(StrEnum):
    """How a message went."""

    ACCEPTED = "accepted"
    REFUSED = "refused"
    """AE: its content."""
    REJECTED = "rejected"
    """AR: its type."""
    PATIENT_MISMATCH = "patient_mismatch"
    UNAVAILABLE = "unavailable"
    """AE: the database was away."""
    FAILED = "failed"
    """AE: an error of the node."""
    IGNORED = "ignored"
    """An acknowledgement of one of our answers."""


class Answering:
    """Takes messages and says what is answered.

    Parameters
    ----------
    inbox : Inbox
        Keeps the reports.
    clock : callable
        The time that reports came and answers are given.
    counters : Counters
        What ``/metrics`` tells.
    accession_fields : sequence of str
        Where accession numbers are looked for.
    processing_ids : sequence of str
        What MSH-11 may say (table 0103).
    read_pdf : callable, optional
        Returns the text of a PDF, or raises ReportError.

    """

    def __init__(
        self,
        inbox: Inbox,
        *,
        clock: Callable[[], datetime],
        counters: Counters,
        accession_fields: Sequence[str] = ACCESSION_FIELDS,
        processing_ids: Sequence[str] = ("P",),
        read_pdf: PdfReader | None = None,
    ) -> None:
        self._inbox = inbox
        self._clock = clock
        self._counters = counters
        self._accession_fields = tuple(accession_fields)
        self._processing_ids = tuple(processing_ids)
        self._read_pdf = read_pdf
        self._numbers = itertools.count(1)
        for outcome in MessageOutcome:
            counters.report_messages.labels("hl7", outcome.value)

    def answer(self, data: bytes) -> tuple[bytes, ...]:
        """Keep the reports of a message and return its answers, in order.

        Nothing is raised: what goes wrong is an answer. Of a message that is not
        accepted no report is kept.
        """
        header = Message.header_of(data)
        if header is not None and header.kind[0] == "ACK":
            # An answer to it would be answered in turn, for ever.
            self._count(MessageOutcome.IGNORED)
            return ()
        outcome, answer = self._take(data)
        self._count(outcome)
        if outcome is MessageOutcome.ACCEPTED:
            log.info("hl7_message_accepted", size_bytes=len(data))
        else:
            log.warning(
                "hl7_message_not_accepted",
                outcome=outcome.value,
                reason=answer.text,
                field=answer.field,
            )
        return self._answers(header, answer)

    def too_long(self, begun: bytes) -> tuple[bytes, ...]:
        """Return the answers to a message that is longer than allowed."""
        self._count(MessageOutcome.REFUSED)
        answer = Acknowledgement(Kind.ERROR, "the message is too long", 207)
        return self._answers(Message.header_of(begun), answer)

    def _take(self, data: bytes) -> tuple[MessageOutcome, Acknowledgement]:
        try:
            message = Message.parse(data)
            reports = read_reports(
                message,
                received_at=self._clock(),
                accession_fields=self._accession_fields,
                processing_ids=self._processing_ids,
                read_pdf=self._read_pdf,
            )
            self._inbox.accept_all(reports)
        except PatientMismatchError as error:
            return MessageOutcome.PATIENT_MISMATCH, _error(error, code=204, at="PID-3")
        except ReportRefusedError as error:
            code = int(str(error.facts.get("code", 207)))
            if code in _REJECTED:
                return MessageOutcome.REJECTED, _error(error, code=code, reject=True)
            return MessageOutcome.REFUSED, _error(error, code=code)
        except ReportError as error:
            return MessageOutcome.REFUSED, _error(error, code=207)
        except StoreError:
            text = "the node cannot keep it now: send it again"
            return MessageOutcome.UNAVAILABLE, Acknowledgement(Kind.ERROR, text, 207)
        except Exception as error:  # noqa: BLE001 - the sender must get an answer
            # No traceback: its text may quote the message.
            log.error("hl7_message_failed", error=type(error).__name__)  # noqa: TRY400
            text = "the node failed over this message"
            return MessageOutcome.FAILED, Acknowledgement(Kind.ERROR, text, 207)
        return MessageOutcome.ACCEPTED, Acknowledgement(Kind.ACCEPT)

    def _answers(
        self, header: Message | None, answer: Acknowledgement
    ) -> tuple[bytes, ...]:
        moment = self._clock()
        return tuple(
            make_acknowledgement(
                header,
                answer,
                code=code,
                control_id=f"{moment:%y%m%d%H%M%S}{next(self._numbers) % 10**8:08d}",
                moment=moment,
            ).encode("latin-1", "replace")
            for code in codes_to_send(header, answer.kind)
        )

    def _count(self, outcome: MessageOutcome) -> None:
        self._counters.report_messages.labels("hl7", outcome.value).inc()


def _error(
    error: ReportError, *, code: int, at: str = "", reject: bool = False
) -> Acknowledgement:
    kind = Kind.REJECT if reject else Kind.ERROR
    return Acknowledgement(kind, str(error), code, str(error.facts.get("field", at)))
