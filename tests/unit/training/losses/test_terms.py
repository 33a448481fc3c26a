from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from training.losses.terms import (
    box_giou,
    concept_contrast,
    dense_loss,
    focal_loss,
    presence_loss,
    soft_dice,
    to_xyxy,
)

EDGE = st.floats(0.0, 1.0)
BOX = st.tuples(EDGE, EDGE, st.floats(0.05, 1.0), st.floats(0.05, 1.0))


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


def test_focal_loss_without_focus_is_weighted_cross_entropy():
    logits, target = torch.tensor([0.3, -1.0]), torch.tensor([1.0, 0.0])

    value = focal_loss(logits, target, alpha=0.25, gamma=0.0)

    entropy = torch.nn.functional.binary_cross_entropy_with_logits(
        logits, target, reduction="none"
    )
    assert torch.allclose(value, entropy * torch.tensor([0.25, 0.75]))


def test_focal_loss_forgets_the_easy():
    easy, hard = focal_loss(torch.tensor([6.0, -1.0]), torch.ones(2))

    assert float(hard) > 1000 * float(easy)


def test_soft_dice_of_the_truth_is_nothing_and_of_its_opposite_everything():
    truth = torch.zeros(1, 100)
    truth[:, :50] = 1

    assert float(soft_dice((truth * 2 - 1) * 50, truth)) == pytest.approx(0, abs=1e-6)
    assert float(soft_dice((1 - truth * 2) * 50, truth)) > 0.98


def test_unknown_regions_cost_nothing():
    logits = torch.randn(2, 3, 8, 8, requires_grad=True)
    known = torch.tensor([[True, False, True], [False, False, False]])
    targets = torch.zeros(2, 3, 8, 8)
    targets[0, 0, :4] = targets[0, 1, :4] = 1

    dense_loss(logits, targets, known).backward()

    gradient = logits.grad.abs().sum((2, 3)) > 0
    assert gradient.tolist() == known.tolist()


def test_a_sliver_is_neither_present_nor_absent():
    logits = torch.zeros(1, 3, requires_grad=True)
    area = torch.tensor([[0.0, 3.0, 40.0]])

    presence_loss(logits, area, torch.ones(1, 3, dtype=torch.bool)).backward()

    assert logits.grad[0, 0] > 0
    assert logits.grad[0, 1] == 0
    assert logits.grad[0, 2] < 0


def test_contrast_prefers_friends_that_are_near():
    near = torch.nn.functional.normalize(
        torch.tensor([[1.0, 0.1], [1.0, -0.1], [-1.0, 0.1], [-1.0, -0.1]]), dim=-1
    )
    concept = torch.tensor([0, 0, 1, 1])

    assert concept_contrast(near, concept) < concept_contrast(
        near, concept[[0, 2, 1, 3]]
    )
