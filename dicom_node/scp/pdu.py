"""The PDUs that open and close an association, PS3.8 9.3: bytes to records and back.

Received P-DATA-TF is not here: its fragments go from the socket to the disk without
becoming an object (`transport`, `acceptor`).
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import IntEnum

from conformance.profile import (
    ASSOCIATION_LIMITS,
    DICOM_APPLICATION_CONTEXT,
    IMPLEMENTATION_CLASS_UID,
    IMPLEMENTATION_VERSION_NAME,
    ContextResult,
    Rejection,
    choose_transfer_syntax,
)
from dicom_node.errors import PeerTooSlowError, ProtocolViolationError, TransportError

__all__ = [
    "RELEASE_RESPONSE",
    "AbortReason",
    "AnsweredContext",
    "AssociateRequest",
    "PduType",
    "ProposedContext",
    "abort_reason",
    "abort_reason_of",
    "answer_context",
    "decode_associate_request",
    "encode_abort",
    "encode_associate_accept",
    "encode_associate_reject",
    "encode_p_data",
    "not_a_request",
]


_TLS_HANDSHAKE = 0x16
"""First byte of a TLS connection: the content type, RFC 8446 5.1."""


class PduType(IntEnum):
    """The first byte of a PDU, PS3.8 9.3.1."""

    ASSOCIATE_RQ = 0x01
    ASSOCIATE_AC = 0x02
    ASSOCIATE_RJ = 0x03
    P_DATA_TF = 0x04
    RELEASE_RQ = 0x05
    RELEASE_RP = 0x06
    ABORT = 0x07


class AbortReason(IntEnum):
    """Why the service provider aborts, PS3.8 Table 9-26."""

    NOT_SPECIFIED = 0
    UNRECOGNIZED_PDU = 1
    UNEXPECTED_PDU = 2
    INVALID_PARAMETER = 6


class _Item(IntEnum):
    """Item types of the association PDUs, PS3.8 9.3.2 and D."""

    APPLICATION_CONTEXT = 0x10
    PRESENTATION_CONTEXT_RQ = 0x20
    PRESENTATION_CONTEXT_AC = 0x21
    ABSTRACT_SYNTAX = 0x30
    TRANSFER_SYNTAX = 0x40
    USER_INFORMATION = 0x50
    MAXIMUM_LENGTH = 0x51
    IMPLEMENTATION_CLASS_UID = 0x52
    ROLE_SELECTION = 0x54
    IMPLEMENTATION_VERSION_NAME = 0x55


_ITEM_HEADER = struct.Struct(">BxH")
_PDU_HEADER = struct.Struct(">BxL")
_P_DATA_HEADER = struct.Struct(">BxLLBB")
_IS_COMMAND = 0x01
_IS_LAST = 0x02
_FIXED_BYTES = 68
_NO_TRANSFER_SYNTAX = b"1.2.840.10008.1.2"

RELEASE_RESPONSE = _PDU_HEADER.pack(PduType.RELEASE_RP, 4) + bytes(4)
"""A-RELEASE-RP, PS3.8 9.3.7."""


@dataclass(frozen=True, slots=True)
class ProposedContext:
    """A presentation context of an A-ASSOCIATE-RQ, PS3.8 9.3.2.2."""

    context_id: int
    abstract_syntax: str
    transfer_syntaxes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class AssociateRequest:
    """What a caller asks for, PS3.8 9.3.2.

    AE titles are empty when they hold anything but printable ASCII. ``echoed`` are
    the 64 bytes that the answer repeats. ``max_pdu_length`` 0: no limit. ``roles`` maps
    a SOP class to whether the caller wants to be its SCU and SCP (PS3.7 D.3.3.4).
    """

    protocol_version: int
    called_ae_title: str
    calling_ae_title: str
    echoed: bytes
    application_context: str
    contexts: tuple[ProposedContext, ...]
    max_pdu_length: int
    roles: Mapping[str, tuple[bool, bool]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class AnsweredContext:
    """Our answer to a proposed context, PS3.8 9.3.3.2."""

    context_id: int
    abstract_syntax: str
    result: ContextResult
    transfer_syntax: str | None


def abort_reason(error: TransportError) -> AbortReason:
    """Say why trouble with the connection ends the association."""
    if isinstance(error, PeerTooSlowError):
        return AbortReason.NOT_SPECIFIED
    reason = error.facts.get("reason", AbortReason.INVALID_PARAMETER)
    return reason if isinstance(reason, AbortReason) else AbortReason.INVALID_PARAMETER


def abort_reason_of(kind: int) -> AbortReason:
    """Say why a PDU of this type, out of place, ends the association."""
    if kind in set(PduType):
        return AbortReason.UNEXPECTED_PDU
    return AbortReason.UNRECOGNIZED_PDU


def not_a_request(kind: int) -> ProtocolViolationError:
    """Say what a connection begins with where it does not with A-ASSOCIATE-RQ."""
    what = "something else before A-ASSOCIATE-RQ"
    if kind == _TLS_HANDSHAKE:
        what = "TLS on the port for plain DICOM"
    return ProtocolViolationError(what, reason=abort_reason_of(kind))


def answer_context(proposed: ProposedContext) -> AnsweredContext:
    """Answer a proposed context as the profile says."""
    result, transfer_syntax = choose_transfer_syntax(
        proposed.abstract_syntax, proposed.transfer_syntaxes
    )
    return AnsweredContext(
        proposed.context_id, proposed.abstract_syntax, result, transfer_syntax
    )


def decode_associate_request(body: bytes) -> AssociateRequest:
    """Decode the body of an A-ASSOCIATE-RQ.

    Parameters
    ----------
    body : bytes
        The PDU without its six header bytes.

    Raises
    ------
    ProtocolViolationError
        Lengths that do not fit, a missing item, more contexts or transfer syntaxes
        than `ASSOCIATION_LIMITS`, or context ids that are even or not distinct.

    """
    if len(body) < _FIXED_BYTES:
        raise ProtocolViolationError("A-ASSOCIATE-RQ is too short")
    application_context = ""
    contexts: list[ProposedContext] = []
    max_pdu_length = 0
    roles: dict[str, tuple[bool, bool]] = {}
    for kind, value in _items(body[_FIXED_BYTES:]):
        if kind == _Item.APPLICATION_CONTEXT:
            application_context = _uid(value)
        elif kind == _Item.PRESENTATION_CONTEXT_RQ:
            if len(contexts) == ASSOCIATION_LIMITS.contexts:
                raise ProtocolViolationError("too many presentation contexts")
            contexts.append(_decode_context(value))
        elif kind == _Item.USER_INFORMATION:
            max_pdu_length = _decode_max_length(value)
            roles = dict(_decode_roles(value))
    ids = {context.context_id for context in contexts}
    if len(ids) != len(contexts) or any(one % 2 == 0 for one in ids):
        raise ProtocolViolationError("presentation context ids are not distinct or odd")
    if not contexts:
        raise ProtocolViolationError("A-ASSOCIATE-RQ proposes no context")
    return AssociateRequest(
        protocol_version=int.from_bytes(body[:2], "big"),
        called_ae_title=_ae_title(body[4:20]),
        calling_ae_title=_ae_title(body[20:36]),
        echoed=bytes(body[4:_FIXED_BYTES]),
        application_context=application_context,
        contexts=tuple(contexts),
        max_pdu_length=max_pdu_length,
        roles=roles,
    )


def encode_associate_accept(
    request: AssociateRequest,
    contexts: Sequence[AnsweredContext],
    *,
    max_pdu_bytes: int,
    roles: Mapping[str, tuple[bool, bool]],
) -> bytes:
    """Encode an A-ASSOCIATE-AC, PS3.8 9.3.3.

    Other roles than ``roles``, asynchronous operations, user identity and extended
    negotiation that the caller proposed are not answered, which means the defaults
    (PS3.7 D.3.3).
    """
    user_information = (
        _item(_Item.MAXIMUM_LENGTH, struct.pack(">L", max_pdu_bytes))
        + _item(_Item.IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_CLASS_UID.encode())
        + b"".join(_encode_role(uid, *both) for uid, both in roles.items())
        + _item(_Item.IMPLEMENTATION_VERSION_NAME, IMPLEMENTATION_VERSION_NAME.encode())
    )
    body = b"".join(
        (
            b"\x00\x01\x00\x00",
            request.echoed,
            _item(_Item.APPLICATION_CONTEXT, DICOM_APPLICATION_CONTEXT.encode()),
            *(_encode_context(context) for context in contexts),
            _item(_Item.USER_INFORMATION, user_information),
        )
    )
    return _PDU_HEADER.pack(PduType.ASSOCIATE_AC, len(body)) + body


def encode_associate_reject(rejection: Rejection) -> bytes:
    """Encode an A-ASSOCIATE-RJ, PS3.8 9.3.4."""
    body = bytes((0, rejection.result, rejection.source, rejection.reason))
    return _PDU_HEADER.pack(PduType.ASSOCIATE_RJ, len(body)) + body


def encode_abort(reason: AbortReason | None) -> bytes:
    """Encode an A-ABORT by the service provider, or the service user (None)."""
    source = 0 if reason is None else 2
    body = bytes((0, 0, source, reason or 0))
    return _PDU_HEADER.pack(PduType.ABORT, len(body)) + body


def encode_p_data(
    data: bytes, *, context_id: int, is_command: bool, max_pdu_length: int
) -> Iterator[bytes]:
    """Yield a command or data set as P-DATA-TF PDUs, PS3.8 9.3.5.

    Parameters
    ----------
    data : bytes
        An encoded command set or data set.
    context_id : int
        Its presentation context.
    is_command : bool
        Which of the two it is.
    max_pdu_length : int
        What the peer takes; 0: no limit.

    """
    # Six bytes of each PDU go to the header of the fragment.
    room = max(max_pdu_length - 6 if max_pdu_length else len(data), 2)
    for start in range(0, len(data), room):
        piece = data[start : start + room]
        control = _IS_COMMAND if is_command else 0
        if start + room >= len(data):
            control |= _IS_LAST
        head = _P_DATA_HEADER.pack(
            PduType.P_DATA_TF, len(piece) + 6, len(piece) + 2, context_id, control
        )
        yield head + piece


def _items(data: bytes) -> Iterator[tuple[int, bytes]]:
    position = 0
    while position < len(data):
        if position + _ITEM_HEADER.size > len(data):
            raise ProtocolViolationError("an item is cut short")
        kind, length = _ITEM_HEADER.unpack_from(data, position)
        position += _ITEM_HEADER.size
        if position + length > len(data):
            raise ProtocolViolationError("an item is longer than what holds it")
        yield kind, data[position : position + length]
        position += length


def _decode_context(data: bytes) -> ProposedContext:
    if len(data) < 4:
        raise ProtocolViolationError("a presentation context is cut short")
    abstract_syntax = ""
    transfer_syntaxes: list[str] = []
    for kind, value in _items(data[4:]):
        if kind == _Item.ABSTRACT_SYNTAX:
            abstract_syntax = _uid(value)
        elif kind == _Item.TRANSFER_SYNTAX:
            if len(transfer_syntaxes) == ASSOCIATION_LIMITS.transfer_syntaxes:
                raise ProtocolViolationError("too many transfer syntaxes")
            transfer_syntaxes.append(_uid(value))
    return ProposedContext(data[0], abstract_syntax, tuple(transfer_syntaxes))


def _decode_max_length(data: bytes) -> int:
    for kind, value in _items(data):
        if kind == _Item.MAXIMUM_LENGTH and len(value) == 4:
            return int.from_bytes(value, "big")
    return 0


def _decode_roles(data: bytes) -> Iterator[tuple[str, tuple[bool, bool]]]:
    for kind, value in _items(data):
        if kind != _Item.ROLE_SELECTION:
            continue
        length = int.from_bytes(value[:2], "big")
        if len(value) != length + 4:
            raise ProtocolViolationError("a role selection does not fit")
        yield _uid(value[2:-2]), (bool(value[-2]), bool(value[-1]))


def _encode_role(uid: str, is_scu: bool, is_scp: bool) -> bytes:
    name = uid.encode()
    value = struct.pack(">H", len(name)) + name + bytes((is_scu, is_scp))
    return _item(_Item.ROLE_SELECTION, value)


def _encode_context(context: AnsweredContext) -> bytes:
    # A refused context carries a transfer syntax too: it must not be tested.
    syntax = (context.transfer_syntax or "").encode() or _NO_TRANSFER_SYNTAX
    head = bytes((context.context_id, 0, context.result, 0))
    return _item(
        _Item.PRESENTATION_CONTEXT_AC, head + _item(_Item.TRANSFER_SYNTAX, syntax)
    )


def _item(kind: _Item, value: bytes) -> bytes:
    return _ITEM_HEADER.pack(kind, len(value)) + value


def _uid(value: bytes) -> str:
    # Some callers pad these UIDs although PS3.8 F.1 forbids it.
    return value.rstrip(b"\0 ").decode("ascii", "replace")


def _ae_title(value: bytes) -> str:
    title = value.strip(b" \0")
    if not all(0x20 <= byte <= 0x7E and byte != 0x5C for byte in title):
        return ""
    return title.decode("ascii")
