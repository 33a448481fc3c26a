"""What was acknowledged survives a power cut that takes its names and its row."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from conformance.profile import Status
from dicom_node.errors import StoreError
from dicom_node.leftovers import adopt_leftovers
from dicom_node.receive import InstanceReceiver, StoreAnswer, StoreRequest
from dicom_node.reconcile import reconcile
from dicom_node.spool import Spool, proven_sha256
from dicom_node.store import Store
from dicom_node.store.removal import mark_images
from tests.builders.raw_peer import (
    CT_IMAGE_STORAGE,
    EXPLICIT_LITTLE,
    encode_data_set,
    make_instance,
)
from tests.torture.durable_tree import Variant
from tests.torture.power_disk import PowerDisk

LATER = datetime.now(UTC) + timedelta(days=1)


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[PowerDisk]:
    with PowerDisk(tmp_path / "disk", log_path=tmp_path / "log") as opened:
        yield opened


def opened(data_dir: Path) -> tuple[Spool, Store]:
    spool = Spool(data_dir, min_free_bytes=0)
    store = Store(f"sqlite:///{data_dir / 'node.sqlite'}")
    store.migrate()
    return spool, store


def receive(spool: Spool, store: Store, number: int = 1) -> StoreAnswer:
    uid = f"1.2.3.4.{number}"
    data = encode_data_set(make_instance(uid))
    receiver = InstanceReceiver(spool, store)
    reception = receiver.begin(
        StoreRequest(CT_IMAGE_STORAGE, uid, EXPLICIT_LITTLE, "PACS", "127.0.0.1")
    )
    reception.write(memoryview(data))
    return reception.finish()


@pytest.mark.peers
@pytest.mark.parametrize("variant", list(Variant))
def test_a_power_cut_after_the_answer_costs_neither_file_nor_row(
    disk: PowerDisk, variant: Variant
) -> None:
    data_dir = disk.folder / "data"
    spool, store = opened(data_dir)
    answers = [receive(spool, store, number) for number in range(3)]
    store.close()

    disk.cut(variant, seed=1)

    spool, store = opened(data_dir)
    adopt_leftovers(spool)
    spool.remove_leftovers()
    reconcile(store, spool)
    paths = {one.instance.path for one in answers if one.instance is not None}
    assert len(paths) == 3
    assert set(spool.files()) == paths
    assert {one.path for one in store.recorded_files(after_id=0)} == paths
    assert not list(spool.leftovers())
    store.close()


def test_a_row_that_a_power_cut_took_is_made_again(tmp_path: Path) -> None:
    _, store = opened(tmp_path / "data")
    store.close()  # so that the tables are not only in the log
    spool, store = opened(tmp_path / "data")
    answer = receive(spool, store)

    # The log of the database was not synced, and goes with the power.
    left = tmp_path / "left"
    cut(tmp_path / "data", left)
    store.close()

    spool, store = opened(left)
    assert answer.status is Status.SUCCESS
    assert not list(store.recorded_files())
    assert reconcile(store, spool).reindexed == 1
    assert len(list(store.recorded_files())) == 1
    store.close()


def cut(data_dir: Path, left: Path) -> None:
    """Copy a data folder without the log of the database, which was not synced."""
    shutil.copytree(data_dir, left, ignore=shutil.ignore_patterns("*-wal", "*-shm"))


def synced_logs(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    synced: list[Path] = []
    monkeypatch.setattr("dicom_node.store.database.sync_path", synced.append)
    return synced


def removed(data_dir: Path) -> None:
    """Receive an instance and let retention remove it, durably."""
    spool, store = opened(data_dir)
    receive(spool, store)
    with store.retention._database.write() as connection:
        mark_images(connection, 1, now=datetime.now(UTC))
    assert store.files.delete_removed(1, spool.names, remove=lambda _: True)
    store.close()


def test_what_was_removed_and_came_again_survives_a_power_cut(tmp_path: Path) -> None:
    removed(tmp_path / "data")
    spool, store = opened(tmp_path / "data")
    store.data_dir = tmp_path / "data"
    assert receive(spool, store).status is Status.SUCCESS
    kept = list(spool.files())
    cut(tmp_path / "data", tmp_path / "left")
    store.close()

    spool, store = opened(tmp_path / "left")
    store.data_dir = tmp_path / "left"
    adopt_leftovers(spool)
    spool.remove_leftovers()
    assert reconcile(store, spool).reindexed == 1
    assert list(spool.files()) == kept
    assert [one.path for one in store.recorded_files()] == kept
    store.close()


def test_a_removed_file_that_stayed_is_still_deleted(tmp_path: Path) -> None:
    spool, store = opened(tmp_path)
    receive(spool, store)
    with store.retention._database.write() as connection:
        mark_images(connection, 1, now=datetime.now(UTC) + timedelta(seconds=1))

    assert reconcile(store, spool).reindexed == 0
    assert list(spool.files()) == []
    store.close()


def test_what_no_file_tells_is_synced_before_the_answer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    removed(tmp_path)
    spool, store = opened(tmp_path)
    store.data_dir = tmp_path
    synced = synced_logs(monkeypatch)
    wal = tmp_path / "node.sqlite-wal"

    receive(spool, store, 2)
    assert synced == []
    receive(spool, store)  # it was removed
    assert synced == [wal]
    receive(spool, store, 3)
    assert synced == [wal]
    store.close()


def test_a_remote_s_answer_is_synced_before_the_answer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spool, store = opened(tmp_path)
    store.remotes.titles = frozenset({"PACS"})
    synced = synced_logs(monkeypatch)

    assert receive(spool, store).status is Status.SUCCESS

    assert synced == [tmp_path / "node.sqlite-wal"]
    assert not list(store.recorded_files())
    store.close()


def test_an_answer_that_cannot_be_settled_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spool, store = opened(tmp_path)
    store.remotes.titles = frozenset({"PACS"})

    def fail(_: Path) -> None:
        raise OSError(5, "Input/output error")

    with monkeypatch.context() as patched:
        patched.setattr("dicom_node.store.database.sync_path", fail)
        for _ in range(2):  # the second one finds the row, which is not durable
            assert receive(spool, store).status is not Status.SUCCESS
    assert receive(spool, store).status is Status.SUCCESS
    store.close()


def test_after_a_failed_sync_the_log_goes_into_the_database(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spool, store = opened(tmp_path)
    receive(spool, store)

    def fail(_: Path) -> None:
        raise OSError(5, "Input/output error")

    with monkeypatch.context() as patched:
        patched.setattr("dicom_node.store.database.sync_path", fail)
        with pytest.raises(StoreError):
            store.settle()
    assert (tmp_path / "node.sqlite-wal").stat().st_size > 0
    store.settle()

    assert (tmp_path / "node.sqlite-wal").stat().st_size == 0
    assert len(list(store.recorded_files())) == 1
    store.close()


@pytest.mark.parametrize("behind_s", [-60, 60, 600, 3500, 3700, 172_800])
def test_a_clock_that_was_set_back_hides_no_file(
    tmp_path: Path, behind_s: float
) -> None:
    spool, store = opened(tmp_path)
    other = Spool(tmp_path, min_free_bytes=0)
    url = f"sqlite:///{tmp_path / 'forgotten.sqlite'}"
    with Store(url) as forgotten:  # its rows go with the power
        forgotten.migrate()
        answer = receive(other, forgotten)
    assert answer.instance is not None
    ahead = time.time() + behind_s
    os.utime(tmp_path / answer.instance.path, (ahead, ahead))

    assert reconcile(store, spool).reindexed == 1
    assert reconcile(store, spool).reindexed == 0
    store.close()


def test_settling_syncs_the_names_and_the_log_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spool, store = opened(tmp_path)
    answer = receive(spool, store)
    assert answer.instance is not None
    synced: list[Path] = []
    for room in ("spool.spool", "store.database"):
        monkeypatch.setattr(f"dicom_node.{room}.sync_path", synced.append)

    for _ in range(2):
        spool.settle()
        store.settle()

    folder = (tmp_path / answer.instance.path).parent
    assert synced == [folder, tmp_path / "node.sqlite-wal"]
    store.close()


def test_a_leftover_that_is_torn_is_not_taken_for_whole(tmp_path: Path) -> None:
    spool, store = opened(tmp_path)
    answer = receive(spool, store)
    store.close()
    assert answer.instance is not None
    whole = (tmp_path / answer.instance.path).read_bytes()
    torn = tmp_path / "incoming" / "torn.part"
    torn.write_bytes(whole[:-3] + bytes(3))
    cut = tmp_path / "spare" / "cut"
    cut.write_bytes(whole[:140])

    assert proven_sha256(torn) == answer.instance.sha256
    assert adopt_leftovers(spool) == 0
    assert spool.remove_leftovers() == 1
    assert not torn.exists()
    assert not cut.exists()


def test_an_instance_waits_for_one_sync(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spool, store = opened(tmp_path)
    answer = receive(spool, store, 1)  # makes spare files and folders
    assert answer.instance is not None
    for number in range(256):
        spool.make_folder(tmp_path / "instances" / f"{number:02x}")
    syncs: list[int] = []
    monkeypatch.setattr(os, "fsync", syncs.append)

    receive(spool, store, 2)

    assert len(syncs) == 1
    store.close()
