"""Whatever the elements hold, the short way to plain pixels agrees with the long way.

The files are written byte by byte: what a library would not write is what is asked for.
"""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dicom_node.imaging.dataset import quiet_reading, read_dataset
from dicom_node.imaging.decode import check_pixels, decode_frames
from tests.unit.imaging.test_plain_images import short_way

Element = tuple[int, bytes, bytes]

_LONG = {b"OB", b"OW", b"UN", b"UT", b"SQ", b"OF"}
_PIXELS = 0x7FE00010


def short(number: int) -> bytes:
    return struct.pack("<H", number)


def plain_elements() -> list[Element]:
    stored = np.random.default_rng(7).integers(0, 1 << 16, (3, 5)).astype("<u2")
    return [
        (0x00080060, b"CS", b"CT"),
        (0x00280002, b"US", short(1)),
        (0x00280004, b"CS", b"MONOCHROME2 "),
        (0x00280010, b"US", short(3)),
        (0x00280011, b"US", short(5)),
        (0x00280100, b"US", short(16)),
        (0x00280101, b"US", short(12)),
        (0x00280102, b"US", short(11)),
        (0x00280103, b"US", short(0)),
        (_PIXELS, b"OW", stored.tobytes()),
    ]


def written(element: Element) -> bytes:
    tag, vr, value = element
    head = struct.pack("<HH2s", tag >> 16, tag & 0xFFFF, vr)
    if vr in _LONG:
        return head + struct.pack("<HL", 0, len(value)) + value
    return head + struct.pack("<H", len(value)) + value


def file_of(
    elements: list[Element],
    *,
    syntax: bytes = b"1.2.840.10008.1.2.1\0",
    pieces: bytes = b"",
) -> bytes:
    meta = written((0x00020010, b"UI", syntax))
    length = written((0x00020000, b"UL", struct.pack("<L", len(meta))))
    data = b"".join(map(written, elements[:1])) + pieces
    return (
        bytes(128)
        + b"DICM"
        + length
        + meta
        + data
        + b"".join(map(written, elements[1:]))
    )


def agree(path: Path, data: bytes) -> bool:
    """Compare both ways; return whether the short one took the file."""
    path.write_bytes(data)
    values = short_way(path)
    if values is None:
        return False
    with quiet_reading():  # as the process that decodes does
        ds = read_dataset(path)
        check_pixels(ds, max_pixels_bytes=1 << 30)
        (frame,) = decode_frames(ds, [1])
    assert frame.dtype == values.dtype == np.float32
    assert frame.tobytes() == values.tobytes()
    return True


_TEXTS = [
    *(b" MONOCHROME2", b"MONOCHROME2\0", b"MONOCHROME2", b"monochrome2 "),
    *(b" MONOCHROME1", b"MONOCHROME1 ", b"MONOCHROME1\0", b"\0MONOCHROME1"),
    *(b"MONOCHROME1 \0", b"MONOCHROME1\0 ", b"MONOCHROME1\\X", b"MONOCHROME1\t"),
    *(b"", b"RGB ", b"PALETTE COLOR "),
]
_NUMBERS = [
    *(b"1 ", b"1\0", b" 1", b"\x001", b"1", b"2 ", b"0 ", b"-1", b"1.5 ", b"+2", b""),
    *(b"1\\2 ", b"1e400 ", b"1e-400", b"nan ", b"1_0 ", b"-1024.25", b" ", b"\0\0"),
    *(b"1 \0", b"1\0 ", b"\t1", b"0x1 ", b"1,5 ", b"-0", b"16777217"),
]
_SHORTS = [
    *(short(one) for one in (0, 1, 2, 3, 5, 7, 8, 11, 12, 15, 16, 17, 0xFFFF)),
    *(b"", b"\1", b"\1\0\0", short(1) * 2, struct.pack("<L", 3), b"3 "),
]
_CHANGES = st.one_of(
    st.tuples(
        st.sampled_from([0x00280004]),
        st.sampled_from([b"CS", b"CS", b"LO", b"UN", b"IS"]),
        st.sampled_from(_TEXTS),
    ),
    st.tuples(
        st.sampled_from([0x00280008, 0x00281052, 0x00281053]),
        st.sampled_from([b"DS", b"DS", b"IS", b"IS", b"LO", b"US"]),
        st.sampled_from(_NUMBERS),
    ),
    st.tuples(
        st.sampled_from(
            [
                *(0x00280002, 0x00280006, 0x00280010, 0x00280011, 0x00280100),
                *(0x00280101, 0x00280102, 0x00280103, 0x00280120, 0x00280121),
                0x00280034,
            ]
        ),
        st.sampled_from([b"US", b"US", b"US", b"SS", b"UL", b"IS", b"OW", b"UN"]),
        st.sampled_from(_SHORTS),
    ),
    st.tuples(
        st.sampled_from([_PIXELS]),
        st.sampled_from([b"OB", b"OW", b"UN", b"OF"]),
        st.sampled_from([bytes(range(30)), bytes(29), bytes(31), bytes(34), b""]),
    ),
)
_SYNTAXES = [
    *[b"1.2.840.10008.1.2.1\0"] * 6,
    *(b"1.2.840.10008.1.2.1 ", b" 1.2.840.10008.1.2.1", b"1.2.840.10008.1.2\0"),
    *(b"\x001.2.840.10008.1.2.1", b"1.2.840.10008.1.2.1"),
]
_ROWS = written((0x00280010, b"US", short(1)))
_ITEM = b"\xfe\xff\x00\xe0"
_ITEM_END, _SEQUENCE_END = (b"\xfe\xff\x0d\xe0", b"\xfe\xff\xdd\xe0")
_NO_LENGTH = b"\xff" * 4
_SEQUENCE = struct.pack("<HH2sH", 0x0008, 0x1115, b"SQ", 0)
_PIECES = [
    written((0x00090010, b"LO", b"PRIVATE ")),
    written((0x00280000, b"UL", struct.pack("<L", 4))),
    written((0x00091001, b"UN", b"x" * 6)),
    written((0x00081115, b"SQ", _ITEM + struct.pack("<L", len(_ROWS)) + _ROWS)),
    written((0x00081115, b"SQ", _ROWS)),
    _SEQUENCE + _NO_LENGTH + _SEQUENCE_END + bytes(4),
    _SEQUENCE + _NO_LENGTH + _ITEM + bytes(4) + _SEQUENCE_END + bytes(4),
    *(
        _SEQUENCE + _NO_LENGTH + _ITEM + _NO_LENGTH + _ROWS + end
        for end in (
            _ITEM_END + bytes(4) + _SEQUENCE_END + bytes(4),
            _SEQUENCE_END + bytes(4) + _ITEM_END + bytes(4),
            _ITEM_END + bytes(4),
            _ITEM_END + bytes(4) + _SEQUENCE_END + struct.pack("<L", len(_ROWS)),
        )
    ),
    _SEQUENCE + _NO_LENGTH + _ROWS + _SEQUENCE_END + bytes(4),
    struct.pack("<HH2sH", 0x0009, 0x1002, b"UN", 0)
    + _NO_LENGTH
    + _SEQUENCE_END
    + bytes(4),
    _ITEM + bytes(4),
    b"\0\0\0\0",
]
_RESCALE = [(0x00281052, b"DS", b"-1024 "), (0x00281053, b"DS", b"2 ")]


