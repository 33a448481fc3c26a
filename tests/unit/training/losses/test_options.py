"""Hierarchy, hypotheses, region contrast and the counts of many processes."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from training.batch import PictureRegions
from training.losses.counts import mean_where, world_share
from training.losses.hierarchy import hierarchy_loss
from training.losses.hypotheses import winner_takes_most
from training.losses.taco import region_contrast, taco_loss


def test_a_child_likelier_than_its_parent_costs_the_difference():
    logits = torch.tensor([[0.0, 2.0, -1.0]])
    parent = torch.tensor([-1, 0, 0])

    loss = hierarchy_loss(logits, parent)

    expected = (torch.tensor(2.0).sigmoid() - 0.5) / 2  # two children, one at fault
    assert float(loss) == pytest.approx(float(expected))


def test_the_hinge_lifts_the_parent_and_lowers_the_child():
    logits = torch.tensor([[0.0, 2.0]], requires_grad=True)

    hierarchy_loss(logits, torch.tensor([-1, 0])).backward()

    assert logits.grad[0, 0] < 0 < logits.grad[0, 1]


@settings(deadline=None)
@given(st.lists(st.floats(-5, 5), min_size=4, max_size=4))
def test_an_order_that_is_kept_costs_nothing(values):
    falling = torch.tensor([sorted(values, reverse=True)])
    parent = torch.tensor([-1, 0, 1, 2])

    assert float(hierarchy_loss(falling, parent)) == 0


def test_without_parents_there_is_no_hierarchy():
    assert float(hierarchy_loss(torch.randn(2, 3), torch.full((3,), -1))) == 0


def test_the_winner_takes_most():
    costs = torch.tensor([[1.0, 4.0], [3.0, 2.0], [5.0, 6.0]])

    value = winner_takes_most(costs, epsilon=0.1)

    assert value.tolist() == pytest.approx([0.9 * 1 + 0.1 * 4, 0.9 * 2 + 0.1 * 5])


@settings(deadline=None)
@given(st.lists(st.floats(0, 100), min_size=2, max_size=6), st.floats(0, 1))
def test_a_mixture_of_hypotheses_lies_between_its_costs(costs, epsilon):
    values = torch.tensor(costs, dtype=torch.float64)

    mixed = float(winner_takes_most(values, epsilon=epsilon))

    assert min(costs) - 1e-9 <= mixed <= max(costs) + 1e-9


def test_one_hypothesis_is_its_own_winner():
    costs = torch.rand(1, 5)

    assert torch.equal(winner_takes_most(costs), costs[0])


def test_region_contrast_has_its_logarithm():
    """Among equals it is log of their number; the released code has no logarithm."""
    loss = region_contrast(torch.zeros(1), torch.zeros(1, 5))

    assert float(loss) == pytest.approx(float(torch.tensor(6.0).log()))


def test_region_contrast_lifts_the_owner_and_lowers_others():
    logits = torch.zeros(1, 6, 2, requires_grad=True)
    boxes = torch.rand(1, 6, 4) * 0.1 + 0.8
    boxes[0, 3] = torch.tensor([0.3, 0.3, 0.2, 0.2])
    target = PictureRegions(
        torch.tensor([[0.0, 1.0]]), boxes[0, 3:4].clone(), torch.ones(1, 4, 4)
    )

    taco_loss(
        logits, boxes, [target], generator=torch.Generator().manual_seed(0)
    ).backward()

    assert logits.grad[0, 3, 1] < 0
    assert (logits.grad[0, :, 1] > 0).any()
    assert not logits.grad[0, :, 0].any()


def test_region_contrast_of_nothing_is_nothing():
    empty = PictureRegions(torch.zeros(0, 2), torch.zeros(0, 4), torch.zeros(0, 4, 4))
    logits = torch.randn(1, 6, 2, requires_grad=True)

    loss = taco_loss(logits, torch.rand(1, 6, 4), [empty], generator=torch.Generator())
    loss.backward()

    assert float(loss.detach()) == 0
    assert not logits.grad.any()


def test_alone_a_count_is_itself_and_never_less_than_one():
    assert float(world_share(torch.tensor(7))) == 7
    assert float(world_share(torch.tensor(0))) == 1


def test_weights_scale_values_and_not_their_number():
    values = torch.tensor([2.0, 4.0, 9.0])

    assert float(mean_where(values, torch.tensor([1.0, 0.5, 0.0]))) == 2.0
    assert float(mean_where(values, torch.zeros(3, dtype=torch.bool))) == 0.0
