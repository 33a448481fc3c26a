"""Whose place is given up when places run short."""

from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from dicom_node.shares import Shares, choose_to_end, holder_of

ADDRESSES = st.sampled_from(["10.0.0.1", "10.0.0.2", "10.0.0.3"])


def test_an_ipv6_site_and_a_mapped_address_each_count_as_one_holder() -> None:
    assert holder_of("2001:db8::1") == holder_of("2001:db8::ffff:2%eth0")
    assert holder_of("2001:db8::1") != holder_of("2001:db8:0:1::1")
    assert holder_of("::ffff:10.0.0.1") == holder_of("10.0.0.1")


@given(st.lists(ADDRESSES, min_size=1))
def test_only_an_address_that_holds_most_gives_up_a_place(held: list[str]) -> None:
    places = list(enumerate(held))

    chosen = choose_to_end(places, lambda one: one[1], rank=lambda one: one[0])

    assert chosen is not None
    assert held.count(chosen[1]) == max(map(held.count, held))
    assert chosen[0] == held.index(chosen[1])


@given(st.lists(ADDRESSES), ADDRESSES)
def test_a_newcomer_takes_no_place_from_who_holds_no_more_than_it(
    held: list[str], newcomer: str
) -> None:
    places = list(enumerate(held))

    chosen = choose_to_end(
        places, lambda one: one[1], rank=lambda one: one[0], newcomer=newcomer
    )

    most = max(map(held.count, held), default=0)
    assert (chosen is None) == (most <= held.count(newcomer) + 1)


@given(st.lists(ADDRESSES))
def test_everybodys_turn_comes_before_anybodys_second(addresses: list[str]) -> None:
    shares: Shares[int] = Shares()
    for at, address in enumerate(addresses):
        shares.put(at, address)

    taken = []
    while (one := shares.take_turn()) is not None:
        taken.append(one)

    assert sorted(taken) == list(range(len(addresses)))
    turns = [addresses[:one].count(addresses[one]) for one in taken]
    assert turns == sorted(turns)
    assert len(shares) == 0


@given(st.lists(st.tuples(st.integers(0, 5), ADDRESSES)), st.sets(st.integers(0, 5)))
def test_the_first_of_most_is_what_a_look_at_everything_finds(
    put: list[tuple[int, str]], ended: set[int]
) -> None:
    shares: Shares[int] = Shares()
    held: dict[int, str] = {}
    for one, address in put:
        shares.put(one, address)
        held.pop(one, None)
        held[one] = address
    for one in ended:
        shares.discard(one)
        held.pop(one, None)

    first = shares.first_of_most()

    counts = shares.counts()
    assert counts == Counter(held.values())
    assert (first is None) == (not held)
    if first is not None:
        assert counts[held[first]] == max(counts.values())
        assert first == next(one for one in held if held[one] == held[first])
        assert shares.first_of(held[first]) == first
