"""The disk whose power can be cut keeps what was synced, and nothing must be more."""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from dicom_node.durable import sync_path
from tests.torture.durable_tree import Variant
from tests.torture.power_disk import PowerDisk

pytestmark = pytest.mark.peers


def test_of_what_was_not_synced_nothing_is_left(tmp_path: Path) -> None:
    with PowerDisk(tmp_path / "disk", log_path=tmp_path / "log") as disk:
        (disk.folder / "folder").mkdir()
        sync_path(disk.folder)
        with (disk.folder / "folder" / "synced").open("wb") as file:
            file.write(b"kept")
            file.flush()
            os.fsync(file.fileno())
            sync_path(disk.folder / "folder")
            file.write(b" and lost")
        with (disk.folder / "folder" / "nameless").open("wb") as file:
            file.write(b"synced without its name")
            file.flush()
            os.fsync(file.fileno())
        (disk.folder / "unsynced").mkdir()

        dropped = disk.cut(Variant.ALL, seed=0)

        assert [one.name for one in disk.folder.iterdir()] == ["folder"]
        assert [one.name for one in (disk.folder / "folder").iterdir()] == ["synced"]
        assert (disk.folder / "folder" / "synced").read_bytes() == b"kept"
    assert (dropped.writes, dropped.names) == (1, 2)


def test_a_rename_without_a_sync_of_its_folder_is_undone(tmp_path: Path) -> None:
    with PowerDisk(tmp_path / "disk", log_path=tmp_path / "log") as disk:
        (disk.folder / "old").write_bytes(b"x")
        sync_path(disk.folder / "old")
        sync_path(disk.folder)
        (disk.folder / "old").rename(disk.folder / "new")

        disk.cut(Variant.ALL, seed=0)

        assert [one.name for one in disk.folder.iterdir()] == ["old"]


@pytest.mark.parametrize("variant", [Variant.PREFIX, Variant.SUBSET])
def test_unsynced_writes_are_torn_at_sectors(tmp_path: Path, variant: Variant) -> None:
    with PowerDisk(tmp_path / "disk", log_path=tmp_path / "log") as disk:
        path = disk.folder / "file"
        path.write_bytes(bytes(64 * 512))
        sync_path(path)
        sync_path(disk.folder)
        with path.open("r+b", buffering=0) as file:
            file.write(b"\1" * 64 * 512)

        disk.cut(variant, seed=1)

        data = path.read_bytes()
        sectors = [data[at : at + 512] for at in range(0, 64 * 512, 512)]
        assert set(sectors) == {b"\0" * 512, b"\1" * 512}
        is_sorted = sectors == sorted(sectors, reverse=True)
        assert is_sorted is (variant is Variant.PREFIX)


@pytest.mark.parametrize("variant", list(Variant))
@pytest.mark.parametrize("synchronous", ["FULL", "OFF"])
def test_a_commit_of_sqlite_survives_when_it_is_synced(
    tmp_path: Path, variant: Variant, synchronous: str
) -> None:
    with PowerDisk(tmp_path / "disk", log_path=tmp_path / "log") as disk:
        path = disk.folder / "some.sqlite"
        with closing(sqlite3.connect(path, isolation_level=None)) as connection:
            connection.execute("PRAGMA journal_mode=WAL")
            connection.execute(f"PRAGMA synchronous={synchronous}")
            connection.execute("CREATE TABLE numbers (number INTEGER)")
            for number in range(20):
                connection.execute("INSERT INTO numbers VALUES (?)", (number,))
        disk.cut(variant, seed=3)
        kept = _rows(path)

    assert (kept == 20) is (synchronous == "FULL")


def _rows(path: Path) -> int:
    with closing(sqlite3.connect(path)) as connection:
        try:
            return int(connection.execute("SELECT count(*) FROM numbers").fetchone()[0])
        except sqlite3.DatabaseError:
            return 0
