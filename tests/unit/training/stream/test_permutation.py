from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from training.stream.permutation import Permutation, key_of


@settings(deadline=None)
@given(st.integers(1, 600), st.integers(0, 2**64 - 1))
def test_every_place_comes_exactly_once(length, key):
    order = Permutation(length, key)

    assert sorted(order(i) for i in range(length)) == list(range(length))


def test_another_key_is_another_order():
    orders = {tuple(Permutation(50, key)(i) for i in range(50)) for key in range(40)}

    assert len(orders) == 40


def test_places_are_spread_over_the_whole_length():
    order = Permutation(100_000, 7)

    some = [order(i) for i in range(1000)]

    assert abs(sum(some) / 1000 - 50_000) < 4000
    assert sum(abs(a - b) == 1 for a, b in pairwise(some)) < 5


@pytest.mark.parametrize("place", [-1, 5])
def test_a_place_outside_is_refused(place):
    with pytest.raises(IndexError):
        Permutation(5, 0)(place)


def test_a_key_hangs_on_its_parts_and_their_order():
    assert key_of(1, 2) != key_of(2, 1)
    assert key_of("a", 1) == key_of("a", 1)
    assert 0 <= key_of("a") < 2**64
