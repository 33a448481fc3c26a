from __future__ import annotations

from pathlib import Path

import numpy as np
import pydicom
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydicom import Dataset
from pydicom.data import get_testdata_file
from pydicom.encaps import encapsulate, encapsulate_extended
from pydicom.pixels import pack_bits
from pydicom.uid import (
    ExplicitVRBigEndian,
    ImplicitVRLittleEndian,
    JPEGLSLossless,
    RLELossless,
)

from dicom_node.config import LimitSettings
from dicom_node.dicomweb.frames import parse_frame_list, read_layout, stored_frame
from dicom_node.errors import DicomwebError, PixelDecodingError
from dicom_node.imaging import PixelReader
from tests.builders.pixel_images import make_image


def write(ds: Dataset, path: Path) -> Path:
    ds.file_meta.MediaStorageSOPClassUID = ds.SOPClassUID
    ds.file_meta.MediaStorageSOPInstanceUID = ds.SOPInstanceUID
    ds.save_as(path, enforce_file_format=True)
    return path


def frames_of(path: Path) -> list[bytes]:
    layout = read_layout(path, sop_instance_uid="1.2")
    return [stored_frame(layout, number + 1) for number in range(layout.frames)]


@settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture],
    deadline=None,
    max_examples=40,
)
@given(
    frames=st.integers(1, 5),
    rows=st.integers(1, 11),
    columns=st.integers(1, 11),
    seed=st.integers(0, 2**16),
)
def test_frames_of_one_bit_are_cut_where_they_begin(
    tmp_path: Path, frames: int, rows: int, columns: int, seed: int
) -> None:
    masks = np.random.default_rng(seed).integers(
        0, 2, (frames, rows, columns), np.uint8
    )
    ds = make_image(np.zeros((frames, rows, columns), np.uint8), frames=frames)
    ds.BitsAllocated = ds.BitsStored = 1
    ds.HighBit = 0
    ds.PixelData = pack_bits(masks)
    ds["PixelData"].VR = "OB"
    path = write(ds, tmp_path / "mask.dcm")

    found = frames_of(path)

    for mask, frame in zip(masks, found, strict=True):
        assert len(frame) == -(-mask.size // 8)
        bits = np.unpackbits(np.frombuffer(frame, np.uint8), bitorder="little")
        assert np.array_equal(bits[: mask.size].reshape(mask.shape), mask)
        assert not bits[mask.size :].any()  # nothing of the next frame


@pytest.mark.parametrize("syntax", [None, ImplicitVRLittleEndian, ExplicitVRBigEndian])
def test_native_frames_come_little_endian(tmp_path: Path, syntax: str | None) -> None:
    stored = np.arange(3 * 5 * 7, dtype=np.uint16).reshape(3, 5, 7) * 300
    ds = make_image(stored, frames=3)
    if syntax is not None:
        ds.file_meta.TransferSyntaxUID = syntax
    if syntax == ExplicitVRBigEndian:
        ds.PixelData = stored.astype(">u2").tobytes()
    path = write(ds, tmp_path / "image.dcm")

    assert frames_of(path) == [one.astype("<u2").tobytes() for one in stored]
    whole = b"".join(read_layout(path, sop_instance_uid="1.2").blocks())
    assert whole[: stored.nbytes] == stored.astype("<u2").tobytes()


def test_odd_bytes_swapped_as_words_are_put_right(tmp_path: Path) -> None:
    stored = np.arange(2 * 3 * 3, dtype=np.uint8).reshape(2, 3, 3)
    ds = make_image(stored, frames=2)
    ds.file_meta.TransferSyntaxUID = ExplicitVRBigEndian
    ds.PixelData = stored.reshape(-1, 2)[:, ::-1].tobytes()
    ds["PixelData"].VR = "OW"
    path = write(ds, tmp_path / "image.dcm")

    assert frames_of(path) == [one.tobytes() for one in stored]


@pytest.mark.parametrize("has_offsets", [True, False])
def test_encapsulated_frames_come_as_stored(tmp_path: Path, has_offsets: bool) -> None:
    stored = np.arange(4 * 8 * 8, dtype=np.uint8).reshape(4, 8, 8)
    codes = [b"\xff\xd8" + one.tobytes() + b"\xff\xd9" for one in stored]
    ds = make_image(stored, frames=4)
    ds.file_meta.TransferSyntaxUID = JPEGLSLossless
    ds.PixelData = encapsulate(codes, has_bot=has_offsets)
    path = write(ds, tmp_path / "image.dcm")

    assert frames_of(path) == codes


def test_frames_are_found_by_extended_offsets(tmp_path: Path) -> None:
    stored = np.arange(3 * 4 * 4, dtype=np.uint8).reshape(3, 4, 4)
    codes = [one.tobytes() for one in stored]
    ds = make_image(stored, frames=3)
    ds.file_meta.TransferSyntaxUID = JPEGLSLossless
    (
        ds.PixelData,
        ds.ExtendedOffsetTable,
        ds.ExtendedOffsetTableLengths,
    ) = encapsulate_extended(codes)
    path = write(ds, tmp_path / "image.dcm")

    assert frames_of(path) == codes


@pytest.mark.parametrize("number", [0, 5])
def test_a_frame_that_is_not_there_is_not_found(tmp_path: Path, number: int) -> None:
    path = write(
        make_image(np.zeros((4, 2, 2), np.uint8), frames=4), tmp_path / "x.dcm"
    )
    layout = read_layout(path, sop_instance_uid="1.2")

    with pytest.raises(DicomwebError) as raised:
        stored_frame(layout, number)

    assert raised.value.status == 404


def test_frames_beyond_the_bytes_are_not_found(tmp_path: Path) -> None:
    ds = make_image(np.zeros((4, 2, 2), np.uint8), frames=4)
    ds.NumberOfFrames = 5
    layout = read_layout(write(ds, tmp_path / "x.dcm"), sop_instance_uid="1.2")

    with pytest.raises(DicomwebError, match="cut short"):
        stored_frame(layout, 5)


def test_a_document_has_no_frames(tmp_path: Path) -> None:
    ds = make_image(np.zeros((2, 2), np.uint8))
    del ds.PixelData

    with pytest.raises(DicomwebError, match="no pixels"):
        read_layout(write(ds, tmp_path / "x.dcm"), sop_instance_uid="1.2")


@pytest.mark.parametrize(
    "damage",
    [b"\xfe\xff\x00\xe0\xff\xff\xff\x7f", b"\xfe\xff\xdd\xe0\0\0\0\0", b"zzzz"],
)
def test_broken_fragments_end_in_one_error(tmp_path: Path, damage: bytes) -> None:
    ds = make_image(np.zeros((4, 8, 8), np.uint8), frames=4)
    ds.file_meta.TransferSyntaxUID = RLELossless
    ds.PixelData = encapsulate([b"abcd"] * 4)
    path = write(ds, tmp_path / "x.dcm")
    whole = path.read_bytes()
    place = whole.rindex(b"\xe0\x7f\x10\x00") + 12
    path.write_bytes(whole[:place] + damage)

    with pytest.raises(DicomwebError):
        stored_frame(read_layout(path, sop_instance_uid="1.2"), 2)


@pytest.mark.parametrize(
    "name",
    ["MR_small_RLE.dcm", "MR_small_jpeg_ls_lossless.dcm", "MR_small_jp2klossless.dcm"],
)
def test_decoded_frames_hold_the_stored_values(name: str) -> None:
    path = Path(str(get_testdata_file(name)))
    native = pydicom.dcmread(str(get_testdata_file("MR_small.dcm")))

    with PixelReader(LimitSettings(), processes=1) as reader:
        found = reader.read_stored(path, sop_instance_uid="1.2", frame_number=1)

    assert found == native.PixelData


def test_what_cannot_be_decoded_ends_the_frame_and_not_the_node(tmp_path: Path) -> None:
    ds = make_image(np.zeros((8, 8), np.uint8))
    ds.file_meta.TransferSyntaxUID = RLELossless
    ds.PixelData = encapsulate([b"\x01\0\0\0" + bytes(60) + b"x" * 24])
    path = write(ds, tmp_path / "x.dcm")

    with PixelReader(LimitSettings(), processes=1) as reader:
        with pytest.raises(PixelDecodingError):
            reader.read_stored(path, sop_instance_uid="1.2", frame_number=2)
        with pytest.raises(PixelDecodingError):
            reader.read_stored(path, sop_instance_uid="1.2", frame_number=1)


@pytest.mark.parametrize(
    "text", ["", "0x1", "1,,2", "-1", "1;2", ",".join(["1"] * 1001)]
)
def test_a_list_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(DicomwebError):
        parse_frame_list(text)


def test_frames_may_be_asked_for_in_any_order() -> None:
    assert parse_frame_list("3,1,2") == (3, 1, 2)
