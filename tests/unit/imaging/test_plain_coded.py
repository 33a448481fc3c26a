"""The short way to plain compressed pixels gives the long way's values, or declines."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from imagecodecs import htj2k_encode, jpeg2k_encode, jpeg8_encode
from pydicom import Dataset, dcmread
from pydicom.encaps import encapsulate, generate_frames
from pydicom.uid import (
    UID,
    HTJ2KLossless,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGLossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    RLELossless,
)

from dicom_node.errors import PixelDecodingError
from dicom_node.imaging.decode import check_pixels, decode_frames
from dicom_node.imaging.plain_coded import read_coded_image
from dicom_node.quiet import quiet
from tests.builders.pixel_images import make_image, series_of

_LIMIT = 1 << 30


def short_way(path: Path, limit: int = _LIMIT) -> np.ndarray | None:
    file = os.open(path, os.O_RDONLY)
    try:
        image = read_coded_image(file, max_pixels_bytes=limit)
        if image is None:
            return None
        values = np.empty(image.shape, np.float32)
        return values if image.read(file, stored=bytearray(), values=values) else None
    finally:
        os.close(file)


def long_way(path: Path) -> np.ndarray:
    ds = dcmread(path)
    check_pixels(ds, max_pixels_bytes=_LIMIT)
    (frame,) = decode_frames(ds, [1])
    return frame


ENCODERS = {
    JPEGBaseline8Bit: lambda stored, bits: jpeg8_encode(stored, level=90),
    JPEGLosslessSV1: lambda stored, bits: jpeg8_encode(
        stored, lossless=True, predictor=1, bitspersample=bits
    ),
    JPEGLossless: lambda stored, bits: jpeg8_encode(
        stored, lossless=True, predictor=6, bitspersample=bits
    ),
    JPEG2000Lossless: lambda stored, bits: jpeg2k_encode(
        stored, codecformat="J2K", reversible=True, bitspersample=bits
    ),
    HTJ2KLossless: lambda stored, bits: htj2k_encode(stored, reversible=True),
}


def make_coded(
    syntax: UID, bits: int, *, fragments: int = 1, offsets: bool = False, seed: int = 0
) -> Dataset:
    dtype = np.uint8 if bits == 8 else np.uint16
    rng = np.random.default_rng(seed)
    stored = rng.integers(0, 1 << bits, (37, 34)).astype(dtype)
    codestream = ENCODERS[syntax](stored, bits)
    ds = make_image(stored, bits_stored=bits)
    ds.file_meta.TransferSyntaxUID = syntax
    ds.PixelData = encapsulate(
        [codestream], fragments_per_frame=fragments, has_bot=offsets
    )
    ds["PixelData"].is_undefined_length = True
    return ds


@pytest.mark.parametrize("syntax", [JPEGLosslessSV1, JPEG2000Lossless])
def test_a_codestream_of_more_bits_than_are_stored_is_declined(tmp_path, syntax):
    # Whether its upper bits are values, a sign or an overlay, it does not say.
    path = tmp_path / "one.dcm"
    ds = make_coded(syntax, 12)
    series_of(ds, path)
    assert short_way(path) is not None
    ds.BitsStored, ds.HighBit = 10, 9
    series_of(ds, path)

    assert short_way(path) is None


@pytest.mark.parametrize(
    "damage",
    [
        lambda codestream: codestream[:-2],
        lambda codestream: codestream[: len(codestream) // 2],
        # Decoding goes on with what no 12 bits express.
        lambda codestream: codestream[: len(codestream) // 2] + b"\xff\xd9",
    ],
)
def test_a_jpeg_frame_that_ends_too_early_is_declined_and_refused(tmp_path, damage):
    path = tmp_path / "one.dcm"
    ds = make_coded(JPEGLosslessSV1, 12)
    ds.PixelData = encapsulate([damage(next(generate_frames(ds.PixelData)))])
    ds["PixelData"].is_undefined_length = True
    series_of(ds, path)

    assert short_way(path) is None
    with pytest.raises((PixelDecodingError, RuntimeError)):
        long_way(path)


def test_a_frame_with_two_offsets_is_declined(tmp_path):
    path = tmp_path / "one.dcm"
    series_of(make_coded(JPEG2000Lossless, 12), path)
    assert short_way(path) is not None
    data = path.read_bytes()
    empty = b"\xfe\xff\x00\xe0" + bytes(4)
    table = b"\xfe\xff\x00\xe0" + (8).to_bytes(4, "little") + bytes(8)
    assert data.count(empty) == 1
    path.write_bytes(data.replace(empty, table))

    assert short_way(path) is None


@settings(deadline=None, max_examples=40)
@given(data=st.data())
def test_the_short_way_gives_the_values_of_the_long_way(tmp_path_factory, data):
    syntax = data.draw(st.sampled_from(list(ENCODERS)))
    widths = {JPEGBaseline8Bit: [8], HTJ2KLossless: [8, 16]}.get(syntax, [8, 12, 16])
    ds = make_coded(
        syntax,
        data.draw(st.sampled_from(widths)),
        fragments=data.draw(st.sampled_from([1, 3])),
        offsets=data.draw(st.booleans()),
        seed=data.draw(st.integers(0, 9)),
    )
    ds.PhotometricInterpretation = data.draw(
        st.sampled_from(["MONOCHROME1", "MONOCHROME2"])
    )
    if data.draw(st.booleans()):
        ds.RescaleSlope, ds.RescaleIntercept = data.draw(
            st.sampled_from([(1, -1024), (0.5, 3), (-2.25, 0)])
        )
    if data.draw(st.booleans()):
        ds.PixelPaddingValue = data.draw(st.integers(0, 99))
    path = tmp_path_factory.mktemp("coded") / "one.dcm"
    series_of(ds, path)

    values = short_way(path)

    assert values is not None
    np.testing.assert_array_equal(values, long_way(path))


@pytest.mark.parametrize(
    "values",
    [
        {"PixelRepresentation": 1},
        {"BitsStored": 11, "HighBit": 10},
        {"BitsAllocated": 8, "BitsStored": 8, "HighBit": 7},
        {"Rows": 36},
        {"NumberOfFrames": 2},
        {"SamplesPerPixel": 3, "PhotometricInterpretation": "RGB"},
        {"PhotometricInterpretation": "PALETTE COLOR"},
        {"ModalityLUTSequence": [Dataset()]},
        {"ExtendedOffsetTable": bytes(8), "ExtendedOffsetTableLengths": bytes(8)},
        {"DataSetTrailingPadding": bytes(4)},
        {"PixelData": encapsulate([b"no picture"])},
        {"PixelData": encapsulate([b"\xff\xd8" + bytes(99), bytes(99)])},
        {"PixelData": encapsulate([])},
    ],
)
def test_what_leaves_something_to_choose_is_declined(tmp_path, values):
    ds = make_coded(JPEGLosslessSV1, 12)
    series_of(ds, tmp_path / "one.dcm")
    assert short_way(tmp_path / "one.dcm") is not None
    for keyword, value in values.items():
        setattr(ds, keyword, value)
    ds["PixelData"].is_undefined_length = True
    ds.save_as(tmp_path / "one.dcm")

    assert short_way(tmp_path / "one.dcm") is None


@pytest.mark.parametrize("syntax", [JPEGLSLossless, RLELossless])
def test_other_transfer_syntaxes_are_declined(tmp_path, syntax):
    ds = make_image(np.zeros((9, 9), np.uint16))
    ds.compress(syntax, generate_instance_uid=False)
    series_of(ds, tmp_path / "one.dcm")

    assert short_way(tmp_path / "one.dcm") is None


def test_an_image_beyond_the_limit_is_declined(tmp_path):
    series_of(make_coded(JPEGLosslessSV1, 12), tmp_path / "one.dcm")

    assert short_way(tmp_path / "one.dcm", 2 * 37 * 34) is not None
    assert short_way(tmp_path / "one.dcm", 2 * 37 * 34 - 1) is None


@settings(deadline=None, max_examples=80)
@given(data=st.data())
def test_damaged_files_are_declined_or_read_as_the_long_way_reads_them(
    tmp_path_factory, data
):
    folder = tmp_path_factory.mktemp("damaged", numbered=True)
    syntax = data.draw(st.sampled_from([JPEGLosslessSV1, JPEG2000Lossless]))
    series_of(make_coded(syntax, 12), folder / "a")
    whole = bytearray((folder / "a").read_bytes())
    start = data.draw(st.sampled_from([128, len(whole) - 2600]))
    for _ in range(data.draw(st.integers(1, 3))):
        whole[data.draw(st.integers(start, len(whole) - 1))] = data.draw(
            st.integers(0, 255)
        )
    (folder / "b").write_bytes(whole)

    values = short_way(folder / "b")

    if values is not None:
        with quiet():  # pydicom says what it mends of the header
            again = long_way(folder / "b")
        np.testing.assert_array_equal(values, again)
