"""N-ACTION and N-EVENT-REPORT of storage commitment, as an acceptor hears them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

import structlog

from conformance.commitment import (
    REQUEST_ACTION_TYPE,
    STORAGE_COMMITMENT_SOP_CLASS_UID,
    STORAGE_COMMITMENT_SOP_INSTANCE_UID,
    EventType,
    NormalizedStatus,
)
from conformance.profile import ASSOCIATION_LIMITS
from dicom_node.errors import StoreError
from dicom_node.scp.dimse import Command, CommandField, encode_event_report

__all__ = [
    "CommitmentHandler",
    "CommitmentTalk",
    "NormalizedAnswer",
    "NormalizedMessage",
    "NormalizedRequest",
    "Report",
]

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class NormalizedRequest:
    """A request for the commitment service, whole."""

    is_report: bool
    """True: N-EVENT-REPORT; else N-ACTION."""
    calling_ae_title: str
    peer_address: str
    transfer_syntax_uid: str
    data_set: bytes


@dataclass(frozen=True, slots=True)
class Report:
    """An N-EVENT-REPORT to send on the association that asked for it."""

    key: int
    """What `CommitmentHandler.report_answered` is told."""
    event_type: EventType
    data_set: bytes
    """In the transfer syntax of the request."""


@dataclass(frozen=True, slots=True)
class NormalizedAnswer:
    """What is answered, and what is said after it.

    ``make_report`` is called when the answer is out: reading every file back takes
    longer than a peer waits for an answer. It raises StoreError.
    """

    status: NormalizedStatus
    comment: str = ""
    make_report: Callable[[], Report] | None = None

    @property
    def refusal(self) -> tuple[NormalizedStatus, str]:
        """Status and comment."""
        return self.status, self.comment


class CommitmentHandler(Protocol):
    """Who keeps requests for commitment and reports of it."""

    def take(self, request: NormalizedRequest) -> NormalizedAnswer:
        """Make a request or report durable and say what to answer."""

    def report_answered(self, key: int, status: int | None) -> None:
        """Take note of the answer to a report; None: the peer went without one."""


class NormalizedMessage:
    """Collects a request's data set, up to a limit.

    Parameters
    ----------
    is_report : bool
        It is an N-EVENT-REPORT.

    """

    def __init__(self, *, is_report: bool) -> None:
        self.is_report = is_report
        self._is_too_long = False
        self._data = bytearray()

    def write(self, data: memoryview) -> None:
        """Append bytes; beyond the limit they are thrown away."""
        if len(self._data) + len(data) > ASSOCIATION_LIMITS.normalized_bytes:
            self._is_too_long = True
            self._data.clear()
        if not self._is_too_long:
            self._data += data

    @property
    def data(self) -> bytes | None:
        """The data set; None: it is too long."""
        return None if self._is_too_long else bytes(self._data)


class CommitmentTalk:
    """Storage commitment on one association.

    Parameters
    ----------
    handler : CommitmentHandler, optional
        Who keeps what is said; None: everything is answered with a failure.
    calling_ae_title, peer_address : str
        The caller.
    proposed : mapping
        The roles that it proposes, by SOP class.

    """

    def __init__(
        self,
        handler: CommitmentHandler | None,
        *,
        calling_ae_title: str,
        peer_address: str,
        proposed: Mapping[str, tuple[bool, bool]],
    ) -> None:
        self._handler = handler
        self._calling_ae_title = calling_ae_title
        self._peer_address = peer_address
        self._report: Report | None = None
        self.roles = {
            uid: both
            for uid, both in proposed.items()
            if uid == STORAGE_COMMITMENT_SOP_CLASS_UID
        }
        """The answer to role selection, PS3.7 D.3.3.4: as proposed for commitment, none
        for other SOP classes, which means the default roles."""

    def begin(self, command: Command) -> NormalizedMessage | NormalizedAnswer:
        """Return what collects a request's data set, or why it is refused."""
        roles = self.roles.get(STORAGE_COMMITMENT_SOP_CLASS_UID, (True, False))
        return _refuse(command, roles=roles) or NormalizedMessage(
            is_report=command.field == CommandField.N_EVENT_REPORT_RQ
        )

    def finish(
        self, message: NormalizedMessage, *, transfer_syntax_uid: str
    ) -> NormalizedAnswer:
        """Hand a request on and return its answer; `report` says what follows it."""
        data = message.data
        if data is None:
            answer = NormalizedAnswer(
                NormalizedStatus.RESOURCE_LIMITATION, "the data set is too long"
            )
        elif self._handler is None:
            answer = NormalizedAnswer(
                NormalizedStatus.PROCESSING_FAILURE, "nobody keeps commitments here"
            )
        else:
            answer = self._handler.take(
                NormalizedRequest(
                    is_report=message.is_report,
                    calling_ae_title=self._calling_ae_title,
                    peer_address=self._peer_address,
                    transfer_syntax_uid=transfer_syntax_uid,
                    data_set=data,
                )
            )
        return answer

    def report(self, answer: NormalizedAnswer) -> tuple[bytes, bytes] | None:
        """Return the command and data set of the N-EVENT-REPORT after an answer."""
        if answer.make_report is None:
            return None
        self.close(None)
        try:
            self._report = answer.make_report()
        except StoreError as error:
            # Nothing is told: the peer has to ask again.
            log.warning("commitment_not_reported", reason=str(error))
            return None
        command = encode_event_report(
            sop_class_uid=STORAGE_COMMITMENT_SOP_CLASS_UID,
            sop_instance_uid=STORAGE_COMMITMENT_SOP_INSTANCE_UID,
            event_type=self._report.event_type,
            message_id=1,
        )
        return command, self._report.data_set

    def close(self, status: int | None) -> bool:
        """Note the answer to a report, or None at the end; return whether it waits."""
        report, self._report = self._report, None
        if report is not None and self._handler is not None:
            self._handler.report_answered(report.key, status)
        return report is not None


