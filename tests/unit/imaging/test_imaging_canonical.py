from __future__ import annotations

from itertools import permutations, product
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dicom_node.imaging import CanonicalGrid
from dicom_node.records import BoundingBox, FrameReference, ImageSeries
from tests.builders.places import to_patient

ORIENTATIONS = [
    (axes, signs)
    for axes in permutations(range(3))
    for signs in product((1, -1), repeat=3)
]
"""All 48: which LPS axis each index axis follows, and in which direction."""

SHAPES = st.tuples(*[st.integers(1, 7)] * 3)
SPACINGS = st.tuples(*[st.floats(0.2, 8.0)] * 3)
ORIGINS = st.tuples(*[st.floats(-500, 500)] * 3)


def make_affine(orientation, spacing, origin):
    axes, signs = orientation
    affine = np.zeros((4, 4))
    for index_axis in range(3):
        affine[axes[index_axis], index_axis] = signs[index_axis] * spacing[index_axis]
    affine[:3, 3] = origin
    affine[3, 3] = 1
    return affine


def make_series(shape, affine, orientation_lps=None):
    frames = tuple(
        FrameReference(f"1.{k}", "1.2", 1, Path("x")) for k in range(shape[0])
    )
    return ImageSeries(
        study_instance_uid="1",
        series_instance_uid="2",
        modality="CT",
        body_part=None,
        frames=frames,
        rows=shape[1],
        columns=shape[2],
        is_colour=False,
        pixel_spacing_mm=(1.0, 1.0),
        affine_lps=affine,
        frame_of_reference_uid="3",
        orientation_lps=orientation_lps,
    )


def voxel_places(affine, indices):
    return to_patient(affine, np.asarray(indices, float).reshape(-1, 3))


def canonical_places(grid, series, affine):
    """LPS of every canonical voxel, by sending the indices through `apply`."""
    indices = np.stack(np.indices(grid.source_shape), axis=-1).reshape(-1, 3)
    numbers = np.arange(len(indices)).reshape(grid.source_shape)
    turned = grid.apply(numbers)
    return voxel_places(affine, indices)[turned.ravel()].reshape(*turned.shape, 3)


@given(st.sampled_from(ORIENTATIONS), SHAPES, SPACINGS, ORIGINS)
def test_canonical_axes_run_to_head_back_and_left(orientation, shape, spacing, origin):
    affine = make_affine(orientation, spacing, origin)
    series = make_series(shape, affine)

    grid = CanonicalGrid.of(series)

    places = canonical_places(grid, series, affine)
    assert places.shape[:3] == grid.shape
    for axis, component in enumerate((2, 1, 0)):
        steps = np.diff(places, axis=axis)
        expected = np.zeros(3)
        expected[component] = grid.spacing_mm[axis]
        np.testing.assert_allclose(
            steps, np.broadcast_to(expected, steps.shape), atol=1e-9
        )


@given(st.sampled_from(ORIENTATIONS), SHAPES, st.data())
def test_a_restored_mask_covers_the_same_voxels(orientation, shape, data):
    series = make_series(shape, make_affine(orientation, (3, 2, 1), (0, 0, 0)))
    grid = CanonicalGrid.of(series)
    low = [data.draw(st.integers(0, size - 1)) for size in grid.shape]
    high = [
        data.draw(st.integers(start + 1, size))
        for start, size in zip(low, grid.shape, strict=True)
    ]
    size = tuple(b - a for a, b in zip(low, high, strict=True))
    mask = np.random.default_rng(sum(low)).random(size) < 0.5

    restored, start = grid.restore_mask(mask, low)

    numbers = np.arange(np.prod(shape)).reshape(shape)
    block = tuple(slice(a, b) for a, b in zip(low, high, strict=True))
    expected = grid.apply(numbers)[block][mask]
    found = numbers[tuple((np.argwhere(restored) + start).T)]
    assert sorted(found) == sorted(expected)


@given(st.sampled_from(ORIENTATIONS), SHAPES, SPACINGS, st.data())
def test_the_restored_boxes_of_a_block_are_the_block(orientation, shape, spacing, data):
    affine = make_affine(orientation, spacing, (0, 0, 0))
    series = make_series(shape, affine)
    grid = CanonicalGrid.of(series)
    low = [data.draw(st.integers(0, size - 1)) for size in grid.shape]
    high = [
        data.draw(st.integers(start + 1, size))
        for start, size in zip(low, grid.shape, strict=True)
    ]
    xyxy = (float(low[2]), float(low[1]), float(high[2]), float(high[1]))
    boxes = [BoundingBox(k, xyxy, 0.5) for k in range(low[0], high[0])]

    restored = grid.restore_boxes(boxes)

    mask = np.ones([b - a for a, b in zip(low, high, strict=True)], bool)
    block, start = grid.restore_mask(mask, low)
    stop = [a + n for a, n in zip(start, block.shape, strict=True)]
    assert [box.frame_index for box in restored] == list(range(start[0], stop[0]))
    assert {box.xyxy for box in restored} == {(start[2], start[1], stop[2], stop[1])}


