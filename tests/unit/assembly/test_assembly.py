from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from dicom_node.assembly import (
    RELEASE_SETTLE_S,
    Assembler,
    open_association_limit_s,
)
from dicom_node.errors import StoreError
from dicom_node.records import ReceivedInstance
from dicom_node.store import CollectingStudy, Store, VersionKey
from tests.builders.stores import NOON, received

QUIET_S = 10.0


class FakeClock:
    def __init__(self) -> None:
        self.now = NOON

    def __call__(self) -> datetime:
        return self.now

    def advance(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)


class Recorder:
    def __init__(self) -> None:
        self.ready: list[VersionKey] = []
        self.requested: list[str] = []
        self.failures = 0
        self.bad = ""

    def version_ready(self, key: VersionKey, *, is_requested: bool = False) -> None:
        if key.study_instance_uid == self.bad:
            raise ArithmeticError
        if self.failures:
            self.failures -= 1
            raise StoreError
        self.ready.append(key)

    def study_requested(self, study: CollectingStudy) -> None:
        self.requested.append(study.study_instance_uid)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store(f"sqlite:///{tmp_path / 'node.sqlite'}") as opened:
        opened.migrate()
        yield opened


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def hooks() -> Recorder:
    return Recorder()


class Peers(Assembler):
    """Assembler whose caller names the association instead of having a thread."""

    def __init__(self, store: Store, hooks: Recorder, clock: FakeClock) -> None:
        self.association = ""
        super().__init__(
            store,
            hooks,
            quiet_time_s=QUIET_S,
            clock=clock,
            association_of=lambda: self.association,
        )

    def comes_over(self, association: str, instance: ReceivedInstance) -> None:
        self.association = association
        self.record_instance(instance)

    def ends(self, association: str) -> None:
        self.association = association
        self.association_released()

    def comes(self, instance: ReceivedInstance) -> None:
        """Bring an instance over an association that ended long ago."""
        self.comes_over("gone", instance)
        self._open.clear()


@pytest.fixture
def assembler(store: Store, hooks: Recorder, clock: FakeClock) -> Peers:
    return Peers(store, hooks, clock)


def test_a_study_is_complete_after_the_quiet_time_and_not_before(
    assembler: Peers, clock: FakeClock, hooks: Recorder
) -> None:
    assembler.comes(received(1))
    clock.advance(QUIET_S - 0.001)
    early = assembler.evaluate()
    clock.advance(0.001)

    (key,) = assembler.evaluate()

    assert early == ()
    assert hooks.ready == [key]
    assert assembler.evaluate() == ()


def test_a_clock_set_back_after_a_release_does_not_hold_the_study(
    assembler: Peers, clock: FakeClock
) -> None:
    assembler.comes_over("A", received(1))
    clock.advance(2 * QUIET_S)
    assembler.ends("A")
    clock.advance(-3600)

    assert len(assembler.evaluate()) == 1


def test_the_first_study_on_its_way_is_told_of_once(
    store: Store, hooks: Recorder, clock: FakeClock
) -> None:
    told: list[int] = []
    assembler = Assembler(
        store,
        hooks,
        quiet_time_s=QUIET_S,
        clock=clock,
        on_first=lambda: told.append(len(store.collecting_studies())),
    )
    assembler.evaluate()
    assert told == []

    for number in (1, 2):
        assembler.record_instance(received(number))
        assembler.evaluate()

    assert told == [1]


def test_a_version_that_cannot_be_queued_holds_no_other(
    assembler: Peers, clock: FakeClock, hooks: Recorder
) -> None:
    hooks.bad = "1.2.3"
    assembler.comes(received(1))
    assembler.comes(received(2, study_instance_uid="1.9"))
    clock.advance(QUIET_S)

    assembler.evaluate()

    assert [one.study_instance_uid for one in hooks.ready] == ["1.9"]


def test_every_new_instance_begins_the_quiet_time_again(
    assembler: Peers, clock: FakeClock
) -> None:
    for number in range(5):
        assembler.comes(received(number, after_s=(clock.now - NOON).total_seconds()))
        clock.advance(QUIET_S - 1)
        assert assembler.evaluate() == ()


@pytest.mark.parametrize("changes", [{}, {"sha256": "c" * 64}, {"is_own_result": True}])
def test_duplicates_conflicts_and_own_results_do_not_hold_a_study(
    assembler: Peers, clock: FakeClock, changes: dict[str, object]
) -> None:
    assembler.comes(received(1))
    clock.advance(QUIET_S)
    again = received(1, after_s=QUIET_S, path=Path("spool/other.dcm"), **changes)
    if changes.get("is_own_result"):
        again = replace(again, sop_instance_uid="2.25.1")

    assembler.comes(again)

    (key,) = assembler.evaluate()
    assert key.run == 1


def test_a_study_waits_for_the_association_that_brought_it(
    assembler: Peers, clock: FakeClock
) -> None:
    assembler.comes_over("a", received(1))
    clock.advance(open_association_limit_s(QUIET_S) - 0.001)
    while_open = assembler.evaluate()
    assembler.ends("a")
    at_once = assembler.evaluate()
    clock.advance(RELEASE_SETTLE_S)

    assert (while_open, at_once) == ((), ())
    assert len(assembler.evaluate()) == 1


