from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from training.build.fuse import box_iou, consensus_mask, fuse_boxes

BOXES = st.tuples(
    st.integers(0, 20), st.integers(0, 20), st.integers(1, 9), st.integers(1, 9)
).map(lambda b: (float(b[0]), float(b[1]), float(b[0] + b[2]), float(b[1] + b[3])))


def test_three_readers_of_one_place_give_their_mean() -> None:
    readers = [[(0.0, 0.0, 10.0, 10.0)], [(1.0, 0.0, 11.0, 10.0)], [(2.0, 0, 12, 10)]]

    fused = fuse_boxes(readers, iou=0.5)

    assert fused == (((1.0, 0.0, 11.0, 10.0), 3),)


def test_what_one_reader_saw_alone_is_kept_with_its_count() -> None:
    fused = fuse_boxes([[(0, 0, 9, 9), (30, 30, 40, 40)], [(0, 0, 9, 9)], []], iou=0.5)

    assert dict(fused) == {(0, 0, 9, 9): 2, (30, 30, 40, 40): 1}


def test_two_boxes_of_one_reader_are_two_places() -> None:
    fused = fuse_boxes([[(0, 0, 10, 10), (1, 0, 11, 10)]], iou=0.5)

    assert len(fused) == 2


@settings(deadline=None)
@given(st.lists(st.lists(BOXES, max_size=4), max_size=4))
def test_every_box_is_counted_once(readers: list[list[tuple]]) -> None:
    fused = fuse_boxes(readers, iou=0.5)

    assert sum(count for _, count in fused) == sum(map(len, readers))
    assert all(count <= len(readers) for _, count in fused)


@settings(deadline=None)
@given(BOXES, BOXES)
def test_overlap_is_symmetric_and_a_share(one: tuple, other: tuple) -> None:
    assert box_iou(one, other) == box_iou(other, one)
    assert 0 <= box_iou(one, other) <= 1
    assert box_iou(one, one) == 1


@pytest.mark.parametrize(
    ("readers", "share", "expected"),
    [(2, 0.5, [1, 1, 1]), (4, 0.5, [0, 1, 0]), (2, 1.0, [0, 1, 0])],
)
def test_half_of_all_readers_have_to_agree(
    readers: int, share: float, expected: list[int]
) -> None:
    masks = [np.array([[1, 1, 0]], bool), np.array([[0, 1, 1]], bool)]

    agreed = consensus_mask(masks, readers=readers, share=share)

    assert agreed[0].astype(int).tolist() == expected
