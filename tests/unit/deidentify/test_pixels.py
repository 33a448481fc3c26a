"""Nothing leaves beside the pixels, and the pixels leave as they are."""

from __future__ import annotations

from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pydicom import Dataset, dcmread
from pydicom.encaps import encapsulate, generate_frames
from pydicom.uid import (
    UID,
    ExplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGLSLossless,
    RLELossless,
)

from dicom_node.deidentify import Pseudonyms, deidentify_file
from dicom_node.errors import DeidentificationError
from tests.builders.dicom_series import make_ct_series

PSEUDONYMS = Pseudonyms(b"k" * 32, "remote")
SECRET = b"Ihgfed^Cba MRN90817263"


def jpeg_segment(marker: int) -> bytes:
    return bytes((0xFF, marker)) + (len(SECRET) + 2).to_bytes(2, "big") + SECRET


def in_front(marker: int) -> Callable[[bytes], bytes]:
    return lambda frame: frame[:2] + jpeg_segment(marker) + frame[2:]


def before_tiles(frame: bytes) -> bytes:
    at = frame.index(b"\xff\x90")
    return frame[:at] + jpeg_segment(0x64) + frame[at:]


def behind(frame: bytes) -> bytes:
    return frame + SECRET


@pytest.fixture(scope="module")
def ct(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_ct_series(tmp_path_factory.mktemp("ct"), slices=1).paths[0]


def save(ds: Dataset, path: Path, data: bytes, *, syntax: UID) -> Path:
    ds.PixelData = data
    ds["PixelData"].VR = "OB" if syntax.is_encapsulated else "OW"
    ds["PixelData"].is_undefined_length = syntax.is_encapsulated
    ds.file_meta.TransferSyntaxUID = syntax
    ds.save_as(path)
    assert SECRET in path.read_bytes()
    return path


def compressed(ct: Path, syntax: UID) -> Dataset:
    ds = dcmread(ct)
    if syntax == JPEGBaseline8Bit:
        ds.BitsAllocated = ds.BitsStored = 8
        ds.HighBit, ds.PixelRepresentation = 7, 0
        stream = BytesIO()
        pixels = np.arange(ds.Rows * ds.Columns).reshape(ds.Rows, ds.Columns) % 251
        Image.fromarray(pixels.astype(np.uint8)).save(stream, "JPEG")
        ds.PixelData = encapsulate([stream.getvalue()])
        ds["PixelData"].VR = "OB"
        ds["PixelData"].is_undefined_length = True
        ds.file_meta.TransferSyntaxUID = syntax
        return ds
    ds.Rows = ds.Columns = 64
    ds.PixelData = (np.arange(64 * 64) % 997).astype("<i2").tobytes()
    ds.compress(syntax, generate_instance_uid=False)
    return ds


@pytest.mark.parametrize(
    ("syntax", "hide"),
    [
        (JPEGBaseline8Bit, in_front(0xFE)),
        (JPEGBaseline8Bit, in_front(0xE1)),
        (JPEGBaseline8Bit, behind),
        (JPEGLSLossless, in_front(0xE8)),
        (JPEGLSLossless, behind),
        (JPEG2000Lossless, before_tiles),
        (JPEG2000Lossless, behind),
        (RLELossless, behind),
    ],
)
def test_a_compressed_frame_leaves_with_its_pixels_alone(
    ct: Path, tmp_path: Path, syntax: UID, hide: Callable[[bytes], bytes]
) -> None:
    ds = compressed(ct, syntax)
    (frame,) = generate_frames(ds.PixelData, number_of_frames=1)
    before = ds.pixel_array.copy()
    data = encapsulate([hide(frame)])
    source = save(ds, tmp_path / "in.dcm", data, syntax=syntax)

    deidentify_file(source, tmp_path / "out.dcm", PSEUDONYMS)

    assert SECRET not in (tmp_path / "out.dcm").read_bytes()
    assert np.array_equal(dcmread(tmp_path / "out.dcm").pixel_array, before)


def test_native_pixels_end_where_their_frames_end(ct: Path, tmp_path: Path) -> None:
    ds = dcmread(ct)
    pixels = bytes(ds.PixelData)
    syntax = ExplicitVRLittleEndian
    source = save(ds, tmp_path / "in.dcm", pixels + SECRET, syntax=syntax)

    copy = deidentify_file(source, tmp_path / "out.dcm", PSEUDONYMS)

    assert copy.PixelData == pixels
    assert SECRET not in (tmp_path / "out.dcm").read_bytes()


def test_a_frame_that_cannot_be_looked_through_does_not_leave(
    ct: Path, tmp_path: Path
) -> None:
    for syntax in (JPEGBaseline8Bit, JPEG2000Lossless, RLELossless):
        ds = dcmread(ct)
        data = encapsulate([SECRET * 5])
        source = save(ds, tmp_path / "in.dcm", data, syntax=syntax)

        with pytest.raises(DeidentificationError, match="cannot be looked through"):
            deidentify_file(source, tmp_path / "out.dcm", PSEUDONYMS)


def test_tables_profiles_and_thumbnails_say_nothing(ct: Path, tmp_path: Path) -> None:
    ds = dcmread(ct)
    ds.ICCProfile = SECRET
    table = Dataset()
    table.LUTDescriptor = [4, 0, 16]
    table.ModalityLUTType = "HU"
    table.add_new("LUTData", "OW", b"\0\1" * 4 + SECRET)
    table.PixelData = SECRET
    table["PixelData"].VR = "OB"
    ds.ModalityLUTSequence = [table]
    ds.add_new("VectorGridData", "OF", SECRET + b"\0\0")
    ds.save_as(tmp_path / "in.dcm")

    copy = deidentify_file(tmp_path / "in.dcm", tmp_path / "out.dcm", PSEUDONYMS)

    assert copy.ModalityLUTSequence[0].LUTData == b"\0\1" * 4
    assert SECRET not in (tmp_path / "out.dcm").read_bytes()


def test_sound_does_not_leave(tmp_path: Path) -> None:
    changes: dict[str, object] = {"SOPClassUID": "1.2.840.10008.5.1.4.1.1.9.4.1"}
    source = make_ct_series(tmp_path, slices=1, changes=changes).paths[0]

    with pytest.raises(DeidentificationError, match="sound may be speech"):
        deidentify_file(source, tmp_path / "out.dcm", PSEUDONYMS)
