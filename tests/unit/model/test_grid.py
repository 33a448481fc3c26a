from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from model.grid import body_window, choose_grid, shrink, upsample_box

SHAPES = st.tuples(
    st.integers(1, 60), st.integers(20, 700), st.integers(20, 700)
)  # slices, rows, columns
SPACINGS = st.one_of(
    st.none(),
    st.tuples(st.floats(0.4, 8), st.floats(0.2, 3), st.floats(0.2, 3)),
)


@given(SHAPES, SPACINGS, st.lists(st.floats(0, 1), min_size=3, max_size=3))
def test_a_point_comes_back_from_the_model_grid(shape, spacing, share):
    grid = choose_grid(shape, spacing, is_volume=True, pixel_mm=3.0)
    limits = np.array([shape[0] - 1, shape[1], shape[2]], dtype=np.float64)
    point = np.array(share) * limits

    there = grid.to_model(point[None])
    back = grid.to_source(there)[0]

    assert np.allclose(back, point, atol=1e-6)


@given(SHAPES, SPACINGS)
def test_the_grids_cover_the_same_extent(shape, spacing):
    grid = choose_grid(shape, spacing, is_volume=True, pixel_mm=3.0)
    corners = np.array([[0, 0, 0], [len(grid.slice_positions) - 1, grid.rows,
                                    grid.columns]], dtype=np.float64)  # fmt: skip

    source = grid.to_source(corners)

    assert np.allclose(source[0], 0)
    assert np.allclose(source[1], [shape[0] - 1, shape[1], shape[2]])


def test_thin_slices_are_seen_every_three_millimetres():
    grid = choose_grid((300, 512, 512), (1.0, 0.8, 0.8), is_volume=True, pixel_mm=3.0)

    assert len(grid.slice_positions) == 101
    assert grid.step_mm == pytest.approx(2.99, abs=0.01)


def test_both_ends_of_a_volume_thinner_than_a_step_are_seen():
    grid = choose_grid((3, 512, 512), (0.4, 0.8, 0.8), is_volume=True, pixel_mm=3.0)

    assert grid.slice_positions == (0.0, 2.0)


def test_thick_slices_and_single_pictures_are_all_seen():
    thick = choose_grid((7, 512, 512), (5.0, 0.8, 0.8), is_volume=True, pixel_mm=3.0)
    flat = choose_grid((7, 512, 512), (1.0, 0.8, 0.8), is_volume=False, pixel_mm=3.0)

    assert thick.slice_positions == flat.slice_positions == tuple(map(float, range(7)))


@pytest.mark.parametrize("spacing", [None, (0.0, 0.001, 0.001), (5.0, 40.0, 40.0)])
def test_a_picture_of_unlikely_size_is_laid_on_128_pixels(spacing):
    grid = choose_grid((1, 200, 400), spacing, is_volume=False, pixel_mm=3.0)

    assert (grid.rows, grid.columns) == (64, 128)


@given(st.integers(1, 6), st.integers(30, 90), st.integers(30, 90))
def test_a_ramp_survives_shrinking_and_growing(slices, rows, columns):
    grid = choose_grid(
        (slices, rows, columns), (3.0, 3.4, 3.4), is_volume=True, pixel_mm=3.0
    )
    y, x = np.mgrid[:rows, :columns].astype(np.float32)
    ramp = np.stack([y * 2 + x + 5 * z for z in range(slices)])

    small = shrink(ramp, grid)
    box = (slice(0, slices), slice(3, rows - 3), slice(3, columns - 3))
    back = upsample_box(small, grid, box=box)

    assert np.abs(back - ramp[box]).max() < 0.6


def test_the_body_window_leaves_the_couch_out():
    pixels = np.full((4, 96, 128), -1000.0, dtype=np.float32)
    pixels[:, 20:70, 30:100] = 40.0
    pixels[:, 90:92, :] = 0.0  # a couch of two pixels

    rows, columns = body_window(pixels, multiple=16)

    assert rows.start <= 20
    assert 70 <= rows.stop < 90
    assert (rows.stop - rows.start) % 16 == (columns.stop - columns.start) % 16 == 0


def test_empty_air_is_looked_at_as_a_whole():
    rows, columns = body_window(
        np.full((2, 40, 50), -1000.0, dtype=np.float32), multiple=16
    )

    assert rows.stop - rows.start >= 40
    assert columns.stop - columns.start >= 50
