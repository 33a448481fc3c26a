"""Broken data sets, from a seed: elements of real files, swapped and relabelled."""

from __future__ import annotations

import io
import itertools
import random
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pydicom.data
from pydicom.filereader import data_element_generator

from dicom_node.errors import ReceiveError
from dicom_node.header import read_header
from tests.builders.raw_peer import encode_data_set, make_instance
from tests.torture.data_attacks import Attack
from tests.torture.pdu_fuzz import mutate, mutate_list

__all__ = ["Source", "make_case", "read_sources"]

_LARGEST = 24_000
_VRS = b"AE AS AT CS DA DS DT FD FL IS LO LT OB OD OF OW PN SH SL SQ SS ST TM UC UI UL"
_TAGS = (0x00020010, 0x00000100, 0xFFFFFFFF, 0xFFFEE000, 0x00080005, 0x7FE00010)
_VALUES = (
    b"../../../x",
    b"\x1b$B\x1b(J",
    b"\0\0\0\0",
    b"\xff" * 32,
    b"ISO 2022 IR 149\\ISO_IR 192",
    "\u202e\u0000".encode(),
    b"\\" * 600,
    b"1.2.3",
    b"9" * 70,
    b"<script>alert(1)</script>",
)
_LENGTHS = (0, 1, 7, 0x7FFF, 0xFFFF, 0xFFFFFFFF, 0x80000000, 0x10000)


@dataclass(frozen=True, slots=True)
class Source:
    """A real data set, cut into its elements."""

    name: str
    sop_class_uid: str
    sop_instance_uid: str
    transfer_syntax_uid: str
    elements: tuple[bytes, ...]


def read_sources() -> tuple[Source, ...]:
    """Read the small files that come with pydicom, and one of our own."""
    found = []
    for path in sorted(Path(pydicom.data.__file__).parent.rglob("*")):
        if path.is_file() and path.stat().st_size <= _LARGEST:
            try:
                header = read_header(path)
            except ReceiveError:
                continue  # It is no instance, or one that the node refuses as it is.
            data = path.read_bytes()[header.data_set_offset :]
            found.append(
                Source(
                    path.name,
                    header.sop_class_uid,
                    header.sop_instance_uid,
                    header.transfer_syntax_uid,
                    _cut(data, header.transfer_syntax_uid),
                )
            )
    own = make_instance("1.2.3.4")
    data = encode_data_set(own)
    syntax = "1.2.840.10008.1.2.1"
    found.append(Source("own", own.SOPClassUID, "1.2.3.4", syntax, _cut(data, syntax)))
    return tuple(found)


def make_case(sources: Sequence[Source], seed: int) -> Attack:
    """Make the broken data set of a seed."""
    rng = random.Random(seed)
    source = sources[rng.randrange(len(sources))]
    is_little = source.transfer_syntax_uid != "1.2.840.10008.1.2.2"
    pieces = list(source.elements)
    for _ in range(rng.choice((0, 1, 1, 2, 3))):
        kind = rng.randrange(6)
        at = rng.randrange(len(pieces)) if pieces else 0
        if not pieces:
            break
        if kind == 0:
            pieces = mutate_list(rng, pieces)
        elif kind == 1:
            pieces[at] = pieces[at][:4] + rng.choice(_VRS.split()) + pieces[at][6:]
        elif kind == 2:
            length = rng.choice(_LENGTHS)
            order = "<L" if is_little else ">L"
            pieces[at] = pieces[at][:4] + struct.pack(order, length) + pieces[at][8:]
        elif kind == 3:
            tag = rng.choice(_TAGS)
            pieces[at] = _encode_tag(tag, is_little=is_little) + pieces[at][4:]
        elif kind == 4:
            value = rng.choice(_VALUES)[:65534]
            order = "<H" if is_little else ">H"
            pieces[at] = pieces[at][:6] + struct.pack(order, len(value)) + value
        else:
            pieces[at] = mutate(rng, pieces[at])
    return Attack(
        f"{source.name} {seed}",
        b"".join(pieces),
        source.sop_instance_uid,
        sop_class_uid=source.sop_class_uid,
        transfer_syntax_uid=source.transfer_syntax_uid,
    )


def _encode_tag(tag: int, *, is_little: bool) -> bytes:
    return struct.pack("<HH" if is_little else ">HH", tag >> 16, tag & 0xFFFF)


def _cut(data: bytes, transfer_syntax_uid: str) -> tuple[bytes, ...]:
    stream = io.BytesIO(data)
    ends = [0]
    try:
        for _ in data_element_generator(
            stream,
            transfer_syntax_uid == "1.2.840.10008.1.2",
            transfer_syntax_uid != "1.2.840.10008.1.2.2",
        ):
            ends.append(stream.tell())
    except Exception:  # noqa: BLE001 - some of these files are broken on purpose
        ends.append(len(data))
    if ends[-1] < len(data):
        ends.append(len(data))
    return tuple(data[low:high] for low, high in itertools.pairwise(ends) if low < high)
