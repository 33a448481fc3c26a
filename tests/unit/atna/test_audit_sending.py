"""Events reach a place in their order, none is lost, and what is many is gathered."""

from __future__ import annotations

import stat
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from dicom_node.atna.audit_file import AuditFile
from dicom_node.atna.reading import LONGEST_S, QUIET_S, node_identity
from dicom_node.atna.sender import AuditSender
from dicom_node.audit import EventKind
from dicom_node.config import NodeSettings
from dicom_node.errors import AuditError
from dicom_node.store import Store
from dicom_node.store.outbox import Parcel
from tests.builders.audit_judge import judge
from tests.builders.stores import NOON, received


class Place:
    """Takes messages; ``fails`` breaks the connection and loses what is unsettled."""

    name = "syslog"
    settle_s = 5.0

    def __init__(self) -> None:
        self.lines: list[bytes] = []
        self.fails = False

    def write(self, lines: Sequence[bytes]) -> None:
        if self.fails:
            raise AuditError("it is away")
        self.lines += lines

    def is_settled(self) -> bool:
        return True

    def close(self) -> None: ...


class Bench:
    """A sender, its clock and its place."""

    def __init__(self, store: Store, place: Place | AuditFile) -> None:
        self.now = 0.0
        self.store = store
        self.sender = AuditSender(
            place,
            store.trail,
            node_identity(NodeSettings()),
            monotonic=lambda: self.now,
        )
        self.sender.open()

    def run(self) -> None:
        while self.sender.step():
            pass


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store(f"sqlite:///{tmp_path / 'node.sqlite'}") as opened:
        opened.migrate()
        yield opened


def sign_in(store: Store, *names: str) -> None:
    for name in names:
        store.users.record_sign_in(name, address="127.0.0.1", reason=None)


def users(lines: Sequence[bytes]) -> list[str]:
    roots = [judge(line.partition(b" - DICOM+RFC3881 - ")[2]) for line in lines]
    return [root.find("ActiveParticipant").get("UserID") for root in roots]


def test_events_are_sent_in_their_order(store: Store) -> None:
    place = Place()
    bench = Bench(store, place)
    sign_in(store, "a", "b", "c")

    bench.run()

    assert users(place.lines) == ["a", "b", "c"]


def test_what_was_before_the_first_start_is_not_sent(store: Store) -> None:
    sign_in(store, "before")
    place = Place()
    bench = Bench(store, place)
    sign_in(store, "after")

    bench.run()

    assert users(place.lines) == ["after"]


def test_what_was_sent_shortly_before_a_break_is_sent_again(store: Store) -> None:
    place = Place()
    bench = Bench(store, place)
    sign_in(store, "old")
    bench.run()
    bench.now = place.settle_s
    bench.run()
    sign_in(store, "young")
    bench.run()
    place.fails = True

    with pytest.raises(AuditError):
        bench.sender.step()
    place.fails = False
    bench.run()

    assert users(place.lines) == ["old", "young", "young"]
    assert place.lines[1] == place.lines[2]


def test_a_restart_goes_on_where_it_was_certain(store: Store) -> None:
    place = Place()
    bench = Bench(store, place)
    sign_in(store, "certain")
    bench.run()
    bench.now = place.settle_s
    bench.run()
    sign_in(store, "uncertain")
    bench.run()
    again = Place()

    Bench(store, again).run()

    assert users(again.lines) == ["uncertain"]


def test_the_backlog_is_what_is_not_certain(store: Store) -> None:
    place = Place()
    place.fails = True
    bench = Bench(store, place)
    sign_in(store, "a", "b")

    backlog = bench.sender.backlog()

    assert backlog.count == 2
    assert backlog.oldest_at is not None


def test_instances_of_a_study_are_one_message(store: Store) -> None:
    place = Place()
    bench = Bench(store, place)
    for number in range(3):
        store.record_instance(received(number))
    sign_in(store, "a")
    store.record_instance(received(9))

    bench.run()
    assert not place.lines
    bench.now = QUIET_S
    bench.run()

    assert users(place.lines) == ["PACS", "a"]
    root = judge(place.lines[0].partition(b" - DICOM+RFC3881 - ")[2])
    assert root.find(".//SOPClass").get("NumberOfInstances") == "4"


