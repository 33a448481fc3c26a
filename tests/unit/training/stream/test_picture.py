from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from model.config import MedGLIPConfig
from model.processing import normalise_units, window_channels
from tests.builders.shard_folder import make_members, make_record, make_region
from training.errors import TrainingError
from training.layout import Neighbour
from training.stream.picture import Drawn, draw_picture

CONFIG = MedGLIPConfig()
SHAPE = (96, 128)
"""A 32 x 48 picture without spacing becomes 85 x 128 model pixels."""
GREY = np.random.default_rng(0).integers(0, 255, (32, 48)).astype(np.uint8)


def _draw(record, pixels=GREY, *, drawn=None, **changes):
    members = make_members(record, pixels, **changes)
    return draw_picture(members, config=CONFIG, shape=SHAPE, drawn=drawn or Drawn())


def _block(top, bottom, left, right):
    mask = np.zeros((32, 48), dtype=np.bool_)
    mask[top:bottom, left:right] = True
    return mask


def test_a_plain_picture_is_seen_as_in_serving():
    record = make_record(height=96, width=128)
    pixels = np.random.default_rng(1).integers(0, 255, (96, 128)).astype(np.uint8)

    picture = _draw(record, pixels)

    units = normalise_units(pixels.astype(np.float32), "DX")
    serving = window_channels(
        torch.from_numpy(np.repeat(units[None], 5, axis=0))
    ).numpy()
    assert picture.pixels.shape == (CONFIG.input_channels, *SHAPE)
    np.testing.assert_allclose(picture.pixels, serving, atol=1e-4)


def test_hounsfield_units_stay_what_they_are():
    pixels = np.full((96, 128), 32768 + 40, dtype=np.uint16)
    record = make_record(height=96, width=128, modality="CT")

    picture = _draw(record, pixels, units="HU", intercept=-32768.0)

    expected = window_channels(torch.full((5, 96, 128), 40.0))
    np.testing.assert_allclose(picture.pixels, expected, atol=1e-4)


def test_colour_becomes_luminance():
    colours = np.random.default_rng(2).integers(0, 255, (96, 128, 3)).astype(np.uint8)
    record = make_record(height=96, width=128, modality="ES")

    picture = _draw(record, colours, units="rgb")

    grey = colours @ np.array([0.299, 0.587, 0.114], dtype=np.float32)
    units = normalise_units(grey, "ES")[None].repeat(5, 0)
    expected = window_channels(torch.from_numpy(units))
    np.testing.assert_allclose(picture.pixels, expected, atol=1e-3)


def test_neighbours_of_a_slice_are_its_outer_channels():
    def plane(hu):
        return np.full((96, 128), 32768 + hu, dtype=np.uint16)

    beside = [
        (Neighbour(-2, -10.0), plane(-100)),
        (Neighbour(-1, -4.0), plane(-50)),
        (Neighbour(1, 4.0), plane(50)),
        (Neighbour(2, 10.0), plane(100)),
    ]
    record = make_record(height=96, width=128, modality="CT")

    picture = _draw(record, plane(0), units="HU", intercept=-32768.0, neighbours=beside)

    soft = picture.pixels[:5, 48, 64] * 200 + 40
    np.testing.assert_allclose(soft, [-100, -50, 0, 50, 100], atol=0.1)


def test_masks_and_boxes_move_with_the_pixels():
    region = make_region("left lung", mask=_block(8, 24, 12, 36))

    place = _draw(make_record([region])).places[0]

    top = round((96 - 85) / 2)
    assert place.is_outlined
    rows, columns = np.nonzero(place.masks[0])
    assert (columns.min(), columns.max() + 1) == (32, 96)
    assert rows.min() == pytest.approx(top + 8 * 85 / 32, abs=1)
    assert rows.max() + 1 == pytest.approx(top + 24 * 85 / 32, abs=1)
    box = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
    assert place.boxes_xyxy[0].tolist() == box


def test_a_box_without_a_mask_is_filled_and_no_outline():
    place = _draw(make_record([make_region("nodule", (12, 8, 36, 24))])).places[0]

    assert not place.is_outlined
    assert place.status == "present"
    assert place.masks[0].sum() == pytest.approx(64 * 42.5, rel=0.05)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**32), st.integers(4, 20), st.integers(4, 30))
