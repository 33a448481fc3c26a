"""What is reserved on the disk for the database and the logs."""

from __future__ import annotations

import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from dicom_node.errors import OutOfResourcesError
from dicom_node.spool import Spool
from dicom_node.spool import spool as spool_module


def let_disk_say(monkeypatch: pytest.MonkeyPatch, **values: int) -> dict[str, int]:
    said: dict[str, Any] = {
        "f_frsize": 1,
        "f_bavail": 1000,
        "f_files": 10**6,
        "f_favail": 10**6,
    } | values
    monkeypatch.setattr(os, "statvfs", lambda _folder: SimpleNamespace(**said))
    return said


def test_nothing_is_opened_when_less_is_free_than_is_reserved(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spool = Spool(tmp_path, min_free_bytes=1001)
    let_disk_say(monkeypatch)

    with pytest.raises(OutOfResourcesError, match="disk"):
        spool.open()


def test_nothing_is_opened_when_the_inodes_are_nearly_gone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spool = Spool(tmp_path, min_free_bytes=100)
    let_disk_say(monkeypatch, f_favail=999)

    with pytest.raises(OutOfResourcesError, match="inodes"):
        spool.open()


def test_a_file_system_without_a_number_of_inodes_takes_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spool = Spool(tmp_path, min_free_bytes=100)
    let_disk_say(monkeypatch, f_files=0, f_favail=0)

    spool.open().abort()


def test_a_large_instance_stops_at_the_reserve(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(spool_module, "_LOOK_EVERY_BYTES", 1000)
    spool = Spool(tmp_path, min_free_bytes=500)
    disk = let_disk_say(monkeypatch)
    writer = spool.open()
    writer.write(bytes(1000))
    disk["f_bavail"] = 400
    monkeypatch.setattr(os, "statvfs", lambda _folder: SimpleNamespace(**disk))

    with pytest.raises(OutOfResourcesError):
        writer.write(bytes(1))

    assert list((tmp_path / "incoming").iterdir()) == []
    assert spool.trouble() is None
