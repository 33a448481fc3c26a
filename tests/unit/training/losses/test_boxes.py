from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from training.losses.boxes import box_cost, box_giou, to_xyxy

EDGE = st.floats(0.0, 1.0)
BOX = st.tuples(EDGE, EDGE, st.floats(0.05, 1.0), st.floats(0.05, 1.0))


@settings(deadline=None)
@given(BOX, BOX)
def test_giou_lies_between_minus_one_and_one_and_is_symmetric(first, second):
    a, b = (
        to_xyxy(torch.tensor([box], dtype=torch.float64)) for box in (first, second)
    )

    value = box_giou(a, b)

    assert -1 <= float(value) <= 1 + 1e-9
    assert float(value) == pytest.approx(float(box_giou(b, a)))
    assert float(box_giou(a, a)) == pytest.approx(1.0)


def test_giou_of_a_known_pair():
    first = torch.tensor([0.0, 0.0, 2.0, 2.0])
    second = torch.tensor([1.0, 0.0, 3.0, 2.0])

    # overlap 2, union 6, hull 6
    assert float(box_giou(first, second)) == pytest.approx(1 / 3)


@settings(deadline=None)
@given(BOX, BOX)
def test_only_the_right_box_costs_nothing(first, second):
    a, b = (torch.tensor([box], dtype=torch.float64) for box in (first, second))

    assert float(box_cost(a, a)) == pytest.approx(0, abs=1e-9)
    assert float(box_cost(a, b)) >= 5 * float((a - b).abs().sum()) - 1e-9
