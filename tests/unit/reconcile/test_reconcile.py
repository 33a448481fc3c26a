from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import asdict, replace
from pathlib import Path

import pytest
import structlog

from dicom_node.instance_file import file_meta, instance_hash
from dicom_node.reconcile import ReconcileReport, reconcile
from dicom_node.spool import Spool
from dicom_node.store import Store
from tests.builders.stores import received

CT = "1.2.840.10008.5.1.4.1.1.2"
EXPLICIT = "1.2.840.10008.1.2.1"


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store(f"sqlite:///{tmp_path / 'node.sqlite'}") as opened:
        opened.migrate()
        yield opened


@pytest.fixture
def spool(tmp_path: Path) -> Spool:
    return Spool(tmp_path / "data", min_free_bytes=0)


def element(tag: bytes, vr: bytes, text: bytes) -> bytes:
    value = text + b"\0" * (len(text) % 2)
    return tag + vr + len(value).to_bytes(2, "little") + value


def keep(spool: Spool, number: int, *, is_ended: bool = True) -> Path:
    """Put an instance into the spool as the receiver does, without recording it."""
    uids = {
        "sop_class_uid": CT,
        "sop_instance_uid": f"1.2.3.4.{number}",
        "transfer_syntax_uid": EXPLICIT,
    }
    data_set = (
        element(b"\x08\x00\x16\x00", b"UI", CT.encode())
        + element(b"\x08\x00\x18\x00", b"UI", uids["sop_instance_uid"].encode())
        + element(b"\x20\x00\x0d\x00", b"UI", b"1.2.3")
        + element(b"\x20\x00\x0e\x00", b"UI", b"1.2.3.4")
    )
    digest = instance_hash(**uids)
    digest.update(data_set)
    writer = spool.open()
    writer.write(file_meta(**uids) + data_set)
    path = writer.commit(digest.hexdigest())
    if is_ended:
        spool.names.release(path)
    return path


def test_a_file_without_a_row_is_recorded_with_what_is_in_it(
    store: Store, spool: Spool
) -> None:
    path = keep(spool, 1)

    first = reconcile(store, spool)
    second = reconcile(store, spool)

    assert first == ReconcileReport(reindexed=1, unreadable=0, missing=0)
    assert second == ReconcileReport(reindexed=0, unreadable=0, missing=0)
    (row,) = store.recorded_files()
    assert (row.path, row.sha256) == (path, path.stem)
    (study,) = store.collecting_studies()
    assert study.study_instance_uid == "1.2.3"


def test_what_is_being_received_now_is_left_alone(store: Store, spool: Spool) -> None:
    path = keep(spool, 1, is_ended=False)

    report = reconcile(store, spool)

    assert report.reindexed == 0
    assert store.recorded_files() == ()
    spool.names.settle(path, is_kept=True)


