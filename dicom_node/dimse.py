"""Command sets, PS3.7 6.3 and E: Implicit VR Little Endian, group 0000."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from enum import IntEnum

from conformance.profile import Status
from dicom_node.errors import ProtocolViolationError
from dicom_node.header import is_uid

__all__ = ["Command", "CommandField", "decode_command", "encode_response"]

_ELEMENT = struct.Struct("<HHL")
_NO_DATA_SET = 0x0101
_IS_RESPONSE = 0x8000
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


class CommandField(IntEnum):
    """Operations that the node serves, PS3.7 E.1-1."""

    C_STORE_RQ = 0x0001
    C_ECHO_RQ = 0x0030
    C_CANCEL_RQ = 0x0FFF


@dataclass(frozen=True, slots=True)
class Command:
    """A request. UIDs are as sent, without padding; empty where absent."""

    field: int
    message_id: int
    has_data_set: bool
    affected_sop_class_uid: str
    affected_sop_instance_uid: str


def decode_command(data: bytes) -> Command:
    """Decode a command set.

    Raises
    ------
    ProtocolViolationError
        It cannot be parsed, lacks Command Field, Command Data Set Type or (but in
        C-CANCEL) Message ID, or is a response: nothing was asked.

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
    if field & _IS_RESPONSE:
        raise ProtocolViolationError("a response to nothing")
    is_cancel = field == CommandField.C_CANCEL_RQ
    sop_class = values.get(_AFFECTED_SOP_CLASS_UID) or values.get(
        _REQUESTED_SOP_CLASS_UID, b""
    )
    return Command(
        field=field,
        message_id=0 if is_cancel else _number(values, _MESSAGE_ID),
        has_data_set=_number(values, _COMMAND_DATA_SET_TYPE) != _NO_DATA_SET,
        affected_sop_class_uid=_text(sop_class),
        affected_sop_instance_uid=_text(values.get(_AFFECTED_SOP_INSTANCE_UID, b"")),
    )


def encode_response(command: Command, status: Status, comment: str = "") -> bytes:
    """Encode the response to a request.

    Parameters
    ----------
    command : Command
        What is responded to.
    status : Status
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
    body = b"".join(
        _ELEMENT.pack(0, element, len(value)) + value for element, value in elements
    )
    return _ELEMENT.pack(0, _GROUP_LENGTH, 4) + struct.pack("<L", len(body)) + body


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