def test_an_association_that_stays_open_holds_a_study_for_a_bounded_time(
    assembler: Peers, clock: FakeClock
) -> None:
    assembler.comes_over("router", received(1))
    clock.advance(open_association_limit_s(QUIET_S))
    (first,) = assembler.evaluate()

    late = (clock.now - NOON).total_seconds()
    assembler.comes_over("router", received(2, after_s=late))
    clock.advance(open_association_limit_s(QUIET_S) - 0.001)
    while_open = assembler.evaluate()
    clock.advance(0.001)
    (second,) = assembler.evaluate()

    assert while_open == ()
    assert first.version_id < second.version_id


@pytest.mark.parametrize(("quiet_s", "limit_s"), [(0.5, 60), (6, 60), (10, 100)])
def test_an_open_association_may_hold_ten_quiet_times_and_a_minute_at_least(
    quiet_s: float, limit_s: float
) -> None:
    assert open_association_limit_s(quiet_s) == limit_s


def test_an_association_holds_only_the_studies_it_brought(
    assembler: Peers, clock: FakeClock
) -> None:
    assembler.comes_over("a", received(1))
    assembler.comes_over("b", received(2, study_instance_uid="1.2.9"))
    assembler.ends("b")
    clock.advance(QUIET_S)

    (key,) = assembler.evaluate()

    assert key.study_instance_uid == "1.2.9"


def test_a_release_does_not_shorten_the_quiet_time(
    assembler: Peers, clock: FakeClock
) -> None:
    assembler.comes_over("a", received(1))
    assembler.ends("a")
    clock.advance(QUIET_S - 1)

    assert assembler.evaluate() == ()


def test_a_request_completes_a_study_at_once(
    assembler: Peers, store: Store, hooks: Recorder
) -> None:
    assembler.comes_over("a", received(1))
    store.requeue_study("1.2.3", destinations={}, now=NOON)

    (key,) = assembler.evaluate()

    assert hooks.ready == [key]
    assert hooks.requested == ["1.2.3"]
    assert store.collecting_studies() == ()


def test_a_request_for_a_finished_study_is_handed_on_once(
    assembler: Peers, store: Store, hooks: Recorder, clock: FakeClock
) -> None:
    assembler.comes(received(1))
    clock.advance(QUIET_S)
    (key,) = assembler.evaluate()
    store.work.start_version(
        key.version_id, run=1, fingerprint="m", data_dir=Path("/d"), now=NOON
    )
    store.work.fail_version(key.version_id, run=1, reason="no model", now=NOON)
    store.requeue_study("1.2.3", destinations={}, now=NOON)

    opened = assembler.evaluate()
    assembler.evaluate()

    assert opened == ()
    assert hooks.requested == ["1.2.3"]


def test_a_version_whose_hook_failed_is_told_by_the_next_evaluation(
    assembler: Peers, clock: FakeClock, hooks: Recorder
) -> None:
    assembler.comes(received(1))
    clock.advance(QUIET_S)
    hooks.failures = 1
    with pytest.raises(StoreError):
        assembler.evaluate()

    assembler.evaluate()

    assert len(hooks.ready) == 1


def test_after_a_restart_a_study_completes_without_its_association(
    assembler: Peers, store: Store, clock: FakeClock
) -> None:
    assembler.comes_over("a", received(1))
    hooks = Recorder()
    restarted = Peers(store, hooks, clock)
    clock.advance(QUIET_S)

    restarted.evaluate()

    assert [one.study_instance_uid for one in hooks.ready] == ["1.2.3"]


def test_a_clock_that_was_set_back_holds_no_study(
    assembler: Peers, clock: FakeClock
) -> None:
    assembler.comes(received(1, after_s=86_400))
    clock.advance(QUIET_S)

    assert len(assembler.evaluate()) == 1


def test_no_error_of_one_round_ends_the_rounds(
    assembler: Peers, monkeypatch: pytest.MonkeyPatch
) -> None:
    rounds = 0

    def evaluate() -> tuple[VersionKey, ...]:
        nonlocal rounds
        rounds += 1
        if rounds == 1:
            raise StoreError
        if rounds == 2:
            raise ValueError("ZZCANARY")
        assembler.stop()
        return ()

    monkeypatch.setattr(assembler, "evaluate", evaluate)
    with capture_logs() as lines:
        assembler.run(interval_s=0.001)

    assert rounds == 3
    assert [one["event"] for one in lines] == ["assembly_waits", "assembly_failed"]
    assert "ZZCANARY" not in str(lines)


def test_who_looks_seldom_because_nothing_comes_is_woken_by_what_comes(
    store: Store, clock: FakeClock, hooks: Recorder
) -> None:
    assembler = Peers(store, hooks, clock)
    assembler.evaluate()
    assert assembler._is_idle

    assembler.record_instance(received(1))

    assert assembler._wake.is_set()
    assembler.evaluate()
    assert not assembler._is_idle
