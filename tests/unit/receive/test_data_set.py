"""The walk over encoded data sets: deep, cut short, mutated, in every encoding."""

from __future__ import annotations

import io
import struct
import warnings
from pathlib import Path

import pydicom
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

from dicom_node.data_set import BeyondHeadError, DataSetScan, Tag, scan_data_set
from dicom_node.errors import CannotUnderstandError
from tests.builders.raw_peer import encode_data_set, make_instance

SYNTAXES = ["1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.2"]


def _scan(data: bytes, transfer_syntax: str = SYNTAXES[1]) -> dict[int, bytes]:
    return scan_data_set(
        data,
        start=0,
        is_implicit=transfer_syntax == SYNTAXES[0],
        is_little=transfer_syntax != SYNTAXES[2],
    ).values


def nested(depth: int, transfer_syntax: str, *, is_undefined: bool) -> bytes:
    """Encode sequences inside each other, innermost empty."""
    order = ">" if transfer_syntax == SYNTAXES[2] else "<"
    data = b""
    for _ in range(depth):
        if is_undefined:
            body = struct.pack(order + "HHL", 0xFFFE, 0xE000, 0xFFFFFFFF) + data
            body += struct.pack(order + "HHLHHL", 0xFFFE, 0xE00D, 0, 0xFFFE, 0xE0DD, 0)
            length = 0xFFFFFFFF
        else:
            body = struct.pack(order + "HHL", 0xFFFE, 0xE000, len(data)) + data
            length = len(body)
        head = struct.pack(order + "HH", 0x0040, 0xA730)
        if transfer_syntax != SYNTAXES[0]:
            head += b"SQ\0\0"
        data = head + struct.pack(order + "L", length) + body
    return data


@pytest.mark.parametrize("is_undefined", [True, False])
@pytest.mark.parametrize("syntax", SYNTAXES)
def test_sequences_may_nest_64_deep_and_no_deeper(
    syntax: str, is_undefined: bool
) -> None:
    _scan(nested(64, syntax, is_undefined=is_undefined), syntax)

    for depth in (65, 1000):
        with pytest.raises(CannotUnderstandError, match="deep"):
            _scan(nested(depth, syntax, is_undefined=is_undefined), syntax)


def test_a_hundred_thousand_sequences_deep_are_refused() -> None:
    item = bytes.fromhex("4000 30A7 5351 0000 FFFFFFFF FEFF 00E0 FFFFFFFF")

    with pytest.raises(CannotUnderstandError, match="deep"):
        _scan(item * 100_000)


def test_depth_cannot_hide_in_unknown_vrs() -> None:
    data = nested(65, SYNTAXES[0], is_undefined=True)
    unknown = struct.pack("<HH2sxxL", 0x0040, 0xA730, b"UN", 0xFFFFFFFF)

    with pytest.raises(CannotUnderstandError, match="deep"):
        _scan(unknown + data[8:])


@pytest.mark.parametrize("syntax", SYNTAXES)
def test_values_are_found_behind_nested_sequences(syntax: str) -> None:
    ds = make_instance()
    inner = Dataset()
    inner.StudyInstanceUID = "9.9.9"
    inner.ReferencedSeriesSequence = Sequence([make_instance("8.8.8")])
    ds.ReferencedStudySequence = Sequence([inner, Dataset()])
    ds.ReferencedStudySequence.is_undefined_length = True

    values = _scan(encode_data_set(ds, syntax), syntax)

    assert values[Tag.SOP_INSTANCE_UID].strip(b"\0") == b"1.2.3.4"
    assert values[Tag.STUDY_INSTANCE_UID].strip(b"\0") == b"1.2.3"


def test_encapsulated_pixels_are_stepped_over() -> None:
    head = struct.pack("<HH2sxxL", 0x7FE0, 0x0010, b"OB", 0xFFFFFFFF)
    fragments = struct.pack("<HHL", 0xFFFE, 0xE000, 0)
    fragments += struct.pack("<HHL", 0xFFFE, 0xE000, 4) + b"\xff\xfe\0\xe0"
    end = struct.pack("<HHL", 0xFFFE, 0xE0DD, 0)
    data = encode_data_set(make_instance()) + head + fragments

    assert Tag.SOP_CLASS_UID in _scan(data + end)
    with pytest.raises(CannotUnderstandError):
        _scan(data)
    with pytest.raises(CannotUnderstandError):
        _scan(data[:-3] + end)


@pytest.mark.parametrize("written", SYNTAXES[:2])
@pytest.mark.parametrize("claimed", SYNTAXES[:2])
def test_the_vr_encoding_is_that_of_the_first_element(
    written: str, claimed: str
) -> None:
    data = encode_data_set(make_instance(), written)

    assert _scan(data, claimed) == _scan(data, written)


def test_fewer_than_eight_bytes_of_padding_are_let_pass() -> None:
    data = encode_data_set(make_instance())

    assert _scan(data + bytes(7)) == _scan(data)