def test_what_ends_while_it_is_looked_at_gets_one_row(
    store: Store, spool: Spool, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = keep(spool, 1, is_ended=False)
    look = spool.names.held

    def end_after() -> set[Path]:
        held = look()
        size = (spool.data_dir / path).stat().st_size
        store.record_instance(
            replace(received(1), path=path, sha256=path.stem, size_bytes=size)
        )
        spool.names.settle(path, is_kept=True)
        return held

    monkeypatch.setattr(spool.names, "held", end_after)
    report = reconcile(store, spool)

    assert report == ReconcileReport(reindexed=0, unreadable=0, missing=0)
    assert len(store.recorded_files()) == 1


@pytest.mark.parametrize("damage", [b"not a DICOM file", None])
def test_a_file_that_is_not_what_its_name_says_is_not_recorded(
    store: Store, spool: Spool, damage: bytes | None
) -> None:
    path = spool.data_dir / keep(spool, 1)
    path.write_bytes(damage or path.read_bytes()[:-2] + b"9\0")

    report = reconcile(store, spool)

    assert report == ReconcileReport(0, unreadable=1, missing=0, quarantined=1)
    assert not path.exists()
    assert (spool.data_dir / "quarantine" / path.name).exists()
    # It does not go unnoticed from then on, and is not looked at again.
    again = reconcile(store, spool)
    assert again == ReconcileReport(0, unreadable=0, missing=0, quarantined=1)
    assert again.trouble == "1 unreadable file is set aside in quarantine/"
    assert store.last_reconciled() == asdict(again)
    assert [one.kind for one in store.snapshot().errors] == ["file_quarantined"]


def test_a_full_quarantine_leaves_the_file_and_tells_of_it_at_each_start(
    store: Store, spool: Spool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dicom_node.spool.quarantine._MOST", 0)
    path = spool.data_dir / keep(spool, 1)
    path.write_bytes(b"not a DICOM file")

    for _ in range(2):
        report = reconcile(store, spool)

    assert path.exists()
    assert report.trouble == "1 more unreadable file could not be set aside"


def test_a_name_that_the_node_did_not_give_is_not_quoted(
    store: Store, spool: Spool
) -> None:
    folder = spool.data_dir / "instances" / "ab"
    folder.mkdir()
    (folder / "DOE^JANE.dcm").write_bytes(b"not a DICOM file")

    with structlog.testing.capture_logs() as logs:
        reconcile(store, spool)

    assert "DOE" not in str(logs)
    assert [one.subject for one in store.snapshot().errors] == [None]


@pytest.mark.parametrize("is_gone", [True, False])
def test_a_row_whose_file_is_gone_or_cut_short_is_told_once(
    store: Store, spool: Spool, is_gone: bool
) -> None:
    path = spool.data_dir / keep(spool, 1)
    reconcile(store, spool)
    if is_gone:
        path.unlink()
    else:
        path.write_bytes(path.read_bytes()[:-10])

    reports = [reconcile(store, spool) for _ in range(2)]

    assert [one.missing for one in reports] == [1, 1]
    assert [one.kind for one in store.snapshot().errors] == ["file_missing"]


def test_more_files_than_one_batch_are_all_looked_at(
    store: Store, spool: Spool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dicom_node.reconcile._BATCH", 2)
    for number in range(5):
        keep(spool, number)
    store.record_instance(received(99))

    report = reconcile(store, spool)

    assert report == ReconcileReport(reindexed=5, unreadable=0, missing=1)


def test_a_file_that_the_system_does_not_give_is_left_and_stops_nothing(
    store: Store, spool: Spool
) -> None:
    beside = spool.data_dir / keep(spool, 1)
    (beside.parent / f"{'0' * 64}.dcm").symlink_to(spool.data_dir / "gone")

    report = reconcile(store, spool)

    assert report == ReconcileReport(1, unreadable=1, missing=0, left=1)


def test_what_is_deleted_while_it_is_looked_at_is_no_trouble(
    store: Store, spool: Spool, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = keep(spool, 1, is_ended=False)
    spool.names.settle(path, is_kept=False)
    ask = store.known_paths

    def ask_late(paths: Iterable[str]) -> set[str]:
        known = ask(paths)
        store.files.delete_refused(spool.names)  # the database is back
        return known

    monkeypatch.setattr(store, "known_paths", ask_late)

    report = reconcile(store, spool)

    assert report == ReconcileReport(0, 0, 0)
    assert report.trouble is None
    assert not (spool.data_dir / path).exists()


def test_what_was_refused_before_the_end_is_not_taken_up(
    store: Store, spool: Spool
) -> None:
    path = keep(spool, 1, is_ended=False)
    spool.names.settle(path, is_kept=False)

    report = reconcile(store, Spool(spool.data_dir, min_free_bytes=0))

    assert report == ReconcileReport(0, 0, 0, refused=1)
    assert not (spool.data_dir / path).exists()
    assert store.recorded_files() == ()
