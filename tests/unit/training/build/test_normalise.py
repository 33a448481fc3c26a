from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from training.build.normalise import (
    check_picture,
    describe_picture,
    encode_plane,
    neighbours_of,
    shrink_mask,
    store_plane,
    stored_shape,
)
from training.build.settings import BuildSettings
from training.errors import DatasetError
from training.layout import decode_picture, to_units
from training.readers.source import Picture

SETTINGS = BuildSettings(long_side=32)


def _round_trip(picture: Picture, modality: str) -> np.ndarray:
    info = describe_picture(picture, modality=modality, settings=SETTINGS)
    plane = picture.pixels[0] if picture.is_volume else picture.pixels
    stored = store_plane(plane, info, settings=SETTINGS, modality=modality)
    decoded = decode_picture(encode_plane(stored))
    np.testing.assert_array_equal(decoded, stored)
    return to_units(decoded, info)


@pytest.mark.parametrize("kind", [np.int16, np.int32, np.float32])
@pytest.mark.parametrize("values", [(-1024, 3071), (-32768, 32767), (5, 6)])
def test_hounsfield_units_come_back_exactly(
    kind: type, values: tuple[int, int]
) -> None:
    rng = np.random.default_rng(0)
    pixels = rng.integers(*values, (2, 12, 20), endpoint=True).astype(kind)

    back = _round_trip(Picture(pixels, (1, 1, 1), True), "CT")

    np.testing.assert_array_equal(back, pixels[0])


@pytest.mark.parametrize("modality", ["MR", "PT"])
def test_integers_of_sixteen_bits_come_back_exactly(modality: str) -> None:
    pixels = np.arange(-300, 212, dtype=np.int32).reshape(1, 16, 32) * 100

    back = _round_trip(Picture(pixels, None, True), modality)

    np.testing.assert_array_equal(back, pixels[0])


@settings(deadline=None)
@given(st.floats(-1e4, 1e4), st.floats(0.01, 1e4), st.sampled_from(["MR", "CT"]))
def test_other_values_come_back_within_half_a_step(
    low: float, span: float, modality: str
) -> None:
    pixels = (np.linspace(0, 1, 64).reshape(8, 8) * span + low).astype(np.float32)
    picture = Picture(pixels, None, False)
    info = describe_picture(picture, modality=modality, settings=SETTINGS)

    back = _round_trip(picture, modality)

    assert np.abs(back - pixels).max() <= info.scale * 0.51 + abs(low) * 1e-6 + 1e-6
    assert info.scale <= max(1.0, span / 65535 + 1e-6)


def test_radiographs_keep_their_order_in_eight_bits() -> None:
    pixels = (np.arange(1024, dtype=np.uint16) * 16).reshape(32, 32)

    back = _round_trip(Picture(pixels, None, False), "DX")

    assert (np.diff(back.ravel()) >= 0).all()
    assert np.abs(back[4:-4] - pixels[4:-4]).max() < 70


def test_an_eight_bit_ct_has_no_hounsfield_units() -> None:
    picture = Picture(np.zeros((4, 4), np.uint8), None, False)

    info = describe_picture(picture, modality="CT", settings=SETTINGS)

    assert info.units == "relative"


@settings(deadline=None)
@given(st.integers(1, 400), st.integers(1, 400))
def test_the_cap_keeps_the_proportion(rows: int, columns: int) -> None:
    shape = stored_shape(rows, columns, long_side=64)

    assert max(shape) <= 64
    if max(rows, columns) <= 64:
        assert shape == (rows, columns)
    else:
        factor = 64 / max(rows, columns)
        assert abs(shape[0] - rows * factor) <= 1
        assert abs(shape[1] - columns * factor) <= 1


@settings(deadline=None)
@given(st.integers(0, 60), st.integers(0, 60), st.integers(1, 30), st.integers(1, 30))
def test_a_shrunk_mask_lies_where_its_box_lies(
    top: int, left: int, height: int, width: int
) -> None:
    mask = np.zeros((96, 96), bool)
    mask[top : top + height, left : left + width] = True

    small = shrink_mask(mask, (32, 32))

    rows, columns = np.nonzero(small)
    assert len(rows)
    assert abs(rows.min() - top / 3) <= 1
    assert abs(rows.max() + 1 - (top + height) / 3) <= 1
    assert abs(columns.min() - left / 3) <= 1
    assert abs(columns.max() + 1 - (left + width) / 3) <= 1


@pytest.mark.parametrize(
    "pixels",
    [
        np.zeros((0, 4), np.uint8),
        np.zeros((2, 2, 2, 2), np.uint8),
        np.full((4, 4), np.nan, np.float32),
        np.zeros((4, 4, 3), np.uint16),
        np.zeros((4, 4), np.complex64),
    ],
)
def test_what_is_no_picture_is_refused(pixels: np.ndarray) -> None:
    with pytest.raises(DatasetError):
        check_picture(Picture(pixels, None, False))


def test_values_that_are_not_numbers_become_the_least() -> None:
    pixels = np.array([[1.0, np.nan], [np.inf, 4.0]], np.float32)

    checked = check_picture(Picture(pixels, None, False))

    np.testing.assert_array_equal(checked.pixels, [[1, 1], [1, 4]])


def test_neighbours_are_the_nearest_slices_and_stay_inside() -> None:
    settings = BuildSettings(neighbours_mm=(-10.0, -4.0, 4.0, 10.0))

    found = neighbours_of(1, 20, spacing_mm=2.5, settings=settings)

    assert [one.offset for one in found] == [-1, -1, 2, 4]
    assert [one.offset_mm for one in found] == [-2.5, -2.5, 5.0, 10.0]


def test_without_a_spacing_neighbours_are_the_next_slices() -> None:
    settings = BuildSettings(neighbours_mm=(-10.0, -4.0, 4.0, 10.0))

    found = neighbours_of(5, 20, spacing_mm=None, settings=settings)

    assert [one.offset for one in found] == [-2, -1, 1, 2]
