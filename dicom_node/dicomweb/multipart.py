"""multipart/related as streams: written part by part, read byte by byte (RFC 2387).

Nothing here holds more than a block: parts may be larger than memory, and a peer
may split its bytes anywhere.
"""

from __future__ import annotations

import logging
import secrets
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser

from dicom_node.errors import DicomwebError

__all__ = [
    "MAX_PARTS",
    "MultipartReader",
    "Part",
    "PartBegin",
    "PartData",
    "PartEnd",
    "PartEvent",
    "new_boundary",
    "write_multipart",
]

MAX_PARTS = 20_000
"""More instances than one request has; each costs an entry of the answer."""

_MAX_HEADERS = 16
_MAX_HEADER_BYTES = 4096

# It tells of stray bytes at WARNING; what we say about them is said once, by us.
logging.getLogger("python_multipart").setLevel(logging.ERROR)


@dataclass(frozen=True)
class Part:
    """A part to write: its type and bytes, and where it can be had alone."""

    content_type: str
    blocks: Iterable[bytes]
    location: str | None = None


@dataclass(frozen=True, slots=True)
class PartBegin:
    """A part begins; names of headers are in lower case."""

    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class PartData:
    """Bytes of the part that has begun."""

    data: bytes


@dataclass(frozen=True, slots=True)
class PartEnd:
    """The part is whole."""


PartEvent: TypeAlias = PartBegin | PartData | PartEnd


def new_boundary() -> str:
    """Return a boundary that nothing holds by chance."""
    return secrets.token_hex(24)


def write_multipart(parts: Iterable[Part], *, boundary: str) -> Iterator[bytes]:
    """Yield the bytes of a multipart body."""
    for part in parts:
        head = f"--{boundary}\r\nContent-Type: {part.content_type}\r\n"
        if part.location is not None:
            head += f"Content-Location: {part.location}\r\n"
        yield f"{head}\r\n".encode("ascii")
        yield from part.blocks
        yield b"\r\n"
    yield f"--{boundary}--\r\n".encode("ascii")


class MultipartReader:
    """Reads a multipart body: `feed` it blocks as they come, then `finish`.

    Parameters
    ----------
    boundary : str
        From the Content-Type.

    Raises
    ------
    DicomwebError
        There is no usable boundary.

    """

    def __init__(self, boundary: str) -> None:
        if not 1 <= len(boundary) <= 70 or not boundary.isascii():
            raise DicomwebError("the body has no boundary", status=400)
        self._events: list[PartEvent] = []
        self._headers: dict[str, str] = {}
        self._field = b""
        self._value = b""
        self._parts = 0
        self._is_open = False
        self._is_complete = False
        self._trouble: DicomwebError | None = None
        self._parser = MultipartParser(
            boundary.encode("ascii"),
            {
                "on_part_begin": self._begin,
                "on_header_field": self._take_field,
                "on_header_value": self._take_value,
                "on_header_end": self._end_header,
                "on_headers_finished": self._open,
                "on_part_data": self._take_data,
                "on_part_end": self._end,
                "on_end": self._complete,
            },
            max_header_count=_MAX_HEADERS,
            max_header_size=_MAX_HEADER_BYTES,
        )

    def feed(self, block: bytes) -> tuple[PartEvent, ...]:
        """Take the next bytes and return what they complete.

        Raises
        ------
        DicomwebError
            The body is not multipart, or breaks a limit. What came whole before is
            returned first, and the next call raises.

        """
        if self._trouble is None:
            try:
                self._parser.write(block)
            except FormParserError as error:
                self._trouble = DicomwebError("the body is not multipart", status=400)
                self._trouble.__cause__ = error
            except DicomwebError as error:
                self._trouble = error
        events, self._events = tuple(self._events), []
        if self._trouble is not None and not events:
            raise self._trouble
        return events

    def finish(self) -> None:
        """Note that the body has ended.

        Raises
        ------
        DicomwebError
            Its last part is not closed, or it broke earlier.

        """
        if self._trouble is not None:
            raise self._trouble
        if not self._is_complete:
            raise DicomwebError("the body is cut short", status=400)

    def _begin(self) -> None:
        self._headers = {}
        self._parts += 1
        if self._parts > MAX_PARTS:
            msg = f"the body has more than {MAX_PARTS} parts"
            raise DicomwebError(msg, status=413)

    def _take_field(self, data: bytes, start: int, end: int) -> None:
        self._field += data[start:end]

    def _take_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def _end_header(self) -> None:
        name = self._field.decode("latin-1").strip().lower()
        self._headers[name] = self._value.decode("latin-1").strip()
        self._field = self._value = b""

    def _open(self) -> None:
        self._is_open = True
        self._events.append(PartBegin(self._headers))

    def _take_data(self, data: bytes, start: int, end: int) -> None:
        if not self._is_open:
            self._open()
        self._events.append(PartData(data[start:end]))

    def _end(self) -> None:
        if self._is_open:
            self._is_open = False
            self._events.append(PartEnd())

    def _complete(self) -> None:
        self._is_complete = True
