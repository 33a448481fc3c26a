from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from model.grid import choose_grid
from model.regions import (
    SourceMask,
    keep_islands,
    slice_boxes,
    source_mask,
    unite_masks,
)


def test_small_islands_go_and_large_ones_stay():
    mask = np.zeros((5, 30, 30), dtype=np.bool_)
    mask[1:4, 5:15, 5:15] = True
    mask[0, 25, 25] = True

    kept = keep_islands(mask, smallest=8, is_volume=True)

    assert kept.sum() == 300
    assert not kept[0].any()


def test_independent_pictures_are_not_connected():
    mask = np.zeros((3, 20, 20), dtype=np.bool_)
    mask[:, 4:6, 4:6] = True  # twelve voxels as a volume, four per picture

    assert keep_islands(mask, smallest=6, is_volume=True).any()
    assert not keep_islands(mask, smallest=6, is_volume=False).any()


@given(
    st.integers(0, 3), st.integers(0, 20), st.integers(0, 30),
    st.integers(1, 10), st.integers(1, 10),
)  # fmt: skip
def test_boxes_are_tight(z, y, x, height, width):
    mask = SourceMask(np.ones((1, height, width), dtype=np.bool_), (z, y, x))

    boxes = slice_boxes(mask, smallest_pixels=1)

    assert boxes == [(z, (float(x), float(y), float(x + width), float(y + height)))]


def test_two_pieces_on_one_slice_get_two_boxes_and_specks_none():
    plane = np.zeros((1, 20, 40), dtype=np.bool_)
    plane[0, 2:8, 2:8] = plane[0, 10:18, 20:30] = plane[0, 0, 39] = True

    boxes = slice_boxes(SourceMask(plane, (7, 100, 200)), smallest_pixels=4)

    assert [index for index, _ in boxes] == [7, 7]
    assert {box for _, box in boxes} == {
        (202.0, 102.0, 208.0, 108.0), (220.0, 110.0, 230.0, 118.0)
    }  # fmt: skip


@given(st.integers(4, 9), st.integers(10, 20), st.integers(10, 20))
def test_a_block_comes_back_on_the_source_grid(depth, height, width):
    grid = choose_grid((30, 150, 150), (1.5, 1.5, 1.5), is_volume=True, pixel_mm=3.0)
    share = np.zeros((len(grid.slice_positions), 75, 75), dtype=np.float32)
    share[3 : 3 + depth, 20 : 20 + height, 30 : 30 + width] = 1.0

    found = source_mask(share, share > 0.5, grid, threshold=0.5)

    expected = depth * height * width * (grid.step_mm / 1.5) * 4
    assert abs(found.mask.sum() - expected) < 0.15 * expected
    assert abs(found.origin[1] - 40) <= 1
    assert abs(found.origin[2] - 60) <= 1
    assert found.mask.any(axis=(0, 1))[[0, -1]].all()


def test_dropped_islands_do_not_come_back():
    grid = choose_grid((8, 90, 90), (3.0, 1.5, 1.5), is_volume=True, pixel_mm=3.0)
    share = np.zeros((8, 45, 45), dtype=np.float32)
    share[2:6, 5:20, 5:20] = share[0, 40, 40] = 0.9
    kept = keep_islands(share > 0.5, smallest=5, is_volume=True)

    found = source_mask(share, kept, grid, threshold=0.5)

    assert found.origin[1] + found.mask.shape[1] < 50


@given(st.floats(0.2, 0.8), st.integers(0, 9))
def test_probabilities_are_what_the_mask_is_cut_from(threshold, seed):
    grid = choose_grid((8, 90, 90), (3.0, 1.5, 1.5), is_volume=True, pixel_mm=3.0)
    share = np.random.default_rng(seed).random((8, 45, 45), dtype=np.float32)
    share[2:6, 5:20, 5:20] = 0.9
    kept = keep_islands(share >= threshold, smallest=5, is_volume=True)

    plain = source_mask(share, kept, grid, threshold=threshold)
    found = source_mask(share, kept, grid, threshold=threshold, with_probability=True)

    assert plain.probability is None
    assert np.array_equal(plain.mask, found.mask)
    assert plain.origin == found.origin
    assert found.probability.dtype == np.uint8
    assert found.probability.shape == found.mask.shape
    assert found.probability[found.mask].min() >= np.floor(255 * threshold)
    assert found.probability[~found.mask].max(initial=0) <= np.ceil(255 * threshold)
    assert len(np.unique(found.probability)) > 50


def test_a_whole_is_as_probable_as_its_surest_part():
    box = np.ones((1, 2, 2), dtype=np.bool_)
    sure, less = (np.full((1, 2, 2), value, np.uint8) for value in (200, 90))

    both = unite_masks(
        [SourceMask(box, (0, 0, 0), less), SourceMask(box, (0, 1, 1), sure)]
    )
    some = unite_masks([SourceMask(box, (0, 0, 0)), SourceMask(box, (0, 1, 1), sure)])

    expected = [[[90, 90, 0], [90, 200, 200], [0, 200, 200]]]
    assert both.probability.tolist() == expected
    assert some.probability is None  # nobody knows half a map


def test_nothing_kept_is_an_empty_mask():
    grid = choose_grid((2, 90, 90), (3.0, 3.0, 3.0), is_volume=True, pixel_mm=3.0)
    share = np.zeros((2, 90, 90), dtype=np.float32)

    found = source_mask(share, share > 0.5, grid, threshold=0.5)

    assert found.mask.shape == (0, 0, 0)
    assert found.origin == (0, 0, 0)


place = st.tuples(*[st.integers(0, 5)] * 3)
size = st.tuples(*[st.integers(1, 4)] * 3)


@given(st.lists(st.tuples(place, size), min_size=1, max_size=4), st.integers(0, 9))
def test_a_union_holds_what_its_masks_hold_and_is_tight(cases, seed):
    rng = np.random.default_rng(seed)
    masks = []
    whole = np.zeros((9, 9, 9), dtype=np.bool_)
    for origin, shape in cases:
        mask = rng.random(shape) < 0.5
        mask[0, 0, 0] = mask[-1, -1, -1] = True  # cropped tight
        masks.append(SourceMask(mask, origin))
        part = tuple(slice(o, o + n) for o, n in zip(origin, shape, strict=True))
        whole[part] |= mask

    union = unite_masks(masks)

    laid = np.zeros_like(whole)
    sides = zip(union.origin, union.mask.shape, strict=True)
    laid[tuple(slice(o, o + n) for o, n in sides)] = union.mask
    assert np.array_equal(laid, whole)
    for axis in range(3):
        line = union.mask.any(axis=tuple(i for i in range(3) if i != axis))
        assert line[0]
        assert line[-1]
