from __future__ import annotations

from dataclasses import replace

import pytest

from tests.builders.judged_cases import make_case, square
from training.errors import DatasetError
from training.evaluation.cases import PhraseTruth, boxes_of_mask


def test_a_phrase_cannot_be_asked_twice():
    with pytest.raises(DatasetError, match="twice"):
        make_case(masks={"lung": square((1, 1, 4, 4))}, absent=["lung"])


def test_a_present_phrase_has_a_place():
    case = make_case(masks={})
    nowhere = PhraseTruth(phrase="lung", is_present=True)

    with pytest.raises(DatasetError, match="exactly if it has a place"):
        replace(case, truths=(nowhere,))


def test_a_mask_is_boxed_piece_by_piece():
    mask = square((1, 1, 4, 6), (10, 10, 12, 12), shape=(2, 32, 32))

    boxes = boxes_of_mask(mask)

    assert boxes[0] == (0, (1.0, 1.0, 6.0, 4.0))
    assert len(boxes) == 4
