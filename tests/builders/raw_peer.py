"""A caller that speaks DICOM byte by byte, and so can break every rule."""

from __future__ import annotations

import io
import socket
import ssl
import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any

from pydicom.dataset import Dataset
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_dataset

__all__ = [
    "CT_IMAGE_STORAGE",
    "EXPLICIT_LITTLE",
    "IMPLICIT_LITTLE",
    "RawPeer",
    "Response",
    "associate_request",
    "command_set",
    "encode_data_set",
    "item",
    "make_instance",
    "p_data",
]

CT_IMAGE_STORAGE = "1.2.840.10008.5.1.4.1.1.2"
IMPLICIT_LITTLE = "1.2.840.10008.1.2"
EXPLICIT_LITTLE = "1.2.840.10008.1.2.1"
VERIFICATION = "1.2.840.10008.1.1"


@dataclass(frozen=True)
class Response:
    """A response's status and its Error Comment."""

    status: int
    comment: str
    elements: dict[int, bytes]


def item(kind: int, body: bytes) -> bytes:
    """Encode an item of an association PDU, PS3.8 9.3.2."""
    return struct.pack(">BxH", kind, len(body)) + body


def associate_request(
    contexts: Iterable[tuple[int, str, Sequence[str]]],
    *,
    called: str = "GROUNDING",
    calling: str = "PACS",
    max_pdu: int = 16384,
    application_context: str = "1.2.840.10008.3.1.1.1",
    version: int = 1,
    user_items: bytes = b"",
) -> bytes:
    """Encode an A-ASSOCIATE-RQ with contexts ``(id, abstract, transfer syntaxes)``."""
    body = struct.pack(">HH", version, 0)
    body += called.encode("latin-1").ljust(16) + calling.encode("latin-1").ljust(16)
    body += bytes(32) + item(0x10, application_context.encode())
    for context_id, abstract, transfers in contexts:
        value = bytes((context_id, 0, 0, 0)) + item(0x30, abstract.encode())
        value += b"".join(item(0x40, one.encode()) for one in transfers)
        body += item(0x20, value)
    user = item(0x51, struct.pack(">L", max_pdu)) + item(0x52, b"1.2.3") + user_items
    body += item(0x50, user)
    return struct.pack(">BxL", 1, len(body)) + body


def command_set(
    field: int,
    *,
    sop_class: str = CT_IMAGE_STORAGE,
    sop_instance: str = "",
    message_id: int = 1,
    has_data_set: bool = True,
) -> bytes:
    """Encode a command set, PS3.7 6.3."""

    def element(number: int, value: bytes) -> bytes:
        value += b"\0" * (len(value) % 2)
        return struct.pack("<HHL", 0, number, len(value)) + value

    body = element(0x0002, sop_class.encode("latin-1"))
    body += element(0x0100, struct.pack("<H", field))
    body += element(0x0110, struct.pack("<H", message_id))
    body += element(0x0800, struct.pack("<H", 1 if has_data_set else 0x0101))
    if sop_instance:
        body += element(0x1000, sop_instance.encode("latin-1"))
    return element(0x0000, struct.pack("<L", len(body))) + body


def p_data(
    data: bytes,
    *,
    context_id: int = 1,
    is_command: bool = False,
    is_last: bool = True,
    pdu_bytes: int = 16384,
) -> bytes:
    """Encode P-DATA-TF PDUs, one fragment each."""
    room = pdu_bytes - 6
    pieces = [data[at : at + room] for at in range(0, len(data), room)] or [b""]
    return b"".join(
        struct.pack(
            ">BxLLBB",
            4,
            len(piece) + 6,
            len(piece) + 2,
            context_id,
            is_command | (2 if is_last and number == len(pieces) - 1 else 0),
        )
        + piece
        for number, piece in enumerate(pieces)
    )


def make_instance(sop_instance: str = "1.2.3.4", **attributes: Any) -> Dataset:
    """Make a small CT instance without pixels; attributes are set or, None, removed."""
    ds = Dataset()
    ds.SOPClassUID = CT_IMAGE_STORAGE
    ds.SOPInstanceUID = sop_instance
    ds.StudyInstanceUID = "1.2.3"
    ds.SeriesInstanceUID = "1.2.3.1"
    ds.Modality = "CT"
    ds.PatientName = "ZZCANARY^NAME"
    ds.PatientID = "ZZCANARYID"
    for keyword, value in attributes.items():
        if value is None:
            delattr(ds, keyword)
        else:
            setattr(ds, keyword, value)
    return ds


