"""One association, from the first byte to the last: PS3.8 9.2 as its acceptor.

One thread reads, decides, stores and answers, in that order. So nothing is read
before it can be dealt with, requests that a caller sends ahead wait in its own
buffers, and the states of PS3.8 Table 9-2 are places in this file: `_negotiate` is
Sta2 and Sta3, `_serve` is Sta6, `PduSocket.close` is Sta13.
"""

from __future__ import annotations

import struct
import time
from typing import Protocol

import structlog

from conformance.commitment import STORAGE_COMMITMENT_SOP_CLASS_UID
from conformance.profile import (
    ASSOCIATION_LIMITS,
    VERIFICATION_SOP_CLASS_UID,
    ContextResult,
    Rejection,
    Status,
)
from dicom_node.config import LimitSettings
from dicom_node.errors import (
    ConnectionLostError,
    PeerTooSlowError,
    ProtocolViolationError,
    TransportError,
)
from dicom_node.receive import InstanceReceiver, Reception, StoreAnswer, StoreRequest
from dicom_node.scp.arriving import Arriving, Progress
from dicom_node.scp.dimse import Command, CommandField, decode_command, encode_response
from dicom_node.scp.normalized import (
    CommitmentHandler,
    CommitmentTalk,
    NormalizedAnswer,
    NormalizedMessage,
)
from dicom_node.scp.pdu import (
    RELEASE_RESPONSE,
    AbortReason,
    AnsweredContext,
    AssociateRequest,
    PduType,
    abort_reason,
    abort_reason_of,
    answer_context,
    decode_associate_request,
    encode_abort,
    encode_associate_accept,
    encode_associate_reject,
    encode_p_data,
    not_a_request,
)
from dicom_node.scp.transport import PduSocket

__all__ = ["Acceptor", "AcceptorHost"]

log = structlog.get_logger(__name__)

_PDV_HEADER = struct.Struct(">LBB")
_IS_COMMAND = 0x01
_IS_LAST = 0x02
_LINGER_S = 2.0
_LEAST_BYTES_PER_S = 1024
_PDV_COST_BYTES = 12
"""What each fragment counts on top of its data, so that empty ones are not free."""


class AcceptorHost(Protocol):
    """What an association asks of the server that it belongs to."""

    limits: LimitSettings
    receiver: InstanceReceiver
    commitments: CommitmentHandler | None

    @property
    def is_stopping(self) -> bool:
        """Whether idle associations are to end."""

    def admit(
        self, acceptor: Acceptor, request: AssociateRequest, address: str
    ) -> Rejection | None:
        """Let an association in, or say why not."""

    def answered(self, answer: StoreAnswer) -> None:
        """Take note of an answer to a C-STORE."""

    def ended(self, acceptor: Acceptor, *, is_aborted: bool) -> None:
        """Take note that an association that was let in has ended."""