def test_a_study_that_never_ends_is_told_all_the_same(store: Store) -> None:
    place = Place()
    bench = Bench(store, place)
    for number in range(int(LONGEST_S)):
        store.record_instance(received(number))
        bench.now += 1.0
        bench.run()
    bench.now += 1.0
    bench.run()

    assert len(place.lines) == 1


def test_instances_that_came_before_are_told_once(store: Store) -> None:
    place = Place()
    store.record_instance(received(1))
    bench = Bench(store, place)
    for _ in range(5):
        store.record_instance(received(1))

    bench.run()
    bench.now = QUIET_S
    bench.run()

    (line,) = place.lines
    root = judge(line.partition(b" - DICOM+RFC3881 - ")[2])
    assert root.find("EventIdentification").get("EventActionCode") == "R"


def test_a_row_of_an_unknown_kind_is_passed_over(store: Store) -> None:
    place = Place()
    bench = Bench(store, place)
    store.record_event("from_the_future")  # type: ignore[arg-type]
    sign_in(store, "a")

    bench.run()

    assert users(place.lines) == ["a"]


def test_a_file_gets_whole_lines_only_its_owner_reads(
    store: Store, tmp_path: Path
) -> None:
    path = tmp_path / "audit.log"
    bench = Bench(store, AuditFile(path))
    sign_in(store, "a", "b")

    bench.run()

    assert users(path.read_bytes().splitlines()) == ["a", "b"]
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert bench.sender.backlog().count == 0


def test_a_file_that_was_rotated_is_opened_anew(store: Store, tmp_path: Path) -> None:
    path = tmp_path / "audit.log"
    bench = Bench(store, AuditFile(path))
    sign_in(store, "a")
    bench.run()
    path.rename(tmp_path / "audit.log.1")
    sign_in(store, "b")

    bench.run()

    assert users(path.read_bytes().splitlines()) == ["b"]
    assert users((tmp_path / "audit.log.1").read_bytes().splitlines()) == ["a"]


def test_a_line_that_a_crash_cut_off_is_ended(store: Store, tmp_path: Path) -> None:
    path = tmp_path / "audit.log"
    path.write_bytes(b"<85>1 2026-01")
    bench = Bench(store, AuditFile(path))
    sign_in(store, "a")

    bench.run()

    assert users(path.read_bytes().splitlines()[1:]) == ["a"]


def test_a_folder_that_is_not_there_loses_nothing(store: Store, tmp_path: Path) -> None:
    path = tmp_path / "later" / "audit.log"
    bench = Bench(store, AuditFile(path))
    sign_in(store, "a")

    with pytest.raises(AuditError, match="No such file"):
        bench.sender.step()
    path.parent.mkdir()
    bench.run()

    assert users(path.read_bytes().splitlines()) == ["a"]


def test_reading_a_study_is_one_event_for_some_minutes(store: Store) -> None:
    store.record_instance(received(1))
    detail = {"person": "ann", "address": "127.0.0.1", "how": "wado-rs"}

    def note(**changes: str) -> bool:
        return store.accesses.note(
            EventKind.STUDY_VIEWED,
            study_instance_uid="1.2.3",
            detail=detail | changes,
        )

    told = [note(), note(), note(person="bob"), note(how="page"), note()]

    assert told == [True, False, True, True, False]


def test_results_that_are_given_up_are_told_for_each_destination(store: Store) -> None:
    place = Place()
    bench = Bench(store, place)
    store.record_instance(received())
    (study,) = store.collecting_studies()
    for name in ("pacsA", "pacsB"):
        parcel = Parcel(study.study_id, 1, name, 0, 1, NOON)
        store.outbox.abandon_parcel(parcel, comment="not configured", now=NOON)

    bench.run()
    bench.now = QUIET_S
    bench.run()

    dead = [one for one in place.lines if b"not configured" in one]
    assert [b"1.2.3" in one for one in dead] == [True, True]
    assert [b"pacsA" in one for one in dead] == [True, False]
    assert [b"pacsB" in one for one in dead] == [False, True]
