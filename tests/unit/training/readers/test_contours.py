"""Filled outlines cover what they enclose."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from training.readers.contours import combine_outlines, fill_polygon

SHAPE = (40, 50)


def _area(points: np.ndarray) -> float:
    """Return the area that a simple polygon encloses, in pixels."""
    rows, columns = points.T
    cross = rows * np.roll(columns, -1) - columns * np.roll(rows, -1)
    return abs(float(cross.sum())) / 2


@given(
    radii=st.lists(st.floats(0.5, 18), min_size=3, max_size=24),
    centre=st.tuples(st.floats(19, 20), st.floats(19, 30)),
)
def test_a_polygon_covers_its_area(
    radii: list[float], centre: tuple[float, float]
) -> None:
    angles = np.linspace(0, 2 * np.pi, len(radii), endpoint=False)
    around = np.column_stack([np.sin(angles), np.cos(angles)])
    points = np.asarray(centre) + around * np.asarray(radii)[:, None]
    length = np.linalg.norm(np.roll(points, -1, axis=0) - points, axis=1).sum()

    mask = fill_polygon(points, SHAPE)

    # Jarnik: the lattice points inside differ from the area by less than the length.
    assert abs(int(mask.sum()) - _area(points)) < max(length, 1)


@given(cut=st.floats(5, 35), slope=st.floats(-5, 5))
def test_neighbours_share_no_pixel_and_leave_none_out(cut: float, slope: float) -> None:
    top, bottom = cut - slope / 2, cut + slope / 2
    left = np.array([[1, 1], [1, top], [30, bottom], [30, 1]], float)
    right = np.array([[1, top], [1, 40], [30, 40], [30, bottom]], float)
    whole = np.array([[1, 1], [1, 40], [30, 40], [30, 1]], float)

    one, other = fill_polygon(left, SHAPE), fill_polygon(right, SHAPE)

    assert not (one & other).any()
    np.testing.assert_array_equal(one | other, fill_polygon(whole, SHAPE))


@given(start=st.integers(0, 5), backwards=st.booleans())
def test_start_and_direction_do_not_matter(start: int, backwards: bool) -> None:
    points = np.array([[3, 4], [5, 30], [20, 44], [33.3, 20], [18, 18], [15, 2.5]])
    turned = np.roll(points, start, axis=0)[:: -1 if backwards else 1]

    np.testing.assert_array_equal(
        fill_polygon(turned, SHAPE), fill_polygon(points, SHAPE)
    )


def test_a_rectangle_between_centres_is_exact() -> None:
    points = np.array([[1.5, 2.5], [1.5, 6.5], [4.5, 6.5], [4.5, 2.5]])

    mask = fill_polygon(points, (8, 10))

    expected = np.zeros((8, 10), bool)
    expected[2:5, 3:7] = True
    np.testing.assert_array_equal(mask, expected)


def test_what_lies_outside_the_picture_is_cut() -> None:
    points = np.array([[-9.0, -9.0], [-9, 99], [99, 99], [99, -9]])

    assert fill_polygon(points, SHAPE).all()
    assert not fill_polygon(points + 200, SHAPE).any()
    assert not fill_polygon(points - 200, SHAPE).any()


def square(first: int, last: int) -> np.ndarray[tuple[int, ...], np.dtype[np.bool_]]:
    mask = np.zeros((12, 12), bool)
    mask[first:last, first:last] = True
    return mask


def test_an_outline_within_another_is_a_hole() -> None:
    joined = combine_outlines([square(4, 6), square(1, 9)])

    assert joined.sum() == 64 - 4
    assert not joined[4:6, 4:6].any()


def test_an_island_in_a_hole_is_inside_again() -> None:
    joined = combine_outlines([square(1, 11), square(3, 9), square(5, 7)])

    assert joined.sum() == 100 - 36 + 4


@pytest.mark.parametrize(("exclusive", "area"), [(False, 52), (True, 43)])
def test_outlines_that_overlap_add_unless_they_exclude(
    exclusive: bool, area: int
) -> None:
    joined = combine_outlines([square(0, 5), square(2, 8)], exclusive=exclusive)

    assert joined.sum() == area


def test_an_outline_drawn_twice_counts_once() -> None:
    twice = [square(1, 5), square(1, 5)]

    assert combine_outlines(twice).sum() == 16
    assert combine_outlines(twice, exclusive=True).sum() == 0
