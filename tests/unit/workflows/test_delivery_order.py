from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry

from dicom_node.audit import Counters
from dicom_node.config import NodeSettings
from dicom_node.deliver import SendOutcome
from dicom_node.identity import content_version
from dicom_node.store import Parcel, Store
from dicom_node.workflows.delivery import Delivery, first_in_line
from dicom_node.workflows.names import parcel_name
from tests.builders.stores import NOON, received, result_object


class FakePeer:
    """Stands for the destination: notes what comes and can be away."""

    def __init__(self) -> None:
        self.arrived: list[str] = []
        self.is_away = False
        self.refused: set[str] = set()
        self.meanwhile = lambda: None

    def send(self, objects, destination, *, ae_title, on_outcome) -> None:  # type: ignore[no-untyped-def]
        for one in objects:
            is_refused = one.sop_instance_uid in self.refused
            is_taken = not self.is_away and not is_refused
            if is_taken:
                self.arrived.append(one.sop_instance_uid)
            self.meanwhile()
            on_outcome(
                SendOutcome(
                    one.path,
                    one.sop_instance_uid,
                    is_delivered=is_taken,
                    status=None if self.is_away else 0xA900 if is_refused else 0,
                    reason="" if is_taken else "away" if self.is_away else "refused",
                    is_refused=is_refused and not self.is_away,
                )
            )


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store(f"sqlite:///{tmp_path / 'node.sqlite'}") as opened:
        opened.migrate()
        yield opened


@pytest.fixture
def peer(monkeypatch: pytest.MonkeyPatch) -> FakePeer:
    fake = FakePeer()
    monkeypatch.setattr("dicom_node.deliver.send", fake.send)
    return fake


@pytest.fixture
def delivery(tmp_path: Path, store: Store) -> Delivery:
    pacs = {"name": "pacs", "ae_title": "PACS", "host": "127.0.0.1", "port": 104}
    settings = NodeSettings.model_validate(
        {"node": {"data_dir": tmp_path}, "destinations": [pacs]}
    )
    counters = Counters(CollectorRegistry())
    return Delivery(settings, store, counters=counters, clock=lambda: NOON)


def make_version(store: Store, folder: Path, number: int, study: str = "1.2.3") -> None:
    """Let a study get an image and the result of a version, 2.25.<number>."""
    store.record_instance(received(number, study_instance_uid=study))
    (waiting,) = store.collecting_studies()
    key = store.open_version(waiting.study_id, now=NOON, version_of=content_version)
    assert key is not None
    store.work.start_version(
        key.version_id, run=1, fingerprint="m", data_dir=folder, now=NOON
    )
    store.work.finish_version(
        key.version_id,
        run=1,
        fingerprint="m",
        objects=[result_object(folder / f"{number}", number)],
        result_dir=folder / f"{number}",
        data_dir=folder,
        destinations={"pacs": "default", "gone": "default"},
        now=NOON + timedelta(seconds=number),
    )


def try_it(delivery: Delivery, parcel: Parcel):  # type: ignore[no-untyped-def]
    return delivery.deliver(parcel.study_id, parcel.destination, parcel_name(parcel))


def test_a_version_waits_until_the_one_before_is_delivered(
    tmp_path: Path, store: Store, peer: FakePeer, delivery: Delivery
) -> None:
    for number in (1, 2):
        make_version(store, tmp_path, number)
    first, second = store.outbox.pending_parcels(destination="pacs")

    out_of_turn = try_it(delivery, second)
    peer.is_away = True
    failed = try_it(delivery, first)
    still_out_of_turn = try_it(delivery, second)
    peer.is_away = False
    assert failed.left is not None
    done = try_it(delivery, failed.left)

    assert out_of_turn.left is still_out_of_turn.left is done.left is None
    assert failed.left.version_id == first.version_id
    assert (out_of_turn.delivered, done.delivered) == (0, 2)
    assert peer.arrived == ["2.25.1", "2.25.2"]


def test_a_version_waits_for_no_other_study(
    tmp_path: Path, store: Store, peer: FakePeer, delivery: Delivery
) -> None:
    make_version(store, tmp_path, 1)
    make_version(store, tmp_path, 2, study="1.2.9")

    _, other = store.outbox.pending_parcels(destination="pacs")
    try_it(delivery, other)

    assert peer.arrived == ["2.25.2"]


