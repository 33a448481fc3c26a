"""The short way to plain pixels gives what the long way gives, or declines."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom import Dataset, Sequence, dcmread
from pydicom.uid import ExplicitVRBigEndian, ImplicitVRLittleEndian, RLELossless

from dicom_node.imaging.decode import check_pixels, decode_frames
from dicom_node.imaging.plain import PlainImage, read_plain_image, transfer_syntax_of
from tests.builders.pixel_images import make_image, series_of

_LIMIT = 1 << 30


def described(path: Path, limit: int = _LIMIT) -> PlainImage | None:
    file = os.open(path, os.O_RDONLY)
    try:
        return read_plain_image(file, max_pixels_bytes=limit)
    finally:
        os.close(file)


def short_way(path: Path) -> np.ndarray | None:
    file = os.open(path, os.O_RDONLY)
    try:
        image = read_plain_image(file, max_pixels_bytes=_LIMIT)
        if image is None:
            return None
        values = np.empty(image.shape, np.float32)
        room = bytearray(values.nbytes)
        return values if image.read(file, stored=room, values=values) else None
    finally:
        os.close(file)


def long_way(path: Path) -> np.ndarray:
    ds = dcmread(path)
    check_pixels(ds, max_pixels_bytes=_LIMIT)
    (frame,) = decode_frames(ds, [1])
    return frame


numbers = st.sampled_from([0.0, 1.0, -1.0, -1024.0, 0.5, 2.25, 1e-3, -7.125])


@settings(deadline=None, max_examples=60)
@given(data=st.data())
def test_the_short_way_gives_the_values_of_the_long_way(tmp_path_factory, data):
    bits = data.draw(st.sampled_from([8, 16]))
    sign = data.draw(st.booleans())
    stored_bits = data.draw(st.integers(2, bits))
    seed = data.draw(st.integers(0, 99))
    low, high = (-(1 << bits - 1), (1 << bits - 1)) if sign else (0, 1 << bits)
    dtype = f"{'i' if sign else 'u'}{bits // 8}"
    # The bits beyond Bits Stored hold anything.
    stored = np.random.default_rng(seed).integers(low, high, (7, 6)).astype(dtype)
    ds = make_image(
        stored,
        photometric=data.draw(st.sampled_from(["MONOCHROME1", "MONOCHROME2"])),
        bits_stored=stored_bits,
    )
    if data.draw(st.booleans()):
        ds.RescaleSlope = data.draw(numbers.filter(bool))
        ds.RescaleIntercept = data.draw(numbers)
    if data.draw(st.booleans()):
        ds.PixelPaddingValue = data.draw(st.integers(max(low, -99), 99))
        if data.draw(st.booleans()):
            ds.PixelPaddingRangeLimit = data.draw(st.integers(max(low, -99), 99))
    item = Dataset()
    item.CodeMeaning = "x"
    item.is_undefined_length_sequence_item = data.draw(st.booleans())
    ds.AnatomicRegionSequence = Sequence([item, Dataset()])
    ds["AnatomicRegionSequence"].is_undefined_length = data.draw(st.booleans())
    path = tmp_path_factory.mktemp("plain") / "one.dcm"
    series_of(ds, path)

    values = short_way(path)

    assert values is not None
    assert values.tobytes() == long_way(path).tobytes()


@pytest.mark.parametrize(
    "values",
    [
        {"SamplesPerPixel": 3, "PhotometricInterpretation": "RGB"},
        {"NumberOfFrames": 2},
        {"PhotometricInterpretation": "PALETTE COLOR"},
        {"HighBit": 14},
        {"BitsStored": 17},
        {"Rows": 0},
        {"Columns": [4, 4]},
        {"Rows": 400},
        {"RescaleSlope": 0, "RescaleIntercept": 1},
        {"RescaleSlope": 2},
        {"RescaleSlope": [1, 2], "RescaleIntercept": 1},
        {"ModalityLUTSequence": [Dataset()]},
        {"SharedFunctionalGroupsSequence": [Dataset()]},
        {"PerFrameFunctionalGroupsSequence": [Dataset()]},
        {"FloatPixelData": bytes(64)},
    ],
)
def test_what_leaves_something_to_choose_is_declined(tmp_path, values):
    path = tmp_path / "one.dcm"
    series_of(make_image(np.zeros((4, 4), np.uint16)), path)
    assert described(path) is not None
    ds = dcmread(path)
    for keyword, value in values.items():
        setattr(ds, keyword, value)
    ds.save_as(path)

    assert described(path) is None


@pytest.mark.parametrize(
    "syntax", [ImplicitVRLittleEndian, ExplicitVRBigEndian, RLELossless]
)
def test_other_transfer_syntaxes_are_declined(tmp_path, syntax):
    ds = make_image(np.zeros((4, 4), np.uint16))
    if syntax == RLELossless:
        ds.compress(syntax, generate_instance_uid=False)
    ds.file_meta.TransferSyntaxUID = syntax
    series_of(ds, tmp_path / "one.dcm")

    assert described(tmp_path / "one.dcm") is None
    assert transfer_syntax_of((tmp_path / "one.dcm").read_bytes()) == syntax


def test_an_image_beyond_the_limit_is_declined(tmp_path):
    series_of(make_image(np.zeros((4, 4), np.uint16)), tmp_path / "one.dcm")

    assert described(tmp_path / "one.dcm", 32) is not None
    assert described(tmp_path / "one.dcm", 31) is None


@settings(deadline=None, max_examples=150)
@given(data=st.data())
def test_damaged_files_are_declined_or_read(tmp_path_factory, data):
    folder = tmp_path_factory.mktemp("damaged", numbered=True)
    series_of(make_image(np.arange(16, dtype=np.uint16).reshape(4, 4)), folder / "a")
    whole = bytearray((folder / "a").read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        whole[data.draw(st.integers(128, len(whole) - 1))] = data.draw(
            st.integers(0, 255)
        )
    (folder / "b").write_bytes(whole[: data.draw(st.integers(0, len(whole)))])

    image = described(folder / "b")

    assert image is None or image.offset + 2 <= len(whole)
