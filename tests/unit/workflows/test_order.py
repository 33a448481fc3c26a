from __future__ import annotations

import heapq
from dataclasses import dataclass
from datetime import timedelta

from hypothesis import given
from hypothesis import strategies as st

from dicom_node.rules import PRIORITIES
from dicom_node.workflows.order import FIRST, PATIENCE_S, place_in_line
from tests.builders.stores import NOON

SECONDS = st.integers(0, 10**7)
PICTURES = st.integers(0, 10**6)


@dataclass(frozen=True)
class Arrival:
    at_s: int
    pictures: int
    priority: str = "normal"


def waits(arrivals: list[Arrival], *, by_cost: bool) -> dict[Arrival, float]:
    """Return how long each waits for the one worker, who takes 0.1 s a picture."""
    line: list[tuple[int, int, int, Arrival]] = []
    coming = sorted(arrivals, key=lambda one: one.at_s)
    waited: dict[Arrival, float] = {}
    now = 0.0
    while coming or line:
        if not line:
            now = max(now, float(coming[0].at_s))
        while coming and coming[0].at_s <= now:
            one = coming.pop(0)
            place = place_in_line(
                one.priority,
                queued_at=NOON + timedelta(seconds=one.at_s),
                pictures=one.pictures,
                by_cost=by_cost,
            )
            heapq.heappush(line, (place, one.at_s, len(coming), one))
        *_, one = heapq.heappop(line)
        waited[one] = now - one.at_s
        now += 0.1 * one.pictures
    return waited


# Half an hour: every minute a radiograph, every two minutes a CT that takes 100 s.
DAY = [
    *(Arrival(60 * number + 1, 1) for number in range(30)),
    *(Arrival(120 * number, 1000) for number in range(15)),
]


def test_a_radiograph_waits_for_the_ct_that_is_under_way_and_for_no_other():
    crowd = [Arrival(0, 300 + number) for number in range(50)]
    radiograph = Arrival(20, 1)

    fair = waits([*crowd, radiograph], by_cost=True)
    in_turn = waits([*crowd, radiograph], by_cost=False)

    assert fair[radiograph] <= 0.1 * 350
    assert in_turn[radiograph] > 0.1 * 300 * 49


def test_a_large_study_is_overtaken_only_by_what_comes_within_its_patience():
    large = Arrival(0, 300)
    before = Arrival(0, 100)
    flood = [Arrival(number, 30) for number in range(1, 3000)]

    waited = waits([before, large, *flood], by_cost=True)

    earlier = sum(one.at_s <= PATIENCE_S * 270 for one in flood)
    assert waited[large] <= 0.1 * (100 + 30 * (earlier + 1))
    assert waited[large] > 0


def test_small_ones_wait_less_and_nothing_is_lost():
    fair, in_turn = (waits(DAY, by_cost=one) for one in (True, False))

    small = [one for one in DAY if one.pictures == 1]
    assert sum(fair[one] for one in small) <= sum(in_turn[one] for one in small)
    assert set(fair) == set(in_turn) == set(DAY)


@given(SECONDS, PICTURES, SECONDS, PICTURES)
def test_a_higher_priority_always_goes_first(at, pictures, other_at, other_pictures):
    places = [
        place_in_line(name, queued_at=NOON + timedelta(seconds=when), pictures=number)
        for name, when, number in (
            ("requested", at, pictures),
            ("urgent", at, pictures),
            ("normal", other_at, other_pictures),
            ("low", at, pictures),
        )
    ]

    assert places == sorted(set(places))
    assert places[0] == FIRST


@given(st.sampled_from(list(PRIORITIES)), SECONDS, PICTURES, PICTURES)
def test_of_two_that_come_together_the_smaller_goes_first(
    priority, at, pictures, other
):
    queued_at = NOON + timedelta(seconds=at)

    first, second = (
        place_in_line(priority, queued_at=queued_at, pictures=one)
        for one in sorted([pictures, other])
    )

    assert 1 <= first <= second < 2**31