@given(st.sampled_from([o for o in ORIENTATIONS if o[0][0] == 2]), st.data())
def test_boxes_on_axial_frames_stay_boxes(orientation, data):
    series = make_series((5, 6, 7), make_affine(orientation, (2, 1, 1), (0, 0, 0)))
    grid = CanonicalGrid.of(series)
    boxes = []
    for k in range(5):
        x = sorted(data.draw(st.tuples(*[st.floats(0, grid.shape[2])] * 2)))
        y = sorted(data.draw(st.tuples(*[st.floats(0, grid.shape[1])] * 2)))
        boxes.append(BoundingBox(k, (x[0], y[0], x[1], y[1]), k / 10))
    for box in boxes:
        x0, y0, x1, y1 = box.xyxy
        (restored,) = grid.restore_boxes([box])

        sides = sorted(
            [restored.xyxy[2] - restored.xyxy[0], restored.xyxy[3] - restored.xyxy[1]]
        )
        assert sides == pytest.approx(sorted([x1 - x0, y1 - y0]))
        assert restored.score == box.score


def test_bodies_that_do_not_touch_stay_apart_when_frames_cut_across_slices():
    # A coronal series: rows run towards the feet, frames from front to back.
    series = make_series(
        (4, 6, 10), make_affine(((1, 2, 0), (1, -1, 1)), (1, 1, 1), (0, 0, 0))
    )
    grid = CanonicalGrid.of(series)
    left = [BoundingBox(k, (7.0, 1.0, 9.0, 3.0), 0.9) for k in (0, 1)]
    right = [BoundingBox(k, (1.0, 1.0, 3.0, 3.0), 0.4) for k in (0, 1)]

    restored = grid.restore_boxes([*left, *right])

    assert [box.frame_index for box in restored] == [1, 1, 2, 2]
    assert [box.xyxy for box in restored[:2]] == [(1, 4, 3, 6), (7, 4, 9, 6)]
    assert [box.score for box in restored[:2]] == [0.4, 0.9]


@given(st.sampled_from(ORIENTATIONS), st.floats(-44, 44), st.sampled_from([0, 1, 2]))
def test_oblique_volumes_get_the_nearest_axes(orientation, degrees, about):
    straight = make_affine(orientation, (2, 1, 1), (0, 0, 0))
    angle = np.deg2rad(degrees)
    turn = np.eye(4)
    i, j = [axis for axis in range(3) if axis != about]
    turn[i, i] = turn[j, j] = np.cos(angle)
    turn[i, j], turn[j, i] = -np.sin(angle), np.sin(angle)

    oblique = CanonicalGrid.of(make_series((3, 4, 5), turn @ straight))

    expected = CanonicalGrid.of(make_series((3, 4, 5), straight))
    assert (oblique.axes, oblique.flipped) == (expected.axes, expected.flipped)
    assert oblique.spacing_mm == pytest.approx(expected.spacing_mm)


def test_images_without_orientation_stay_as_they_are():
    grid = CanonicalGrid.of(make_series((3, 4, 5), None))
    pixels = np.arange(60).reshape(3, 4, 5)

    np.testing.assert_array_equal(grid.apply(pixels), pixels)


def test_slices_without_a_grid_turn_within_their_plane_only():
    # Lying prone and feet first, the rows run towards the front.
    series = make_series((3, 4, 5), None, (-1.0, 0.0, 0.0, 0.0, -1.0, 0.0))
    pixels = np.arange(60).reshape(3, 4, 5)

    turned = CanonicalGrid.of(series).apply(pixels)

    np.testing.assert_array_equal(turned, pixels[:, ::-1, ::-1])


def test_colour_stays_the_last_axis():
    affine = make_affine(((0, 2, 1), (1, -1, 1)), (1, 2, 3), (0, 0, 0))
    grid = CanonicalGrid.of(make_series((3, 4, 5), affine))
    colour = np.stack([np.arange(60).reshape(3, 4, 5)] * 3, axis=-1)

    turned = grid.apply(colour)

    np.testing.assert_array_equal(turned[..., 0], grid.apply(colour[..., 0]))
    assert turned.shape == (*grid.shape, 3)