def test_mirroring_swaps_left_and_right_words_with_the_pixels(seed, top, left):
    rng = np.random.default_rng(seed)
    drawn = Drawn.draw(rng, mirror=0.0)
    region = make_region("left lung", mask=_block(top, top + 8, left, left + 10))
    record = make_record([region], label_space=("left lung", "right lung"))
    mirrored = Drawn(**{**_fields(drawn), "mirror": True})

    plain, turned = _draw(record, drawn=drawn), _draw(record, drawn=mirrored)

    np.testing.assert_array_equal(turned.pixels, plain.pixels[..., ::-1])
    assert [place.text for place in plain.places] == ["left lung"]
    assert [place.text for place in turned.places] == ["right lung"]
    assert turned.label_space == ("right lung", "left lung")
    for one, two in zip(plain.places, turned.places, strict=True):
        np.testing.assert_array_equal(two.masks, one.masks[..., ::-1])
        width = SHAPE[1]
        boxes = one.boxes_xyxy[:, [2, 1, 0, 3]]
        boxes[:, [0, 2]] = width - boxes[:, [0, 2]]
        np.testing.assert_allclose(two.boxes_xyxy, boxes)


def _fields(drawn):
    return {name: getattr(drawn, name) for name in Drawn.__slots__}


@pytest.mark.parametrize("name", ["liver", "right middle lobe", "heart"])
def test_what_has_no_mirror_image_is_never_mirrored(name):
    record = make_record([make_region(name, (12, 8, 36, 24))])

    plain, turned = _draw(record), _draw(record, drawn=Drawn(mirror=True))

    np.testing.assert_array_equal(turned.pixels, plain.pixels)
    assert turned.places[0].text == name


def test_what_the_crop_leaves_out_is_neither_there_nor_absent():
    corner = make_region("nodule", mask=_block(0, 4, 0, 4))
    record = make_record([corner, make_region("cyst")])

    places = _draw(record, drawn=Drawn(zoom=1.28, place=(1.0, 1.0))).places

    assert [place.status for place in places] == ["unknown", "absent"]
    assert not len(places[0].masks)


def test_a_region_to_ignore_and_one_without_a_place_are_unknown():
    ignored = make_region("cyst", (1, 1, 9, 9), ignore=True)
    placeless = make_region("mass", ignore=True)

    places = _draw(make_record([ignored, placeless])).places

    assert {place.status for place in places} == {"unknown"}


def test_parts_are_no_outline_and_count_less():
    mask = _block(8, 24, 12, 36)
    some = make_region("nodule", mask=mask, complete=False, weight=0.8)
    unsure = make_region("cyst", mask=mask, status="uncertain")

    parts, doubtful = _draw(make_record([some, unsure])).places

    assert (parts.is_outlined, parts.weight) == (False, pytest.approx(0.4))
    assert (doubtful.is_outlined, doubtful.weight) == (True, 0.5)


def test_a_thin_mask_keeps_its_pixels_when_the_picture_shrinks():
    mask = np.zeros((512, 512), dtype=np.bool_)
    mask[200:203, 100:400] = True
    record = make_record([make_region("tube", mask=mask)], height=512, width=512)

    place = _draw(record, np.zeros((512, 512), np.uint8)).places[0]

    assert 60 <= place.masks[0].sum() <= 160


@pytest.mark.parametrize(
    "spoil",
    [
        {"json": b"{}"},
        {"json": b"no json"},
        {"png": b"no picture"},
        {"picture.json": b"[]"},
        {"png": None},
    ],
)
def test_a_damaged_sample_is_told(spoil):
    members = make_members(make_record(), GREY) | spoil
    members = {key: value for key, value in members.items() if value is not None}

    with pytest.raises(TrainingError):
        draw_picture(members, config=CONFIG, shape=SHAPE, drawn=Drawn())


def test_a_record_that_contradicts_its_picture_is_told():
    wide = make_record(width=49)
    small = make_region("x", mask=np.ones((4, 4), np.bool_))

    for record in (wide, make_record([small])):
        with pytest.raises(TrainingError, match="size"):
            _draw(record)
