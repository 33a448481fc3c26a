from __future__ import annotations

import pickle
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from training.errors import ConfigError
from training.stream.order import BalancedOrder, ShuffledOrder, group_shares

COUNTS = st.lists(st.integers(0, 9), min_size=1, max_size=8).filter(any)


def _order(counts, **changes):
    firsts = np.cumsum([5, *counts])[:-1].tolist()  # lines of another split come first
    return ShuffledOrder(firsts, counts, **{"seed": 3, **changes})


@settings(deadline=None)
@given(COUNTS, st.integers(0, 3), st.integers(0, 4))
def test_each_epoch_holds_every_sample_once(counts, epoch, window):
    order = _order(counts, window=window)
    length = sum(counts)

    lines = [order.sample(epoch * length + i) for i in range(length)]

    assert sorted(lines) == list(range(5, 5 + length))


def test_epochs_and_seeds_differ():
    order, other = _order([50]), _order([50], seed=4)

    first = [order.sample(i) for i in range(50)]
    second = [order.sample(50 + i) for i in range(50)]

    assert first != second
    assert first != [other.sample(i) for i in range(50)]
    assert first != sorted(first)


def test_a_window_reads_few_shards_at_a_time():
    order = _order([10] * 6, window=2)

    shards = [(order.sample(i) - 5) // 10 for i in range(60)]

    for begin in (0, 20, 40):
        assert len(set(shards[begin : begin + 20])) == 2
        assert len(set(shards[begin : begin + 10])) == 2


@pytest.mark.parametrize(
    "order",
    [
        _order([10] * 6, window=2),
        BalancedOrder([np.arange(7), np.arange(3)], [1.0, 2.0], seed=1),
    ],
)
def test_an_order_is_the_same_in_another_process(order):
    lines = [order.sample(i) for i in range(100)]

    copy = pickle.loads(pickle.dumps(order))

    assert [copy.sample(i) for i in range(100)] == lines


def test_an_order_of_nothing_is_refused():
    with pytest.raises(ConfigError):
        ShuffledOrder([0], [0], seed=0)
    with pytest.raises(ConfigError):
        BalancedOrder([np.arange(3)], [0.0], seed=0)


def test_groups_come_as_often_as_their_shares():
    groups = [np.arange(1000), np.arange(1000, 1010), np.arange(1010, 1020)]
    order = BalancedOrder(groups, [0.5, 0.25, 0.25], seed=1)

    drawn = [order.sample(i) for i in range(480)]
    counts = Counter(
        min((line - 980) // 10, 3) if line >= 1000 else 0 for line in drawn
    )

    assert counts == {0: 240, 2: 120, 3: 120}


@settings(deadline=None)
@given(st.integers(0, 2000))
def test_a_group_shows_every_sample_before_it_repeats_one(seed):
    groups = [np.arange(30), np.arange(100, 105)]
    order = BalancedOrder(groups, [0.7, 0.3], seed=seed)
    own: dict[bool, list[int]] = {True: [], False: []}

    for draw in range(200):
        line = order.sample(draw)
        own[line >= 100].append(line)

    for is_small, lines in own.items():
        size = 5 if is_small else 30
        for begin in range(0, len(lines) - size, size):
            assert len(set(lines[begin : begin + size])) == size


def test_shares_follow_the_power_of_the_sizes():
    names = ["a/CT/liver", "a/CT/cyst"]

    assert group_shares(names, [900, 100], power=1) == pytest.approx((0.9, 0.1))
    assert group_shares(names, [900, 100]) == pytest.approx((0.75, 0.25))
    assert group_shares(names, [900, 100], power=0) == pytest.approx((0.5, 0.5))


def test_a_curriculum_weighs_and_a_replay_keeps_its_part():
    names = ["a/CT/liver", "b/CT/cyst", "b/MR/cyst"]

    weighed = group_shares(names, [4, 4, 4], weights={"*/liver": 2, "*/MR/*": 0})
    replayed = group_shares(names, [4, 4, 4], shares={"*/liver": 0.2})

    assert weighed == pytest.approx((2 / 3, 1 / 3, 0))
    assert replayed == pytest.approx((0.2, 0.4, 0.4))


@pytest.mark.parametrize(
    "settings",
    [
        {"weights": {"*/spleen": 2}},
        {"weights": {"*": -1}},
        {"shares": {"*/liver": 0.7, "*/cyst": 0.7}},
        {"weights": {"*": 0}},
    ],
)
def test_patterns_that_make_no_sense_are_refused(settings):
    with pytest.raises(ConfigError):
        group_shares(["a/CT/liver", "a/CT/cyst"], [1, 1], **settings)