def test_a_version_follows_one_that_is_dead(
    tmp_path: Path, store: Store, peer: FakePeer, delivery: Delivery
) -> None:
    for number in (1, 2):
        make_version(store, tmp_path, number)
    first, second = store.outbox.pending_parcels(destination="pacs")
    store.outbox.abandon_parcel(first, comment="given up", now=NOON)

    try_it(delivery, second)

    assert peer.arrived == ["2.25.2"]


def test_a_version_that_is_made_while_the_one_before_is_sent_follows_it(
    tmp_path: Path, store: Store, peer: FakePeer, delivery: Delivery
) -> None:
    make_version(store, tmp_path, 1)

    def once() -> None:
        peer.meanwhile = lambda: None
        make_version(store, tmp_path, 2)

    peer.meanwhile = once
    (first,) = store.outbox.pending_parcels(destination="pacs")
    try_it(delivery, first)

    assert peer.arrived == ["2.25.1", "2.25.2"]


def test_what_is_refused_for_good_does_not_hold_a_newer_version_back(
    tmp_path: Path, store: Store, peer: FakePeer, delivery: Delivery
) -> None:
    peer.refused = {"2.25.1"}
    make_version(store, tmp_path, 1)
    (first,) = store.outbox.pending_parcels(destination="pacs")
    alone = try_it(delivery, first)
    make_version(store, tmp_path, 2)
    peer.is_away = True
    assert alone.left is not None
    away = try_it(delivery, alone.left)
    peer.is_away = False
    assert away.left is not None

    try_it(delivery, away.left)

    assert away.left.version_id == first.version_id
    assert peer.arrived == ["2.25.2"]
    assert store.counts().deliveries["pacs", "dead"] == 1
    with store._database.read() as connection:
        (told,) = connection.exec_driver_sql(
            "SELECT detail FROM events WHERE kind = 'delivery_dead'"
        ).all()
    assert "refused; it has a newer version" in told[0]


def test_what_is_damaged_does_not_hold_a_newer_version_back(
    tmp_path: Path, store: Store, peer: FakePeer, delivery: Delivery
) -> None:
    for number in (1, 2):
        make_version(store, tmp_path, number)
    (tmp_path / "1" / "1.dcm").unlink()

    first, _ = store.outbox.pending_parcels(destination="pacs")
    try_it(delivery, first)

    assert peer.arrived == ["2.25.2"]


def test_what_was_given_up_never_comes_after_what_supersedes_it(
    tmp_path: Path, store: Store, peer: FakePeer, delivery: Delivery
) -> None:
    for number in (1, 2):
        make_version(store, tmp_path, number)
    for parcel in store.outbox.pending_parcels(destination="pacs"):
        store.outbox.abandon_parcel(parcel, comment="given up", now=NOON)

    store.requeue_study("1.2.3", destinations={"pacs": "default"}, now=NOON)
    for parcel in first_in_line(store.outbox.pending_parcels(destination="pacs")):
        try_it(delivery, parcel)

    assert peer.arrived == ["2.25.2"]


def test_a_try_that_another_one_overtook_sends_nothing(
    tmp_path: Path, store: Store, peer: FakePeer, delivery: Delivery
) -> None:
    make_version(store, tmp_path, 1)
    (parcel,) = store.outbox.pending_parcels(destination="pacs")
    peer.is_away = True
    try_it(delivery, parcel)
    peer.is_away = False

    try_it(delivery, parcel)

    assert peer.arrived == []


def test_all_versions_for_a_destination_that_was_removed_are_given_up(
    tmp_path: Path, store: Store, delivery: Delivery
) -> None:
    for number in (1, 2):
        make_version(store, tmp_path, number)

    first, _ = store.outbox.pending_parcels(destination="gone")
    try_it(delivery, first)

    assert store.counts().deliveries["gone", "dead"] == 2


def test_only_the_first_of_each_line_may_go(tmp_path: Path, store: Store) -> None:
    for number in (1, 2):
        make_version(store, tmp_path, number)
    make_version(store, tmp_path, 3, study="1.2.9")

    found = first_in_line(store.outbox.pending_parcels())

    assert sorted((one.version_id, one.destination) for one in found) == [
        (1, "gone"),
        (1, "pacs"),
        (3, "gone"),
        (3, "pacs"),
    ]


def test_no_lock_is_kept_for_what_is_done(
    tmp_path: Path, store: Store, peer: FakePeer, delivery: Delivery
) -> None:
    make_version(store, tmp_path, 1)
    (parcel,) = store.outbox.pending_parcels(destination="pacs")

    try_it(delivery, parcel)

    assert peer.arrived == ["2.25.1"]
    assert not delivery._lines