@pytest.mark.parametrize(
    "data",
    [
        b"not a data set at all",
        struct.pack("<HH2sH", 8, 0x16, b"UI", 100) + b"1.2",
        struct.pack("<HHL", 0xFFFE, 0xE00D, 0),
        struct.pack("<HHL", 0xFFFE, 0xE000, 0),
        struct.pack("<HH2sxx", 8, 0x16, b"OB"),
        struct.pack("<HH2sxxL", 0x40, 0xA730, b"SQ", 100) + bytes(8),
        struct.pack("<HH2sxxL", 0x40, 0xA730, b"SQ", 8) + bytes(8),
        struct.pack("<HH2sH", 2, 0x10, b"UI", 0) + bytes(8),
        struct.pack("<HH2sH", 0, 0, b"UL", 4) + bytes(8),
    ],
)
def test_what_does_not_fit_is_refused(data: bytes) -> None:
    with pytest.raises(CannotUnderstandError):
        _scan(data)


@settings(max_examples=300, deadline=None)
@given(st.data(), st.sampled_from(SYNTAXES))
def test_mutated_data_sets_end_in_values_or_one_kind_of_error(
    data: st.DataObject, syntax: str
) -> None:
    ds = make_instance()
    ds.ReferencedStudySequence = Sequence([make_instance("8.8.8"), Dataset()])
    ds.ReferencedStudySequence.is_undefined_length = data.draw(st.booleans())
    encoded = bytearray(encode_data_set(ds, syntax))
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(encoded) - 1))
        encoded[at] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(0, len(encoded)))

    try:
        _scan(bytes(encoded[:cut]), syntax)
    except CannotUnderstandError:
        return


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=200), st.sampled_from(SYNTAXES))
def test_any_bytes_end_in_values_or_one_kind_of_error(data: bytes, syntax: str) -> None:
    try:
        _scan(data, syntax)
    except CannotUnderstandError:
        return


def test_pydicoms_own_files_are_read_as_pydicom_reads_them() -> None:
    folder = Path(pydicom.__file__).parent / "data" / "test_files"
    compared = 0
    for path in sorted(folder.glob("*.dcm")):
        data = path.read_bytes()
        if data[128:132] != b"DICM":
            continue
        meta = pydicom.filereader.read_file_meta_info(path)
        syntax = str(meta.get("TransferSyntaxUID", ""))
        if not syntax or syntax.endswith("1.99") or "truncated" in path.name:
            continue
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # some of the files are wrong on purpose
            expected = pydicom.dcmread(io.BytesIO(data), stop_before_pixels=True)
        start = scan_data_set(
            data, start=132, is_implicit=False, is_little=True, group=2
        ).end
        values = scan_data_set(
            data,
            start=start,
            is_implicit=syntax == SYNTAXES[0],
            is_little=syntax != SYNTAXES[2],
        ).values
        uid = values.get(Tag.SOP_INSTANCE_UID, b"").decode().strip("\0 ")
        assert uid == str(expected.get("SOPInstanceUID", ""))
        compared += 1
    assert compared > 50


def _answer(data: bytes, syntax: str, size: int) -> DataSetScan | str:
    try:
        return scan_data_set(
            data,
            start=0,
            is_implicit=syntax == SYNTAXES[0],
            is_little=syntax != SYNTAXES[2],
            size=size,
        )
    except CannotUnderstandError as error:
        return str(error)


@given(
    syntax=st.sampled_from(SYNTAXES),
    cut=st.integers(0, 700),
    size=st.integers(-20, 20),
    damage=st.lists(st.tuples(st.integers(0, 600), st.integers(0, 255)), max_size=3),
    depth=st.integers(0, 3),
    is_undefined=st.booleans(),
)
def test_a_beginning_tells_what_the_whole_tells_or_that_it_does_not_suffice(
    *,
    syntax: str,
    cut: int,
    size: int,
    damage: list[tuple[int, int]],
    depth: int,
    is_undefined: bool,
) -> None:
    ds = make_instance()
    ds.ContentSequence = Sequence([Dataset()])
    plain = encode_data_set(ds, syntax)
    data = bytearray(plain + nested(depth, syntax, is_undefined=is_undefined))
    for at, value in damage:
        data[at % len(data)] = value
    whole = bytes(data)[: len(data) + min(size, 0)] + bytes(max(size, 0))

    try:
        by_head = _answer(whole[:cut], syntax, len(whole))
    except BeyondHeadError:
        assert cut < len(whole)
        return
    assert by_head == _answer(whole, syntax, len(whole))


@pytest.mark.parametrize("syntax", SYNTAXES)
def test_a_beginning_suffices_up_to_the_pixels(syntax: str) -> None:
    ds = make_instance()
    ds.PixelData = bytes(1 << 16)
    ds["PixelData"].VR = "OW"
    whole = encode_data_set(ds, syntax)
    head = whole[: -(1 << 16)]

    assert _answer(head, syntax, len(whole)) == _answer(whole, syntax, len(whole))
