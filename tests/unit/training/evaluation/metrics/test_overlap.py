from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from training.evaluation.metrics import dice, mask_iou, paste


def _masks() -> tuple[np.ndarray, np.ndarray]:
    first, second = np.zeros(10, bool), np.zeros(10, bool)
    first[:4], second[2:8] = True, True
    return first, second


def test_overlap_of_known_masks():
    first, second = _masks()

    assert dice(first, second) == pytest.approx(0.4)
    assert mask_iou(first, second) == pytest.approx(2 / 8)
    assert dice(first, first) == mask_iou(first, first) == 1


def test_two_empty_masks_agree_and_one_empty_mask_does_not():
    first, _ = _masks()
    empty = np.zeros(10, bool)

    assert dice(empty, empty) == mask_iou(empty, empty) == 1
    assert dice(first, empty) == mask_iou(empty, first) == 0


@given(
    st.lists(st.booleans(), min_size=12, max_size=12),
    st.lists(st.booleans(), min_size=12, max_size=12),
)
def test_dice_and_iou_tell_the_same_story(first, second):
    overlap = dice(np.array(first), np.array(second))
    iou = mask_iou(np.array(first), np.array(second))

    assert overlap == pytest.approx(2 * iou / (1 + iou))


@given(st.tuples(*[st.integers(0, 4)] * 3), st.tuples(*[st.integers(1, 3)] * 3))
def test_a_pasted_mask_lies_where_it_was_cut(origin, shape):
    whole = paste(np.ones(shape, bool), origin, (8, 8, 8))

    assert whole.sum() == np.prod(shape)
    assert tuple(np.argwhere(whole).min(0)) == origin


def test_an_empty_mask_pastes_nothing():
    assert not paste(np.zeros((0, 0, 0), bool), (0, 0, 0), (4, 4, 4)).any()
