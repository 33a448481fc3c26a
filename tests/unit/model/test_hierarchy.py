from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from model.hierarchy import children_first, raise_parents


@st.composite
def forests(draw):
    """Parents of up to nine phrases without a circle, in any order of rows."""
    count = draw(st.integers(1, 9))
    order = draw(st.permutations(range(count)))
    parents = [-1] * count
    for place, row in enumerate(order[1:], start=1):
        above = draw(st.integers(-1, place - 1))
        parents[row] = -1 if above < 0 else order[above]
    return parents


@given(forests())
def test_every_child_precedes_its_parent(parents):
    order = children_first(parents)

    assert sorted(order) == list(range(len(parents)))
    for row, parent in enumerate(parents):
        if parent >= 0:
            assert order.index(row) < order.index(parent)


@given(forests(), st.integers(0, 99))
def test_no_parent_is_less_present_than_its_child(parents, seed):
    logits = torch.randn(2, len(parents), generator=torch.Generator().manual_seed(seed))

    lifted = raise_parents(logits, torch.tensor(parents))

    for row, parent in enumerate(parents):
        if parent >= 0:
            assert (lifted[:, parent] >= lifted[:, row]).all()


@given(forests(), st.integers(0, 99))
def test_nothing_is_lifted_above_what_it_contains(parents, seed):
    logits = torch.randn(2, len(parents), generator=torch.Generator().manual_seed(seed))

    lifted = raise_parents(logits, torch.tensor(parents))

    assert (lifted >= logits).all()
    for row in range(len(parents)):
        below = {row}
        for _ in parents:
            below |= {r for r, parent in enumerate(parents) if parent in below}
        assert torch.equal(lifted[:, row], logits[:, sorted(below)].amax(-1))


@pytest.mark.parametrize("parents", [[0], [1, 0], [1, 2, 0]])
def test_a_circle_is_refused(parents):
    with pytest.raises(ValueError, match="circle"):
        children_first(parents)


def test_lifting_passes_the_gradient_to_the_child():
    logits = torch.tensor([[1.0, 3.0]], requires_grad=True)

    raise_parents(logits, torch.tensor([-1, 0]))[0, 0].backward()

    assert logits.grad.tolist() == [[0.0, 1.0]]
