"""Backup and restore: what was acknowledged is there, and what is sent is the same."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from dicom_node.commands.backup import MANIFEST, make_backup, restore_backup
from dicom_node.config import NodeSettings
from dicom_node.errors import BackupError, SettingsError
from dicom_node.reconcile import reconcile
from dicom_node.spool import Spool
from dicom_node.store import Store
from dicom_node.store.removable import StudyPart
from dicom_node.store.retention import RemovalRule
from tests.builders.kept_studies import LATER, Place


def settings_of(data_dir: Path) -> NodeSettings:
    return NodeSettings.model_validate({"node": {"data_dir": data_dir}})


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    made = Place(tmp_path / "node")
    with made.store:
        (made.data_dir / "node-id").write_text("me\n")
        (made.data_dir / "pseudonym.key").write_bytes(b"k" * 32)
        yield made


@pytest.mark.parametrize("is_linked", [False, True])
def test_what_was_acknowledged_before_a_backup_under_load_is_restored(
    place: Place, tmp_path: Path, *, is_linked: bool
) -> None:
    place.finish_study(1, 2)
    before = {one.path for one in place.store.recorded_files()}
    has_ended = threading.Event()

    def send() -> None:
        number = 10
        while not has_ended.is_set():
            place.receive(number, study_instance_uid=f"1.2.{number}")
            number += 1

    sender = threading.Thread(target=send)
    sender.start()
    try:
        make_backup(settings_of(place.data_dir), tmp_path / "copy", is_linked=is_linked)
    finally:
        has_ended.set()
        sender.join()
    elsewhere = tmp_path / "elsewhere"
    restore_backup(settings_of(elsewhere), tmp_path / "copy")

    with Store(f"sqlite:///{elsewhere / 'node.sqlite'}") as restored:
        restored.migrate()
        spool = Spool(elsewhere, min_free_bytes=0)
        found = reconcile(restored, spool)
        kept = {one.path for one in restored.recorded_files()}
    assert found.missing == 0
    assert len(before) == 2
    assert before <= kept
    assert (elsewhere / "pseudonym.key").read_bytes() == b"k" * 32
    assert elsewhere.stat().st_mode & 0o777 == 0o700
    assert (tmp_path / "copy").stat().st_mode & 0o777 == 0o700


def test_what_is_delivered_after_the_backup_is_sent_again_with_the_same_bytes(
    place: Place, tmp_path: Path
) -> None:
    place.receive(1)
    version = place.process()
    sent = place.store.outbox.pending_items(version, "pacs", data_dir=place.data_dir)
    make_backup(settings_of(place.data_dir), tmp_path / "copy")
    place.deliver()

    elsewhere = tmp_path / "elsewhere"
    restore_backup(settings_of(elsewhere), tmp_path / "copy")

    with Store(f"sqlite:///{elsewhere / 'node.sqlite'}") as restored:
        again = restored.outbox.pending_items(version, "pacs", data_dir=elsewhere)
    assert [(one.sop_instance_uid, one.sha256) for one in again] == [
        (one.sop_instance_uid, one.sha256) for one in sent
    ]
    assert all(one.is_whole() for one in again)


def test_files_that_retention_deletes_meanwhile_are_not_missed(
    place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place.finish_study(1, 2)
    (study,) = place.store.snapshot().studies
    study_id = place.store.study_id(study.study_instance_uid)
    from dicom_node.commands import backup

    copy = backup._copy_database

    def copy_and_remove(source: Path, target: Path) -> None:
        copy(source, target)
        place.store.retention.remove(
            study_id,
            RemovalRule("space", frozenset(StudyPart)),
            now=LATER,
            is_busy=lambda _uid: False,
        )
        place.delete_files(study_id)

    monkeypatch.setattr(backup, "_copy_database", copy_and_remove)

    made = make_backup(settings_of(place.data_dir), tmp_path / "copy")

    assert made.files == 3  # node-id, the key and the database


def test_a_lost_file_fails_the_backup(place: Place, tmp_path: Path) -> None:
    path = place.receive(1).path
    (place.data_dir / path).unlink()

    with pytest.raises(BackupError, match="1 file "):
        make_backup(settings_of(place.data_dir), tmp_path / "copy")

    assert not (tmp_path / "copy" / MANIFEST).exists()


def test_a_backup_that_changed_is_refused_and_nothing_is_left(
    place: Place, tmp_path: Path
) -> None:
    path = place.receive(1).path
    make_backup(settings_of(place.data_dir), tmp_path / "copy")
    (tmp_path / "copy" / path).write_bytes(b"other")

    with pytest.raises(BackupError):
        restore_backup(settings_of(tmp_path / "elsewhere"), tmp_path / "copy")

    assert list((tmp_path / "elsewhere").iterdir()) == []
    assert not (tmp_path / "elsewhere.restoring").exists()


def test_a_backup_that_did_not_end_is_refused(place: Place, tmp_path: Path) -> None:
    place.receive(1)
    make_backup(settings_of(place.data_dir), tmp_path / "copy")
    (tmp_path / "copy" / MANIFEST).unlink()

    with pytest.raises(BackupError):
        restore_backup(settings_of(tmp_path / "elsewhere"), tmp_path / "copy")


def test_names_outside_the_folder_are_refused(place: Place, tmp_path: Path) -> None:
    make_backup(settings_of(place.data_dir), tmp_path / "copy")
    manifest = json.loads((tmp_path / "copy" / MANIFEST).read_bytes())
    manifest["files"]["../outside"] = "0" * 64
    (tmp_path / "copy" / MANIFEST).write_text(json.dumps(manifest))

    with pytest.raises(BackupError):
        restore_backup(settings_of(tmp_path / "elsewhere"), tmp_path / "copy")

    assert not (tmp_path / "outside").exists()


def test_a_folder_in_use_is_left_alone(place: Place, tmp_path: Path) -> None:
    settings = settings_of(place.data_dir)
    make_backup(settings, tmp_path / "copy")

    with pytest.raises(SettingsError, match="not empty"):
        restore_backup(settings, tmp_path / "copy")
    with pytest.raises(SettingsError, match="not empty"):
        make_backup(settings, tmp_path / "copy")
    with pytest.raises(SettingsError, match="data folder"):
        make_backup(settings, place.data_dir / "copy")