class Acceptor:
    """Serves one connection until it ends.

    Parameters
    ----------
    host : AcceptorHost
        The server.
    pdus : PduSocket
        The connection.
    address : str
        Where it comes from.

    """

    def __init__(self, host: AcceptorHost, pdus: PduSocket, *, address: str) -> None:
        self.pdus = pdus
        self.is_admitted = False
        self.study_instance_uids: set[str] = set()
        """Studies that it brought something of."""
        self.address = address
        self.certificate_sha256: str | None = None  # that the caller showed
        self.answered_at = time.monotonic()
        """When it was opened, or a request of it was answered last."""
        self._host = host
        self._calling_ae_title = ""
        self._contexts: dict[int, AnsweredContext] = {}
        self._max_pdu_length = 0
        self._progress = Progress()

    @property
    def is_idle(self) -> bool:
        """Whether it waits for a request, none being under way."""
        return self.is_admitted and self._progress.is_between_requests

    @property
    def is_slow(self) -> bool:
        """Whether its request brings next to nothing, measured from the last answer."""
        elapsed_s = time.monotonic() - self.answered_at
        return self._progress.bytes_received < _LEAST_BYTES_PER_S * elapsed_s

    def run(self) -> None:
        """Serve the connection to its end. Nothing is raised."""
        linger_s = _LINGER_S
        is_aborted = True
        try:
            if self._negotiate():
                self._serve()
                is_aborted = False
        except ConnectionLostError:
            linger_s = 0.0
            if self.is_admitted and self._host.is_stopping:
                self._abort(None)
        except (ProtocolViolationError, PeerTooSlowError) as error:
            linger_s = 0.1
            self._log_abort(error)
            self._abort(abort_reason(error))
        except Exception as error:  # noqa: BLE001 - a thread has nobody to tell
            linger_s = 0.1
            self._log_abort(error)
            self._abort(AbortReason.NOT_SPECIFIED)
        finally:
            message = self._progress.message
            if message is not None and message.reception is not None:
                message.reception.abandon()
            if self.is_admitted:
                self._commitment.close(None)
                self._host.ended(self, is_aborted=is_aborted)
            self.pdus.close(linger_s=linger_s)

    def _negotiate(self) -> bool:
        """Answer the A-ASSOCIATE-RQ; return whether there is an association."""
        limits = self._host.limits
        kind, length = self.pdus.next_pdu(idle_timeout_s=limits.pdu_timeout_s)
        if kind != PduType.ASSOCIATE_RQ:
            raise not_a_request(kind)
        if length > ASSOCIATION_LIMITS.associate_bytes:
            raise ProtocolViolationError("A-ASSOCIATE-RQ is too long")
        request = decode_associate_request(self.pdus.read(length))
        if (rejection := self._host.admit(self, request, self.address)) is not None:
            self.pdus.send(encode_associate_reject(rejection))
            return False
        self._calling_ae_title = request.calling_ae_title
        self._max_pdu_length = request.max_pdu_length
        answers = [answer_context(context) for context in request.contexts]
        self._contexts = {
            answer.context_id: answer
            for answer in answers
            if answer.result is ContextResult.ACCEPTANCE
        }
        self._commitment = CommitmentTalk(
            self._host.commitments,
            calling_ae_title=request.calling_ae_title,
            peer_address=self.address,
            proposed=request.roles,
        )
        self.is_admitted = True
        self.pdus.send(
            encode_associate_accept(
                request,
                answers,
                max_pdu_bytes=limits.max_pdu_bytes,
                roles=self._commitment.roles,
            )
        )
        return True

    def _serve(self) -> None:
        """Serve requests until the caller releases or aborts."""
        while True:
            if self._host.is_stopping and self.is_idle:
                raise ConnectionLostError
            kind, length = self.pdus.next_pdu(
                idle_timeout_s=self._host.limits.idle_timeout_s
            )
            if kind == PduType.P_DATA_TF:
                self._read_p_data(length)
            elif kind == PduType.RELEASE_RQ:
                if not self._progress.is_between_requests:
                    raise ProtocolViolationError(
                        "release inside a request", reason=AbortReason.UNEXPECTED_PDU
                    )
                self.pdus.send(RELEASE_RESPONSE)
                return
            elif kind == PduType.ABORT:
                raise ConnectionLostError
            else:
                raise ProtocolViolationError(
                    "a PDU out of place", reason=abort_reason_of(kind)
                )

    def _read_p_data(self, length: int) -> None:
        if length > self._host.limits.max_pdu_bytes:
            raise ProtocolViolationError("P-DATA-TF is longer than negotiated")
        if not length:
            raise ProtocolViolationError("P-DATA-TF without a fragment")
        while length:
            if length < _PDV_HEADER.size:
                raise ProtocolViolationError("a fragment is cut short")
            header = self.pdus.read(_PDV_HEADER.size)
            item_length, context_id, control = _PDV_HEADER.unpack(header)
            # The item's length counts the context id and the control byte.
            if item_length < 2 or item_length + 4 > length:
                raise ProtocolViolationError("a fragment does not fit into its PDU")
            length -= item_length + 4
            self._spend(item_length - 2 + _PDV_COST_BYTES)
            if control & _IS_COMMAND:
                self._read_command(context_id, control, item_length - 2)
            else:
                self._read_data_set(context_id, control, item_length - 2)

    def _spend(self, count: int) -> None:
        self._progress.bytes_received += count
        if self._progress.bytes_received > self._host.limits.max_instance_bytes:
            raise ProtocolViolationError("an instance is larger than allowed")

    def _read_command(self, context_id: int, control: int, length: int) -> None:
        progress = self._progress
        if progress.message is not None:
            raise ProtocolViolationError("a command inside a data set")
        if context_id not in self._contexts:
            raise ProtocolViolationError("a context that was not accepted")
        if progress.context_id not in (None, context_id):
            raise ProtocolViolationError("a command in two contexts")
        if len(progress.command_bytes) + length > ASSOCIATION_LIMITS.command_bytes:
            raise ProtocolViolationError("the command set is too long")
        progress.context_id = context_id
        progress.command_bytes += self.pdus.read(length)
        if control & _IS_LAST:
            command = decode_command(bytes(progress.command_bytes))
            progress.command_bytes.clear()
            self._begin(context_id, command)

    def _read_data_set(self, context_id: int, control: int, length: int) -> None:
        message = self._progress.message
        if message is None or message.context_id != context_id:
            raise ProtocolViolationError("a data set without its command")
        for chunk in self.pdus.chunks(length):
            if message.reception is not None:
                message.reception.write(chunk)
            elif message.normalized is not None:
                message.normalized.write(chunk)
        if control & _IS_LAST:
            self._finish(message)

    def _begin(self, context_id: int, command: Command) -> None:
        """Decide what becomes of a request; answer it if it has no data set."""
        message = self._message(context_id, command)
        if command.field == CommandField.N_EVENT_REPORT_RSP:
            if not self._commitment.close(command.status):
                raise ProtocolViolationError("a response to nothing")
            # An event reply, if there is one, is thrown away.
            self._progress = Progress(message=message if command.has_data_set else None)
        elif command.field == CommandField.C_CANCEL_RQ:
            self._progress = Progress()  # PS3.7 9.3.2.3: there is no response.
        elif command.has_data_set:
            self._progress.message = message
        else:
            self._respond(message, message.status, message.comment)

    def _message(self, context_id: int, command: Command) -> Arriving:
        context = self._contexts[context_id]
        message = Arriving(context_id, command, None)
        if context.abstract_syntax == STORAGE_COMMITMENT_SOP_CLASS_UID:
            begun = self._commitment.begin(command)
            if isinstance(begun, NormalizedAnswer):
                return Arriving(context_id, command, None, None, *begun.refusal)
            return Arriving(context_id, command, None, begun)
        is_verification = context.abstract_syntax == VERIFICATION_SOP_CLASS_UID
        served = CommandField.C_ECHO_RQ if is_verification else CommandField.C_STORE_RQ
        if command.field != served:
            message.status = Status.UNRECOGNIZED_OPERATION
            message.comment = "the operation is not one of this service"
        elif command.affected_sop_class_uid != context.abstract_syntax:
            message.status = Status.SOP_CLASS_NOT_SUPPORTED
            message.comment = "the SOP class is not that of the context"
        elif not is_verification and not command.has_data_set:
            message.status = Status.MISTYPED_ARGUMENT
            message.comment = "C-STORE without a data set"
        elif not is_verification:
            message.reception = self._host.receiver.begin(
                StoreRequest(
                    sop_class_uid=command.affected_sop_class_uid,
                    sop_instance_uid=command.affected_sop_instance_uid,
                    transfer_syntax_uid=context.transfer_syntax or "",
                    calling_ae_title=self._calling_ae_title,
                    peer_address=self.address,
                )
            )
        return message

    def _finish(self, message: Arriving) -> None:
        if message.command.field == CommandField.N_EVENT_REPORT_RSP:
            self._progress = Progress()
        elif message.normalized is not None:
            self._finish_normalized(message, message.normalized)
        elif message.reception is None:
            self._respond(message, message.status, message.comment)
        else:
            self._answer_store(message, message.reception)

    def _answer_store(self, message: Arriving, reception: Reception) -> None:
        answer = reception.finish()
        if answer.instance is not None:
            self.study_instance_uids.add(answer.instance.study_instance_uid)
        self._host.answered(answer)
        try:
            self._respond(message, answer.status, answer.comment)
        finally:
            # The caller makes its next request meanwhile.
            reception.log_answer()

    def _finish_normalized(
        self, message: Arriving, normalized: NormalizedMessage
    ) -> None:
        syntax = self._contexts[message.context_id].transfer_syntax or ""
        answer = self._commitment.finish(normalized, transfer_syntax_uid=syntax)
        self._respond(message, answer.status, answer.comment)
        report = self._commitment.report(answer)
        if report is not None:
            self._send(message.context_id, report[0], is_command=True)
            self._send(message.context_id, report[1], is_command=False)

    def _respond(self, message: Arriving, status: int, comment: str) -> None:
        response = encode_response(message.command, status, comment)
        self._send(message.context_id, response, is_command=True)
        self._progress = Progress()
        self.answered_at = time.monotonic()

    def _send(self, context_id: int, data: bytes, *, is_command: bool) -> None:
        for pdu in encode_p_data(
            data,
            context_id=context_id,
            is_command=is_command,
            max_pdu_length=self._max_pdu_length,
        ):
            self.pdus.send(pdu)

    def _abort(self, reason: AbortReason | None) -> None:
        try:
            self.pdus.send(encode_abort(reason))
        except TransportError:
            return  # There is nobody left to tell.

    def _log_abort(self, error: Exception) -> None:
        log.warning(
            "association_aborted",
            peer_address=self.address,
            calling_ae_title=self._calling_ae_title,
            error=type(error).__name__,
            reason=str(error) if isinstance(error, TransportError) else "",
        )
