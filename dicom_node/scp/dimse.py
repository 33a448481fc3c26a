"""Command sets, PS3.7 6.3 and E: Implicit VR Little Endian, group 0000."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from enum import IntEnum

from dicom_node.errors import ProtocolViolationError
from dicom_node.header import is_uid

__all__ = [
    "Command",
    "CommandField",
    "decode_command",
    "encode_event_report",
    "encode_response",
]

_ELEMENT = struct.Struct("<HHL")
_NO_DATA_SET = 0x0101
_IS_RESPONSE = 0x8000
_HAS_DATA_SET = 0x0001
_MAX_COMMENT = 64

_GROUP_LENGTH = 0x0000
_AFFECTED_SOP_CLASS_UID = 0x0002
_REQUESTED_SOP_CLASS_UID = 0x0003
_COMMAND_FIELD = 0x0100
_MESSAGE_ID = 0x0110
_MESSAGE_ID_RESPONDED_TO = 0x0120
_COMMAND_DATA_SET_TYPE = 0x0800
_STATUS = 0x0900
_ERROR_COMMENT = 0x0902
_AFFECTED_SOP_INSTANCE_UID = 0x1000
_REQUESTED_SOP_INSTANCE_UID = 0x1001
_EVENT_TYPE_ID = 0x1002
_ACTION_TYPE_ID = 0x1008


class CommandField(IntEnum):
    """Operations that the node serves, PS3.7 E.1-1."""

    C_STORE_RQ = 0x0001
    C_ECHO_RQ = 0x0030
    N_EVENT_REPORT_RQ = 0x0100
    N_ACTION_RQ = 0x0130
    C_CANCEL_RQ = 0x0FFF
    N_EVENT_REPORT_RSP = 0x8100


@dataclass(frozen=True, slots=True)
class Command:
    """A request, or the response to an N-EVENT-REPORT.

    UIDs are as sent, without padding; empty where absent. SOP class and instance are
    the affected or the requested ones, whichever the operation has.
    """

    field: int
    message_id: int
    has_data_set: bool
    affected_sop_class_uid: str
    affected_sop_instance_uid: str
    type_id: int | None = None
    """Action Type ID or Event Type ID."""
    status: int | None = None
    """Of a response."""


def decode_command(data: bytes) -> Command:
    """Decode a command set.

    Raises
    ------
    ProtocolViolationError
        It cannot be parsed, lacks Command Field, Command Data Set Type or (but in
        C-CANCEL) Message ID, or is a response to something that is never asked.

    """
    values: dict[int, bytes] = {}
    position = 0
    while position < len(data):
        if position + _ELEMENT.size > len(data):
            raise ProtocolViolationError("a command element is cut short")
        group, element, length = _ELEMENT.unpack_from(data, position)
        position += _ELEMENT.size
        if group != 0 or position + length > len(data):
            raise ProtocolViolationError("the command set cannot be parsed")
        values[element] = data[position : position + length]
        position += length
    field = _number(values, _COMMAND_FIELD)
    is_response = field == CommandField.N_EVENT_REPORT_RSP
    if field & _IS_RESPONSE and not is_response:
        raise ProtocolViolationError("a response to nothing")
    is_cancel = field == CommandField.C_CANCEL_RQ
    message_id = _MESSAGE_ID_RESPONDED_TO if is_response else _MESSAGE_ID
    sop_class = values.get(_AFFECTED_SOP_CLASS_UID) or values.get(
        _REQUESTED_SOP_CLASS_UID, b""
    )
    return Command(
        field=field,
        message_id=0 if is_cancel else _number(values, message_id),
        has_data_set=_number(values, _COMMAND_DATA_SET_TYPE) != _NO_DATA_SET,
        affected_sop_class_uid=_text(sop_class),
        affected_sop_instance_uid=_text(
            values.get(_AFFECTED_SOP_INSTANCE_UID)
            or values.get(_REQUESTED_SOP_INSTANCE_UID, b"")
        ),
        type_id=_optional(values, _ACTION_TYPE_ID)
        if field == CommandField.N_ACTION_RQ
        else _optional(values, _EVENT_TYPE_ID),
        status=_number(values, _STATUS) if is_response else None,
    )


def encode_response(command: Command, status: int, comment: str = "") -> bytes:
    """Encode the response to a request.

    Parameters
    ----------
    command : Command
        What is responded to.
    status : int
        (0000,0900).
    comment : str
        (0000,0902), cut at 64 characters; absent when empty.

    """
    elements = [
        (_COMMAND_FIELD, _us(command.field | _IS_RESPONSE)),
        (_MESSAGE_ID_RESPONDED_TO, _us(command.message_id)),
        (_COMMAND_DATA_SET_TYPE, _us(_NO_DATA_SET)),
        (_STATUS, _us(status)),
    ]
    # What is no UID is not repeated: it may be an attack on whoever logs it.
    if is_uid(command.affected_sop_class_uid):
        uid = _pad(command.affected_sop_class_uid.encode(), b"\0")
        elements.insert(0, (_AFFECTED_SOP_CLASS_UID, uid))
    if comment:
        elements.append((_ERROR_COMMENT, _pad(_long_string(comment), b" ")))
    if is_uid(command.affected_sop_instance_uid):
        uid = _pad(command.affected_sop_instance_uid.encode(), b"\0")
        elements.append((_AFFECTED_SOP_INSTANCE_UID, uid))
    return _encode(elements)


def encode_event_report(
    *, sop_class_uid: str, sop_instance_uid: str, event_type: int, message_id: int
) -> bytes:
    """Encode an N-EVENT-REPORT-RQ that a data set follows, PS3.7 10.3.1.1."""
    return _encode(
        [
            (_AFFECTED_SOP_CLASS_UID, _pad(sop_class_uid.encode(), b"\0")),
            (_COMMAND_FIELD, _us(CommandField.N_EVENT_REPORT_RQ)),
            (_MESSAGE_ID, _us(message_id)),
            (_COMMAND_DATA_SET_TYPE, _us(_HAS_DATA_SET)),
            (_AFFECTED_SOP_INSTANCE_UID, _pad(sop_instance_uid.encode(), b"\0")),
            (_EVENT_TYPE_ID, _us(event_type)),
        ]
    )


def _encode(elements: list[tuple[int, bytes]]) -> bytes:
    body = b"".join(
        _ELEMENT.pack(0, element, len(value)) + value for element, value in elements
    )
    return _ELEMENT.pack(0, _GROUP_LENGTH, 4) + struct.pack("<L", len(body)) + body


def _optional(values: dict[int, bytes], element: int) -> int | None:
    value = values.get(element, b"")
    return int.from_bytes(value, "little") if len(value) == 2 else None


def _number(values: dict[int, bytes], element: int) -> int:
    value = values.get(element, b"")
    if len(value) != 2:
        raise ProtocolViolationError("the command set lacks a mandatory element")
    return int.from_bytes(value, "little")


def _text(value: bytes) -> str:
    return value.rstrip(b"\0 ").decode("ascii", "replace")


def _long_string(text: str) -> bytes:
    # PS3.5 6.2, VR LO in the default repertoire: no controls and no backslash.
    allowed = (one if " " <= one <= "~" and one != "\\" else "?" for one in text)
    return "".join(allowed)[:_MAX_COMMENT].encode("ascii")


def _us(number: int) -> bytes:
    return struct.pack("<H", number)


def _pad(value: bytes, padding: bytes) -> bytes:
    return value + padding if len(value) % 2 else value
