"""Data sets that were made to do harm, and what the node must answer to each."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass

from tests.builders.raw_peer import (
    CT_IMAGE_STORAGE,
    EXPLICIT_LITTLE,
    encode_data_set,
    make_instance,
)

__all__ = ["PREAMBLES", "Attack", "attacks"]

_UNDEFINED = 0xFFFFFFFF
_SEQUENCE = struct.Struct("<HH2sHL")
_ITEM = struct.Struct("<HHL")

PREAMBLES = {
    "MZ": b"MZ\x90\0" + bytes(56) + b"\x80\0\0\0",
    "ELF": b"\x7fELF\x02\x01\x01",
    "script": b"#!/bin/sh\necho harm\n",
    "JSON": b'{"a":"',
    "TIFF": b"II*\0\x08\0\0\0",
    "ZIP": b"PK\x03\x04",
}
"""What makes a DICOM file something else as well (CVE-2019-11687)."""


@dataclass(frozen=True, slots=True)
class Attack:
    """A data set, and what is right.

    ``is_kept``: whether it is to be stored; None: either.
    """

    name: str
    data: bytes
    sop_instance_uid: str
    is_kept: bool | None = None
    sop_class_uid: str = CT_IMAGE_STORAGE
    transfer_syntax_uid: str = EXPLICIT_LITTLE


def attacks() -> Iterator[Attack]:
    """Yield the attacks, each with a SOP Instance UID of its own."""
    yield from _bad_uids()
    yield from _nesting()
    yield from _encodings()
    yield from _texts()


def _bad_uids() -> Iterator[Attack]:
    harmful = (
        "../../../../tmp/x",
        "/etc/passwd",
        "..\\..\\x",
        "1" * 65,
        "1.2\0.3",
        "1.2.\n3",
        "CON",
        "1..2",
        "' OR 1=1--",
        "%s%n",
        "1.2.\u0663",
        "",
    )
    for number, uid in enumerate(harmful):
        own = f"1.2.7.1.{number}"
        raw = uid.encode("utf-8")
        if uid:
            yield Attack(f"SOP Instance UID {uid!r}", _plain(own), uid, is_kept=False)
        for name, tag in (("Study", 0x000D), ("Series", 0x000E)):
            data = _replace(_plain(own), 0x0020, tag, raw)
            # Without one, the node derives it from what the instances share.
            kept = not uid
            yield Attack(f"{name} Instance UID {uid!r}", data, own, is_kept=kept)
            own += ".1"
        data = _replace(_plain(own), 0x0008, 0x0018, raw)
        # Without one, that of the command holds.
        kept = not uid
        yield Attack(f"its own UID {uid!r}", data, own, is_kept=kept)


def _nesting() -> Iterator[Attack]:
    for depth in (1, 63, 64, 65, 300, 1_000, 100_000):
        for is_undefined in (True, False):
            if depth == 100_000 and not is_undefined:
                continue  # Its lengths would not fit into 32 bits of a small file.
            uid = f"1.2.7.2.{depth}.{int(is_undefined)}"
            data = _plain(uid) + _nested(depth, is_undefined=is_undefined)
            name = f"{depth} nested sequences"
            yield Attack(name, data, uid, is_kept=depth <= 64)


def _nested(depth: int, *, is_undefined: bool) -> bytes:
    tag = (0x0040, 0xA730, b"SQ", 0)
    if is_undefined:
        head = _SEQUENCE.pack(*tag, _UNDEFINED) + _ITEM.pack(0xFFFE, 0xE000, _UNDEFINED)
        tail = _ITEM.pack(0xFFFE, 0xE00D, 0) + _ITEM.pack(0xFFFE, 0xE0DD, 0)
        return head * depth + tail * depth
    data = b""
    for _ in range(depth):
        data = _ITEM.pack(0xFFFE, 0xE000, len(data)) + data
        data = _SEQUENCE.pack(*tag, len(data)) + data
    return data


def _encodings() -> Iterator[Attack]:
    def element(tag: tuple[int, int], vr: bytes, value: bytes) -> bytes:
        return struct.pack("<HH2sH", *tag, vr, len(value)) + value

    group_ffff = element((0xFFFF, 0xFFFF), b"LO", b"ab")
    cases: dict[str, tuple[bytes, bool | None]] = {
        "group FFFF": (group_ffff, None),
        "an odd length": (element((0x0040, 0x0254), b"LO", b"abc"), None),
        "VR of nothing": (element((0x0040, 0x0254), b"ZZ", b"ab"), None),
        "numbers in a text": (element((0x0028, 0x0010), b"PN", b"ab"), None),
        "Rows of four bytes": (element((0x0028, 0x0010), b"UL", b"\xff" * 4), None),
        "a length past the end": (b"\x40\0\x54\x02LO\xff\x7f", False),
        "no end of a sequence": (
            _SEQUENCE.pack(0x40, 0xA730, b"SQ", 0, _UNDEFINED),
            False,
        ),
        "text of undefined length": (
            _SEQUENCE.pack(0x40, 0xA160, b"UT", 0, _UNDEFINED),
            False,
        ),
        "a stray delimiter": (_ITEM.pack(0xFFFE, 0xE00D, 0), False),
        "meta information": (element((0x0002, 0x0010), b"UI", b"1.2\0"), False),
        "a command": (element((0x0000, 0x0100), b"US", b"\x01\0"), False),
        "the same again": (8 * element((0x0010, 0x0010), b"PN", b"A^B^"), None),
        "its own UID, 1,000 times another": (
            1000 * element((0x0008, 0x0018), b"UI", b"1.2.3.4.5.6\0"),
            False,
        ),
        "10,000 values": (element((0x0018, 0x1151), b"DS", b"1\\" * 10_000), None),
        "pixels without end": (
            _SEQUENCE.pack(0x7FE0, 0x10, b"OB", 0, _UNDEFINED)
            + _ITEM.pack(0xFFFE, 0xE000, 0xFFFFFF00),
            False,
        ),
        "pixels without a fragment": (
            _SEQUENCE.pack(0x7FE0, 0x10, b"OB", 0, _UNDEFINED)
            + _ITEM.pack(0xFFFE, 0xE0DD, 0),
            None,
        ),
        "NumberOfFrames without end": (
            element((0x0028, 0x0008), b"IS", b"99999999999999999999 "),
            None,
        ),
    }
    for number, (name, (data, kept)) in enumerate(cases.items()):
        uid = f"1.2.7.3.{number}"
        yield Attack(name, _plain(uid) + data, uid, is_kept=kept)


def _texts() -> Iterator[Attack]:
    charsets = (
        b"ISO_IR 192",
        b"ISO 2022 IR 87\\ISO 2022 IR 149",
        b"GB18030",
        b"NONSENSE",
        b"\x1b$B",
        b"\\\\\\",
        b"ISO_IR 100" * 90,
    )
    values = (
        b"\x1b$)C\xb1\xe8^\xff\xfe",
        "\u202eevil\u202c^\u0000".encode(),
        b"\x1b[31mRED\x1b]0;title\x07",
        b"<img src=x onerror=alert(1)>",
        b'ZZ\n{"level":"error"}\r\n',
        b"\0" * 64,
        b"^" * 5000,
        b"=" * 400,
        b"$(id);`id`",
        b"\xed\xa0\x80\xf4\x90\x80\x80",
    )
    number = 0
    for charset in charsets:
        for value in values:
            uid = f"1.2.7.4.{number}"
            number += 1
            data = _plain(uid)
            for group, tag in ((0x10, 0x10), (0x10, 0x20), (0x08, 0x60), (0x20, 0x10)):
                data = _replace(data, group, tag, value)
            data = struct.pack("<HH2sH", 8, 5, b"CS", len(charset)) + charset + data
            yield Attack("a text", data, uid, is_kept=True)


def _plain(uid: str) -> bytes:
    study = f"1.2.7.{len(uid)}.{sum(uid.encode()) % 97}"
    return encode_data_set(
        make_instance(uid, StudyInstanceUID=study, SeriesInstanceUID=f"{study}.1")
    )


def _replace(data: bytes, group: int, element: int, value: bytes) -> bytes:
    """Give an element with a short length another value; add it where it is not."""
    tag = struct.pack("<HH", group, element)
    at, vr = 0, b"LO"
    while at < len(data):
        found, length = (
            data[at : at + 4],
            int.from_bytes(data[at + 6 : at + 8], "little"),
        )
        if found == tag:
            vr = data[at + 4 : at + 6]
            rest = data[at + 8 + length :]
            return data[:at] + tag + vr + struct.pack("<H", len(value)) + value + rest
        at += 8 + length
    return data + tag + vr + struct.pack("<H", len(value)) + value