def encode_data_set(ds: Dataset, transfer_syntax: str = EXPLICIT_LITTLE) -> bytes:
    """Encode a data set without file meta information."""
    buffer = DicomBytesIO()
    buffer.is_implicit_VR = transfer_syntax == IMPLICIT_LITTLE
    buffer.is_little_endian = transfer_syntax != "1.2.840.10008.1.2.2"
    write_dataset(buffer, ds)
    return buffer.getvalue()


class RawPeer:
    """A connection to the server under test."""

    def __init__(
        self,
        port: int,
        *,
        timeout_s: float = 5.0,
        source: str = "127.0.0.1",
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self.socket = socket.create_connection(
            ("127.0.0.1", port), timeout_s, source_address=(source, 0)
        )
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if tls is not None:
            try:
                self.socket = tls.wrap_socket(self.socket, server_hostname="127.0.0.1")
            except OSError:
                self.socket.close()
                raise

    def __enter__(self) -> RawPeer:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.socket.close()

    def send(self, data: bytes) -> None:
        """Send bytes."""
        self.socket.sendall(data)

    def associate(
        self,
        abstract: str = CT_IMAGE_STORAGE,
        transfers: Sequence[str] = (EXPLICIT_LITTLE,),
        **options: Any,
    ) -> bytes:
        """Ask for one context with id 1 and return the A-ASSOCIATE-AC's body."""
        self.send(associate_request([(1, abstract, transfers)], **options))
        kind, body = self.read_pdu()
        assert kind == 2, (kind, body)
        return body

    def read_pdu(self) -> tuple[int, bytes]:
        """Return the next PDU's type and body; type 0: the connection was closed."""
        try:
            head = self._read(6)
            return head[0], self._read(int.from_bytes(head[2:], "big"))
        except (EOFError, ConnectionError):
            return 0, b""

    def request(
        self,
        data_set: bytes | None,
        *,
        field: int = 0x0001,
        sop_class: str = CT_IMAGE_STORAGE,
        sop_instance: str = "1.2.3.4",
        message_id: int = 1,
        context_id: int = 1,
    ) -> None:
        """Send a request, by default C-STORE, and wait for nothing."""
        command = command_set(
            field,
            sop_class=sop_class,
            sop_instance=sop_instance,
            message_id=message_id,
            has_data_set=data_set is not None,
        )
        data = p_data(command, is_command=True, context_id=context_id)
        self.send(
            data if data_set is None else data + p_data(data_set, context_id=context_id)
        )

    def response(self) -> Response:
        """Read a response."""
        message = io.BytesIO()
        while True:
            kind, body = self.read_pdu()
            assert kind == 4, (kind, body)
            length = int.from_bytes(body[:4], "big")
            message.write(body[6 : 4 + length])
            if body[5] & 2:
                break
        return _decode_response(message.getvalue())

    def store(self, ds: Dataset, **options: Any) -> Response:
        """Send an instance, Explicit VR Little Endian, and return the response."""
        uid = options.pop("sop_instance", str(ds.get("SOPInstanceUID", "1.2.3.4")))
        self.request(encode_data_set(ds), sop_instance=uid, **options)
        return self.response()

    def echo(self) -> int:
        """Send C-ECHO in context 1 and return the status."""
        self.request(None, field=0x0030, sop_class=VERIFICATION, sop_instance="")
        return self.response().status

    def release(self) -> int:
        """Ask for release and return the type of the answer."""
        self.send(b"\x05\0\0\0\0\x04\0\0\0\0")
        return self.read_pdu()[0]

    def is_closed(self) -> bool:
        """Wait until the server has closed the connection; False: it did not."""
        try:
            while self.socket.recv(65536):
                pass
        except TimeoutError:
            return False
        except ConnectionError:
            return True
        return True

    def _read(self, count: int) -> bytes:
        data = b""
        while len(data) < count:
            piece = self.socket.recv(count - len(data))
            if not piece:
                raise EOFError
            data += piece
        return data


def _decode_response(data: bytes) -> Response:
    elements: dict[int, bytes] = {}
    position = 0
    while position < len(data):
        _, number, length = struct.unpack_from("<HHL", data, position)
        elements[number] = data[position + 8 : position + 8 + length]
        position += 8 + length
    return Response(
        status=int.from_bytes(elements[0x0900], "little"),
        comment=elements.get(0x0902, b"").decode().strip(),
        elements=elements,
    )
