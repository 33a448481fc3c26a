from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from training.fit.shards import clip_gradients, gather, gather_nested, scatter


def make_parameters(*values: list[float]) -> list[torch.nn.Parameter]:
    parameters = [torch.nn.Parameter(torch.zeros(len(value))) for value in values]
    for parameter, value in zip(parameters, values, strict=True):
        parameter.grad = torch.tensor(value)
    return [*parameters, torch.nn.Parameter(torch.zeros(2))]


@settings(deadline=None)
@given(
    st.lists(st.floats(-10, 10), min_size=1, max_size=5),
    st.lists(st.floats(-10, 10), min_size=1, max_size=5),
    st.floats(0.1, 5),
)
def test_gradients_are_clipped_as_torch_does_it(first, second, largest):
    ours, theirs = make_parameters(first, second), make_parameters(first, second)

    norm = clip_gradients(ours, largest)
    expected = torch.nn.utils.clip_grad_norm_(theirs, largest)

    assert float(norm) == pytest.approx(float(expected), rel=1e-5, abs=1e-6)
    for one, other in zip(ours[:2], theirs[:2], strict=True):
        assert torch.allclose(one.grad, other.grad, atol=1e-6)


def test_whole_tensors_pass_unchanged_and_as_copies():
    value = torch.rand(3)

    taken = gather(value)
    laid = scatter(taken, torch.zeros(3, dtype=torch.float64))

    assert torch.equal(taken, value)
    assert taken.data_ptr() != value.data_ptr()
    assert laid.dtype == torch.float64
    assert gather_nested({"a": [value, 3], "b": (None,)})["a"][1] == 3
