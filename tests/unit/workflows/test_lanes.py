from __future__ import annotations

import threading
from contextlib import ExitStack

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dicom_node.grounding.process import SMALL_PICTURES
from dicom_node.workflows.lanes import Lanes, is_small
from dicom_node.workflows.order import end_of_row, place_in_line, row_of
from tests.builders.process import wait_until
from tests.builders.stores import NOON

PRIORITY = st.sampled_from(["requested", "urgent", "normal", "low"])
VERSIONS = st.tuples(PRIORITY, st.integers(1, 2 * SMALL_PICTURES), st.integers(0, 9))


def place_of(priority: str, pictures: int) -> int:
    return place_in_line(priority, queued_at=NOON, pictures=pictures)


def probing_lanes() -> Lanes:
    """Lanes of a node that stops: what would wait is sent back at once."""
    is_stopping = threading.Event()
    is_stopping.set()
    return Lanes(is_stopping, has_small=lambda _: False)


@given(st.lists(VERSIONS, max_size=20))
def test_one_large_is_under_way_at_most_and_only_it_keeps_small_ones(
    versions: list[tuple[str, int, int]],
) -> None:
    lanes = probing_lanes()
    under_way: list[tuple[str, int, ExitStack]] = []
    for priority, pictures, ends in versions:
        large = [one for one in under_way if not is_small(one[1])]
        place = place_of(priority, pictures)
        must_wait = bool(large) and (
            not is_small(pictures) or row_of(place) > row_of(place_of(*large[0][:2]))
        )

        with ExitStack() as entering:
            begins = entering.enter_context(lanes.enter(place, pictures=pictures))
            assert begins != must_wait
            if begins:
                under_way.append((priority, pictures, entering.pop_all()))
        assert sum(not is_small(one[1]) for one in under_way) <= 1
        if under_way and ends % 2:
            under_way.pop(ends % len(under_way))[2].close()

    for _, _, entered in under_way:
        entered.close()
    for priority, pictures, _ in versions:  # nothing is kept for ever
        with lanes.enter(place_of(priority, pictures), pictures=pictures) as begins:
            assert begins


@pytest.mark.parametrize("priority", ["requested", "urgent", "normal", "low"])
def test_the_priority_of_a_place_is_that_it_was_given_for(priority: str) -> None:
    rows = {"requested": -1, "urgent": 0, "normal": 1, "low": 2}

    assert row_of(place_of(priority, 300)) == rows[priority]
    last = end_of_row(rows[priority])
    assert (row_of(last), row_of(last + 1)) == (rows[priority], rows[priority] + 1)


def test_who_waits_begins_when_the_large_one_ends() -> None:
    lanes = Lanes(threading.Event(), has_small=lambda _: False)
    begun = threading.Event()

    def do_small() -> None:
        with lanes.enter(place_of("normal", 1), pictures=1):
            begun.set()

    with lanes.enter(place_of("urgent", 300), pictures=300):
        small = threading.Thread(target=do_small)
        small.start()
        assert not begun.wait(0.3)
    wait_until(begun.is_set, timeout_s=30.0, what="the small one")
    small.join()


def test_a_small_one_that_waits_gives_way_to_what_need_not_wait() -> None:
    urgent = place_of("urgent", 1)
    queued: list[int] = []
    lanes = Lanes(
        threading.Event(), has_small=lambda until: any(one <= until for one in queued)
    )
    told: list[bool] = []

    def do_small() -> None:
        with lanes.enter(place_of("low", 1), pictures=1) as may_begin:
            told.append(may_begin)

    with lanes.enter(place_of("urgent", 300), pictures=300):
        small = threading.Thread(target=do_small)
        small.start()
        queued.append(place_of("normal", 1))
        small.join(1.5)
        still_waits = small.is_alive()
        queued.append(urgent)
        small.join(30.0)

    assert still_waits
    assert told == [False]
