"""Whose place is given up when places run short."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from dicom_node.shares import choose_to_end, holder_of

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
