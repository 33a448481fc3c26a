from __future__ import annotations

import pytest
import torch

from training.losses.terms import (
    concept_contrast,
    dense_loss,
    focal_loss,
    presence_loss,
    projection_cost,
    soft_dice,
)


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


def test_nameless_phrases_have_neither_friends_nor_foes():
    vectors = torch.nn.functional.normalize(torch.randn(6, 4), dim=-1)
    concept = torch.tensor([0, 0, 1, 1, -1, -1])

    assert torch.allclose(
        concept_contrast(vectors, concept), concept_contrast(vectors[:4], concept[:4])
    )


def test_filled_boxes_say_nothing_of_the_pixels_inside_but_of_their_reach():
    box = torch.zeros(1, 1, 8, 8)
    box[..., 2:6, 2:6] = 1
    known = torch.ones(1, 1, dtype=torch.bool)
    plus = torch.full_like(box, -20.0)
    plus[..., 2:6, 3] = plus[..., 4, 2:6] = 20.0  # touches every side, fills nothing
    narrow = torch.full_like(box, -20.0)
    narrow[..., 2:6, 3] = 20.0
    wide = plus.clone()
    wide[..., 0, 0] = 20.0

    def loss(logits: torch.Tensor, *, exact: bool) -> float:
        outlined = torch.full((1, 1), exact)
        return float(dense_loss(logits, box, known, outlined=outlined))

    assert loss(plus, exact=False) == pytest.approx(0, abs=1e-4)
    assert loss(plus, exact=True) > 1
    assert loss(narrow, exact=False) > 0.1
    assert loss(wide, exact=False) > 0.1


def test_the_shadow_of_a_box_is_the_box():
    box = torch.zeros(8, 8)
    box[1:4, 2:7] = 1

    assert float(projection_cost((box * 2 - 1) * 30, box)) == pytest.approx(0, abs=1e-6)
    assert float(projection_cost((1 - box * 2) * 30, box)) > 0.3


def test_an_absent_phrase_is_absent_whether_or_not_boxes_are_outlines():
    logits = torch.randn(2, 3, 8, 8)
    nothing = torch.zeros(2, 3, 8, 8, dtype=torch.bool)
    known = torch.ones(2, 3, dtype=torch.bool)

    exact = dense_loss(logits, nothing, known, outlined=known)
    loose = dense_loss(logits, nothing, known, outlined=~known)

    assert torch.allclose(exact, loose)


def test_a_doubtful_label_counts_less():
    logits, goal = torch.zeros(1, 2, 4, 4), torch.ones(1, 2, 4, 4)
    known = torch.ones(1, 2, dtype=torch.bool)
    area = goal.flatten(2).sum(-1)
    half = torch.full((1, 2), 0.5)

    assert float(dense_loss(logits, goal, known, weight=half)) == pytest.approx(
        float(dense_loss(logits, goal, known)) / 2
    )
    value = presence_loss(logits[..., 0, 0], area, known, weight=half)
    assert float(value) == pytest.approx(
        float(presence_loss(logits[..., 0, 0], area, known)) / 2
    )


def test_equal_hypotheses_cost_what_one_costs():
    logits = torch.randn(2, 3, 8, 8)
    goal = torch.zeros(2, 3, 8, 8)
    goal[:, 0, :4] = 1
    known = torch.ones(2, 3, dtype=torch.bool)

    assert torch.allclose(
        dense_loss(logits, goal, known),
        dense_loss(logits.expand(3, -1, -1, -1, -1), goal, known),
    )
