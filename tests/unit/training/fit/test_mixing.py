from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from training.errors import ConfigError
from training.fit.mixing import MixedStream


class Counting:
    """Yields its name and a number."""

    def __init__(self, name: str) -> None:
        self.name, self.number = name, 0

    def __iter__(self) -> Counting:
        return self

    def __next__(self) -> Any:
        self.number += 1
        return self.name, self.number

    def state_dict(self) -> dict[str, Any]:
        return {"number": self.number}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.number = state["number"]


def make_mixture(seed: int = 0, **weights: float) -> MixedStream:
    weights = weights or {"a": 3.0, "b": 1.0}
    return MixedStream({n: Counting(n) for n in weights}, weights, seed=seed)


def take(stream: MixedStream, count: int) -> list[Any]:
    return [next(stream) for _ in range(count)]


def test_streams_are_drawn_by_their_weights():
    counts = Counter(name for name, _ in take(make_mixture(), 2000))

    assert 1400 < counts["a"] < 1600


def test_no_batch_of_a_stream_is_lost_or_repeated():
    taken = take(make_mixture(), 200)

    for name in "ab":
        numbers = [number for own, number in taken if own == name]
        assert numbers == list(range(1, len(numbers) + 1))


@settings(deadline=None)
@given(st.integers(0, 2**31), st.integers(0, 30), st.integers(1, 30))
def test_a_mixture_continues_where_it_was(seed, before, after):
    whole, rest = make_mixture(seed), make_mixture(seed)
    take(whole, before)
    rest.load_state_dict(whole.state_dict())

    assert take(rest, after) == take(whole, after)


def test_a_stream_can_rest_for_a_stage():
    stream = make_mixture()
    stream.reweigh({"a": 0.0, "b": 1.0})
    assert {name for name, _ in take(stream, 50)} == {"b"}

    stream.reweigh({"a": 1.0, "b": 0.0})

    assert take(stream, 2) == [("a", 1), ("a", 2)]


@pytest.mark.parametrize(
    "weights", [{"a": 1.0}, {"a": 0.0, "b": 0.0}, {"a": -1.0, "b": 2.0}, {"c": 1.0}]
)
def test_weights_that_fit_no_stream_are_refused(weights):
    with pytest.raises(ConfigError):
        make_mixture().reweigh(weights)


def test_the_state_of_other_streams_is_refused():
    state = make_mixture(a=1.0, c=1.0).state_dict()

    with pytest.raises(ConfigError, match="sources"):
        make_mixture().load_state_dict(state)
