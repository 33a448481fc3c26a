"""Files that are made before they are needed, beside whoever takes them."""

from __future__ import annotations

import os
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from dicom_node.spool.spare_files import SpareFiles
from tests.builders.process import wait_until


def names(folder: Path) -> set[str]:
    """List a folder."""
    return {one.name for one in folder.iterdir()}


@pytest.fixture
def spares(tmp_path: Path) -> SpareFiles:
    (tmp_path / "taken").mkdir()
    return SpareFiles(tmp_path / "spare")


def test_the_next_are_made_while_some_are_left(
    spares: SpareFiles, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    makers: list[str] = []
    make = spares._make

    def noted() -> list[str]:
        makers.append(threading.current_thread().name)
        return make()

    monkeypatch.setattr(spares, "_make", noted)
    taken = tmp_path / "taken"
    for number in range(200):
        spares.take(taken / str(number))
        if number % 32 == 15:  # it is low now
            wait_until(lambda: len(spares._names) > 32, timeout_s=10, what="more")

    assert makers == ["MainThread", *["spare-files"] * (len(makers) - 1)]
    assert len(names(taken)) == 200
    assert len(names(spares.folder)) <= 64
    assert set(spares._names) == names(spares.folder)


def test_any_number_of_threads_get_files_of_their_own(
    spares: SpareFiles, tmp_path: Path
) -> None:
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda n: spares.take(tmp_path / "taken" / str(n)), range(400)))

    assert len(names(tmp_path / "taken")) == 400


def test_what_cannot_be_made_ahead_is_told_to_whoever_finds_none(
    spares: SpareFiles, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail() -> list[str]:
        raise OSError(28, "No space left on device")

    spares.take(tmp_path / "taken" / "first")
    monkeypatch.setattr(spares, "_make", fail)
    for number in range(31):
        spares.take(tmp_path / "taken" / str(number))

    with pytest.raises(OSError, match="No space"):
        spares.take(tmp_path / "taken" / "last")

    monkeypatch.undo()
    spares.take(tmp_path / "taken" / "last")


@pytest.mark.parametrize("room", [1, 5, 31])
def test_a_disk_that_takes_few_files_gives_one_at_a_time(
    spares: SpareFiles, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, room: int
) -> None:
    make = os.open

    def count(path: str, flags: int, *rest: int) -> int:
        if flags & os.O_CREAT and len(names(spares.folder)) + len(taken) >= room:
            raise OSError(28, "No space left on device")
        return make(path, flags, *rest)

    monkeypatch.setattr(os, "open", count)
    taken = []
    for number in range(room):
        spares.take(tmp_path / "taken" / str(number))
        taken.append(number)
        assert not names(spares.folder)

    with pytest.raises(OSError, match="No space"):
        spares.take(tmp_path / "taken" / "last")


def test_without_a_folder_to_move_to_nothing_is_made_for_ever(
    spares: SpareFiles, tmp_path: Path
) -> None:
    with pytest.raises(FileNotFoundError):
        spares.take(tmp_path / "nowhere" / "file")
    assert names(spares.folder)
