from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from training.evaluation.metrics import (
    box_iou,
    first_hit,
    is_exact,
    match_boxes,
    shared_area,
    top_box_iou,
)

_LEFT = (0, (0.0, 0.0, 10.0, 10.0))
_RIGHT = (0, (20.0, 0.0, 30.0, 10.0))
_HALF = (0, (0.0, 0.0, 5.0, 10.0))


def test_iou_of_known_boxes():
    first = np.array([[0, 0, 10, 10], [5, 0, 15, 10]], float)

    table = box_iou(first, np.array([[0, 0, 10, 10], [20, 20, 21, 21]], float))

    assert table == pytest.approx(np.array([[1, 0], [1 / 3, 0]]))


def test_torch_boxes_agree_with_the_model_library():
    import torch
    from transformers.loss.loss_for_object_detection import box_iou as theirs

    rng = np.random.default_rng(0)
    low = rng.random((7, 2)) * 20
    boxes = np.concatenate([low, low + 1 + rng.random((7, 2)) * 20], axis=1)

    expected, _ = theirs(torch.from_numpy(boxes[:3]), torch.from_numpy(boxes[3:]))

    assert box_iou(boxes[:3], boxes[3:]) == pytest.approx(expected.numpy())


def test_only_the_best_scored_box_counts():
    boxes = [_RIGHT, _HALF]

    assert top_box_iou(boxes, [0.4, 0.9], truth=[_LEFT]) == pytest.approx(0.5)
    assert top_box_iou(boxes, [0.9, 0.4], truth=[_LEFT]) == 0
    assert top_box_iou([], [], truth=[_LEFT]) == 0


def test_the_best_of_several_true_boxes_counts():
    assert top_box_iou([_HALF], [1.0], truth=[_RIGHT, _LEFT]) == pytest.approx(0.5)


def test_boxes_of_different_slices_never_meet():
    elsewhere = (1, _LEFT[1])

    assert top_box_iou([elsewhere], [1.0], truth=[_LEFT]) == 0
    assert shared_area([elsewhere], [_LEFT]) == (0, 100, 100)
    assert not is_exact([elsewhere], [_LEFT])


def test_a_hit_may_lie_further_down_the_list():
    boxes = [_RIGHT, _LEFT]

    assert first_hit(boxes, [0.9, 0.2], truth=[_LEFT]) == 2
    assert first_hit(boxes, [0.1, 0.2], truth=[_LEFT]) == 1
    assert first_hit([_RIGHT], [0.1], truth=[_LEFT]) is None
    assert first_hit([], [], truth=[_LEFT]) is None


def test_an_exact_answer_has_every_box_and_no_other():
    assert is_exact([_RIGHT, _LEFT], [_LEFT, _RIGHT])
    assert not is_exact([_LEFT], [_LEFT, _RIGHT])
    assert not is_exact([_LEFT, _RIGHT], [_LEFT])
    assert not is_exact([_LEFT, _HALF], [_LEFT, _RIGHT])
    assert is_exact([], [])


def test_two_boxes_on_one_truth_match_once():
    assert match_boxes([_LEFT, _HALF], [_LEFT]) == 1


def test_overlapping_boxes_of_one_side_count_once():
    assert shared_area([_LEFT, _HALF], [_HALF]) == (50, 100, 50)


_EDGES = st.tuples(*[st.integers(0, 12)] * 4).map(
    lambda e: (0, (min(e[0], e[2]), min(e[1], e[3]), max(e[0], e[2]), max(e[1], e[3])))
)


@given(st.lists(_EDGES, max_size=4), st.lists(_EDGES, max_size=4))
def test_areas_agree_with_counted_pixels(boxes, truth):
    def raster(side):
        plane = np.zeros((12, 12), bool)
        for _, (left, top, right, bottom) in side:
            plane[top:bottom, left:right] = True
        return plane

    first, second = raster(boxes), raster(truth)

    expected = ((first & second).sum(), first.sum(), second.sum())
    assert shared_area(boxes, truth) == pytest.approx(expected)
