"""A folder gets a version once and whole, whatever breaks between two tries."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from dicom_node.audit import Counters
from dicom_node.config import NodeSettings
from dicom_node.errors import StoreError
from dicom_node.identity import content_version
from dicom_node.store import Store
from dicom_node.workflows.delivery import Delivery
from dicom_node.workflows.names import parcel_name
from tests.builders.stores import NOON, received, result_object


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store(f"sqlite:///{tmp_path / 'node.sqlite'}") as opened:
        opened.migrate()
        opened.record_instance(received(1))
        (waiting,) = opened.collecting_studies()
        key = opened.open_version(
            waiting.study_id, now=NOON, version_of=content_version
        )
        assert key is not None
        opened.work.start_version(
            key.version_id, run=1, fingerprint="m", data_dir=tmp_path, now=NOON
        )
        opened.work.finish_version(
            key.version_id,
            run=1,
            fingerprint="m",
            objects=[result_object(tmp_path / "made", one) for one in range(1, 4)],
            result_dir=tmp_path / "made",
            data_dir=tmp_path,
            destinations={"share": "default"},
            now=NOON,
        )
        yield opened


@pytest.fixture
def delivery(tmp_path: Path, store: Store) -> Delivery:
    (tmp_path / "out").mkdir()
    share = {"name": "share", "kind": "folder", "folder": tmp_path / "out"}
    settings = NodeSettings.model_validate(
        {"node": {"data_dir": tmp_path}, "destinations": [share]}
    )
    counters = Counters(CollectorRegistry())
    return Delivery(settings, store, counters=counters, clock=lambda: NOON)


def deliver(store: Store, delivery: Delivery) -> None:
    for parcel in store.outbox.pending_parcels():
        delivery.deliver(1, "share", parcel_name(parcel))


def names(folder: Path) -> list[list[str]]:
    return [sorted(one.name for one in made.iterdir()) for made in folder.iterdir()]


ALL = ["1.dcm", "2.dcm", "3.dcm"]


@pytest.mark.parametrize("at", [1, 2])
def test_an_error_between_two_tries_makes_no_second_folder(
    tmp_path: Path,
    store: Store,
    delivery: Delivery,
    monkeypatch: pytest.MonkeyPatch,
    at: int,
) -> None:
    real, calls = store.outbox.record_attempt, 0

    def fail(*arguments: Any, **options: Any) -> None:
        nonlocal calls
        calls += 1
        if calls == at:
            raise StoreError
        real(*arguments, **options)

    monkeypatch.setattr(store.outbox, "record_attempt", fail)
    try:
        deliver(store, delivery)
    except StoreError:
        assert store.counts().deliveries == {("share", "pending"): 3}
    deliver(store, delivery)

    assert names(tmp_path / "out") == [ALL]
    assert store.counts().deliveries == {("share", "delivered"): 3}


def test_what_is_left_of_a_folder_is_delivered_with_the_rest(
    tmp_path: Path, store: Store, delivery: Delivery
) -> None:
    deliver(store, delivery)
    with store._database.write() as connection:
        connection.exec_driver_sql(
            "UPDATE deliveries SET state = 'pending' WHERE id > 1"
        )

    deliver(store, delivery)

    assert names(tmp_path / "out") == [ALL]
    assert store.counts().deliveries == {("share", "delivered"): 3}


def test_a_folder_waits_while_a_file_is_damaged(
    tmp_path: Path, store: Store, delivery: Delivery
) -> None:
    kept = (tmp_path / "made" / "2.dcm").read_bytes()
    (tmp_path / "made" / "2.dcm").write_bytes(b"other")
    deliver(store, delivery)
    before = store.counts().deliveries, names(tmp_path / "out")
    (tmp_path / "made" / "2.dcm").write_bytes(kept)

    deliver(store, delivery)

    assert before == ({("share", "pending"): 3}, [])
    assert names(tmp_path / "out") == [ALL]
