"""What is wrong with a database is said in plain words, without its password."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from dicom_node.audit import EventKind
from dicom_node.errors import SettingsError, StoreError
from dicom_node.store import Store
from tests.builders.process import free_port


@pytest.mark.parametrize(
    "url", ["postgres://me:ZZSECRET@host/x", "mysql://me:ZZSECRET@host/x", "no url"]
)
def test_a_url_that_is_none_of_ours_is_a_settings_error(url: str) -> None:
    with pytest.raises(SettingsError, match=r"node\.database_url") as told:
        Store(url)

    assert "ZZSECRET" not in str(told.value)


def test_a_folder_that_cannot_be_made_is_a_settings_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"in the way")

    with pytest.raises(SettingsError, match=r"node\.database_url .*: Not a directory"):
        Store(f"sqlite:///{tmp_path}/file/folder/node.sqlite")


def test_a_file_that_is_no_database_is_told(tmp_path: Path) -> None:
    path = tmp_path / "node.sqlite"
    path.write_bytes(b"no database at all" * 100)

    with Store(f"sqlite:///{path}") as store, pytest.raises(StoreError) as told:
        store.migrate()

    assert str(told.value) == f"{path}: it is not a database, or it is damaged"


def test_a_file_that_cannot_be_opened_is_told(tmp_path: Path) -> None:
    with Store(f"sqlite:///{tmp_path}") as store, pytest.raises(StoreError) as told:
        store.ping()

    assert str(told.value) == f"{tmp_path}: it cannot be opened"


def test_a_database_that_may_not_be_written_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "node.sqlite"
    with Store(f"sqlite:///{path}") as store:
        store.migrate()
    with sqlite3.connect(path) as connection:
        connection.execute("PRAGMA journal_mode=DELETE")
    connection.close()
    url = f"sqlite:///file:{path}?mode=ro&immutable=1&uri=true"

    with Store(url) as store, pytest.raises(StoreError, match="it is read-only"):
        store.record_event(EventKind.NODE_STARTED)
    assert not (tmp_path / "file:").exists()


def test_a_server_that_is_not_there_is_told_without_its_password() -> None:
    port = free_port()
    url = f"postgresql://me:ZZSECRET@127.0.0.1:{port}/x"

    with Store(url) as store, pytest.raises(StoreError) as told:
        store.ping()

    assert str(told.value) == f"127.0.0.1:{port}: the connection was refused"