@settings(deadline=None, max_examples=120)
@given(
    changes=st.lists(_CHANGES, max_size=3),
    without=st.sets(st.integers(0, 8), max_size=1),
    again=st.lists(_CHANGES, max_size=1),
    behind=st.lists(_CHANGES, max_size=1),
    pieces=st.lists(st.sampled_from(_PIECES), max_size=3),
    syntax=st.sampled_from(_SYNTAXES),
    is_rescaled=st.booleans(),
    sign=st.sampled_from([0, 1]),
)
def test_the_short_way_takes_nothing_that_the_long_way_reads_otherwise(
    tmp_path_factory: pytest.TempPathFactory,
    changes: list[Element],
    without: set[int],
    again: list[Element],
    behind: list[Element],
    pieces: list[bytes],
    syntax: bytes,
    is_rescaled: bool,
    sign: int,
) -> None:
    plain = plain_elements()
    plain[8] = (0x00280103, b"US", short(sign))
    kept = [one for number, one in enumerate(plain) if number not in without]
    by_tag = {one[0]: one for one in kept + (_RESCALE if is_rescaled else [])}
    by_tag |= {one[0]: one for one in changes}
    elements = sorted([*by_tag.values(), *again], key=lambda one: one[0])

    agree(
        tmp_path_factory.mktemp("bytes", numbered=True) / "one.dcm",
        file_of([*elements, *behind], syntax=syntax, pieces=b"".join(pieces)),
    )


def test_a_plain_file_takes_the_short_way(tmp_path: Path) -> None:
    assert agree(tmp_path / "one.dcm", file_of(plain_elements()))
    assert agree(
        tmp_path / "two.dcm",
        file_of([*plain_elements()[:9], *_RESCALE, *plain_elements()[9:]]),
    )


@pytest.mark.parametrize("text", _TEXTS)
def test_another_photometric_interpretation_is_read_as_the_long_way_reads_it(
    tmp_path: Path, text: bytes
) -> None:
    elements = plain_elements()
    elements[2] = (0x00280004, b"CS", text)

    agree(tmp_path / "one.dcm", file_of(elements))


@pytest.mark.parametrize(
    "change",
    [
        (0x00280008, b"US", b"1 "),
        (0x00280008, b"IS", b"\x001"),
        (0x00280006, b"UL", short(0)),
        (0x00280103, b"US", short(2)),
    ],
)
def test_what_the_long_way_refuses_does_not_take_the_short_one(
    tmp_path: Path, change: Element
) -> None:
    by_tag = {one[0]: one for one in [*plain_elements(), change]}

    assert not agree(
        tmp_path / "one.dcm", file_of([by_tag[tag] for tag in sorted(by_tag)])
    )


@pytest.mark.parametrize("piece", _PIECES)
def test_sequences_are_walked_as_the_long_way_walks_them(
    tmp_path: Path, piece: bytes
) -> None:
    agree(tmp_path / "one.dcm", file_of(plain_elements(), pieces=piece))


@pytest.mark.parametrize("syntax", sorted(set(_SYNTAXES)))
def test_the_transfer_syntax_is_what_the_long_way_takes_it_for(
    tmp_path: Path, syntax: bytes
) -> None:
    agree(tmp_path / "one.dcm", file_of(plain_elements(), syntax=syntax))


def test_what_comes_behind_the_pixels_is_not_overlooked(tmp_path: Path) -> None:
    behind = [(0x00281052, b"DS", b"5 "), (0x00281053, b"DS", b"3 ")]

    assert not agree(tmp_path / "one.dcm", file_of([*plain_elements(), *behind]))