def _refuse(command: Command, *, roles: tuple[bool, bool]) -> NormalizedAnswer | None:
    """Say why a command is refused before its data set is read; None: it is not.

    Parameters
    ----------
    command : Command
        The request.
    roles : tuple of bool, bool
        Whether the caller is SCU and SCP. A report is heard in either role: callers
        leave the role selection out, and the Transaction UID says what is meant.

    """
    status, comment = None, ""
    is_action = command.field == CommandField.N_ACTION_RQ
    if not is_action and command.field != CommandField.N_EVENT_REPORT_RQ:
        status = NormalizedStatus.UNRECOGNIZED_OPERATION
        comment = "the operation is not one of this service"
    elif is_action and not roles[0]:
        status = NormalizedStatus.UNRECOGNIZED_OPERATION
        comment = "the caller is not SCU"
    elif command.affected_sop_class_uid != STORAGE_COMMITMENT_SOP_CLASS_UID:
        status = NormalizedStatus.SOP_CLASS_NOT_SUPPORTED
        comment = "the SOP class is not that of the context"
    elif command.affected_sop_instance_uid != STORAGE_COMMITMENT_SOP_INSTANCE_UID:
        status = NormalizedStatus.NO_SUCH_SOP_INSTANCE
        comment = "it is not the well-known instance"
    elif is_action and command.type_id != REQUEST_ACTION_TYPE:
        status = NormalizedStatus.NO_SUCH_ACTION_TYPE
        comment = "the action type is not 1"
    elif not is_action and command.type_id not in set(EventType):
        status = NormalizedStatus.NO_SUCH_EVENT_TYPE
        comment = "the event type is neither 1 nor 2"
    elif not command.has_data_set:
        status = NormalizedStatus.MISTYPED_ARGUMENT
        comment = "there is no data set"
    return None if status is None else NormalizedAnswer(status, comment)
