"""Addresses that are refused too often, and what the audit trail is told of them."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from structlog.testing import capture_logs

from dicom_node.audit import EventKind
from dicom_node.config import CallerSettings
from dicom_node.scp.admission import Refusal, Refusals, ToldRefusal
from tests.builders.dicom_server import running_server
from tests.builders.raw_peer import VERIFICATION, RawPeer


class Clock:
    """Seconds that pass when they are told to."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def __call__(self) -> float:
        return self.seconds


def refusal(address: str = "10.0.0.1", title: str = "EVIL") -> Refusal:
    return Refusal(EventKind.ASSOCIATION_REFUSED, address, "calling", title, "NODE")


def test_an_address_is_turned_away_until_its_minute_is_over() -> None:
    clock = Clock()
    refusals = Refusals(3, now_s=clock)
    for _ in range(3):
        assert not refusals.turns_away("10.0.0.1")
        refusals.note(refusal())
        clock.seconds += 10

    assert refusals.turns_away("10.0.0.1")
    assert not refusals.turns_away("10.0.0.2")
    clock.seconds = 60
    assert not refusals.turns_away("10.0.0.1")


def test_a_neighbour_on_the_same_ipv6_network_is_still_heard() -> None:
    refusals = Refusals(1, now_s=Clock())
    refusals.note(refusal("fd00:1::77"))

    assert refusals.turns_away("fd00:1::77")
    assert not refusals.turns_away("fd00:1::10")


def test_who_was_let_in_lately_is_heard_whatever_its_neighbour_does() -> None:
    clock = Clock()
    refusals = Refusals(60, now_s=clock)
    refusals.welcome("10.0.0.1")
    for _ in range(2 * 600):
        assert not refusals.turns_away("10.0.0.1")
        refusals.note(refusal())
        clock.seconds += 0.5
    for _ in range(60):
        refusals.note(refusal())

    assert refusals.turns_away("10.0.0.1")


def test_only_so_many_refusals_a_minute_are_worth_a_line() -> None:
    refusals = Refusals(3, now_s=Clock())
    refusals.welcome("10.0.0.1")

    assert [refusals.note(refusal()) for _ in range(5)] == [True] * 3 + [False] * 2


def test_a_thousand_tries_are_told_in_few_events_that_add_up() -> None:
    clock = Clock()
    refusals = Refusals(60, now_s=clock)
    for number in range(1000):
        if not refusals.turns_away("10.0.0.1"):
            refusals.note(refusal(title=f"EVIL{number % 40}"))
        clock.seconds += 0.05
    clock.seconds = 61

    told = refusals.take()

    assert len(told) == 6
    assert sum(one.count for one in told) == 60
    assert sum(one.turned_away for one in told) == 940
    assert refusals.take() == ()


@given(
    st.lists(
        st.tuples(st.integers(0, 5), st.integers(0, 3), st.floats(0, 40)),
        max_size=200,
    )
)
def test_no_refusal_is_lost_or_told_twice(tries: list[tuple[int, int, float]]) -> None:
    clock = Clock()
    refusals = Refusals(10, now_s=clock)
    tried: Counter[str] = Counter()
    told: list[ToldRefusal] = []
    for host, title, seconds in tries:
        refusals.note(refusal(f"10.0.0.{host}", f"T{title}"))
        tried[f"10.0.0.{host}"] += 1
        clock.seconds += seconds
        told += refusals.take()
    told += refusals.take(everything=True)

    counts: Counter[str] = Counter()
    for one in told:
        counts[one.refusal.address] += one.count
    assert counts == tried


def test_what_could_not_be_written_is_told_again_first() -> None:
    refusals = Refusals(10, now_s=Clock())
    refusals.note(refusal(title="A"))
    taken = refusals.take()
    refusals.note(refusal(title="B"))
    refusals.put_back(taken)

    titles = [one.refusal.calling_ae_title for one in refusals.take()]

    assert titles == ["A", "B"]


def test_who_is_turned_away_is_closed_unheard_and_others_are_served(
    tmp_path: Path,
) -> None:
    good = CallerSettings(ae_title="GOOD", address="127.0.0.0/8")
    with (
        running_server(tmp_path, callers=(good,), refusals_per_minute=3) as running,
        capture_logs() as logs,
    ):
        for _ in range(3):
            with (
                RawPeer(running.port, source="127.0.0.2") as peer,
                pytest.raises(AssertionError),
            ):
                peer.associate(VERIFICATION, calling="EVIL")
        for _ in range(5):
            with RawPeer(running.port, source="127.0.0.2") as peer:
                assert peer.is_closed()
        with RawPeer(running.port, source="127.0.0.3") as peer:
            peer.associate(VERIFICATION, calling="GOOD")
            assert peer.echo() == 0
        numbers = running.server.statistics

    assert (numbers.associations_rejected["calling"], numbers.turned_away) == (3, 5)
    events = Counter(one["event"] for one in logs)
    assert (events["association_rejected"], events["address_turned_away"]) == (3, 1)


def test_the_pacs_behind_the_address_of_a_mistaken_caller_is_served(
    tmp_path: Path,
) -> None:
    good = CallerSettings(ae_title="GOOD", address="127.0.0.1")
    with (
        running_server(tmp_path, callers=(good,), refusals_per_minute=2) as running,
        capture_logs() as logs,
    ):
        with RawPeer(running.port) as peer:
            peer.associate(VERIFICATION, calling="GOOD")
            for _ in range(5):
                with RawPeer(running.port) as other, pytest.raises(AssertionError):
                    other.associate(VERIFICATION, calling="TYPO")
            assert peer.release() == 6
        with RawPeer(running.port) as peer:
            peer.associate(VERIFICATION, calling="GOOD")
            assert peer.echo() == 0
        numbers = running.server.statistics

    assert (numbers.associations_rejected["calling"], numbers.turned_away) == (5, 0)
    assert Counter(one["event"] for one in logs)["association_rejected"] == 2


def test_a_full_node_says_nothing_against_who_calls(tmp_path: Path) -> None:
    with running_server(tmp_path, max_associations=1, refusals_per_minute=1) as running:
        with RawPeer(running.port) as first:
            first.associate(VERIFICATION)
            for _ in range(3):
                with RawPeer(running.port) as more, pytest.raises(AssertionError):
                    more.associate(VERIFICATION)
            assert first.echo() == 0
        numbers = running.server.statistics

    assert (numbers.associations_rejected["limit"], numbers.turned_away) == (3, 0)
