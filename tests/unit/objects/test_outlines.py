"""Outlines are exact: filled again they are the mask."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import numpy.typing as npt
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from dicom_node.objects.outlines import closed_outlines
from dicom_node.objects.presentation import pieces_of
from tests.builders.archive_objects import fill

MASKS = arrays(np.bool_, array_shapes(min_dims=2, max_dims=2, max_side=12))


@given(MASKS)
def test_filling_the_outlines_gives_the_mask_back(mask: npt.NDArray[np.bool_]) -> None:
    assert (fill(closed_outlines(mask), mask.shape) == mask).all()  # type: ignore[arg-type]


@given(MASKS)
def test_every_point_of_an_outline_is_a_turn(mask: npt.NDArray[np.bool_]) -> None:
    for outline in closed_outlines(mask):
        steps = np.diff(outline, axis=0)
        assert (outline[0] == outline[-1]).all()
        assert (np.count_nonzero(steps, axis=1) == 1).all()
        assert ((steps * np.roll(steps, 1, axis=0)).sum(axis=1) == 0).all()


@given(MASKS)
def test_areas_with_their_sign_add_up_to_the_mask(mask: npt.NDArray[np.bool_]) -> None:
    # Outer edges clockwise as seen (y down): positive; holes negative.
    total = 0.0
    for outline in closed_outlines(mask):
        (x0, y0), (x1, y1) = outline[:-1].T, outline[1:].T
        total += float((x0 * y1 - x1 * y0).sum()) / 2
    assert total == mask.sum()


def test_one_pixel_is_the_square_around_it() -> None:
    mask = np.zeros((3, 4), bool)
    mask[1, 2] = True

    (outline,) = closed_outlines(mask)

    assert outline.tolist() == [[2, 1], [3, 1], [3, 2], [2, 2], [2, 1]]


def test_pixels_that_touch_at_a_corner_have_outlines_of_their_own() -> None:
    for mask in (np.eye(2, dtype=bool), np.eye(2, dtype=bool)[::-1]):
        assert [len(one) for one in closed_outlines(mask)] == [5, 5]


def test_nothing_has_no_outline() -> None:
    assert closed_outlines(np.zeros((4, 5), bool)) == ()


@given(st.integers(5, 30_000))
def test_pieces_of_a_long_outline_join_to_it(count: int) -> None:
    # PS3.5 7.1.2: 65534 bytes are the most that FL holds in explicit VR.
    outline = np.arange(2 * count).reshape(count, 2)

    pieces = list(pieces_of(outline))

    assert all(len(one) >= 2 and one.size * 4 <= 65534 for one in pieces)
    for one, following in pairwise(pieces):
        assert (one[-1] == following[0]).all()
    joined = np.concatenate([pieces[0], *(one[1:] for one in pieces[1:])])
    assert (joined == outline).all()
