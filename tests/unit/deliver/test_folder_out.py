"""A folder as destination: whole results or none, whatever happens on the way."""

from __future__ import annotations

import errno
import os
import shutil
from pathlib import Path

import pytest

from dicom_node.config import DestinationSettings
from dicom_node.deliver import Sendable, check, folder, send
from dicom_node.errors import DeliveryError


@pytest.fixture
def target(tmp_path: Path) -> Path:
    path = tmp_path / "out"
    path.mkdir()
    return path


def destination(path: Path) -> DestinationSettings:
    return DestinationSettings(name="share", kind="folder", folder=path)


def results(tmp_path: Path, *names: str, uid: str = "2.25.1") -> list[Sendable]:
    home = tmp_path / f"results-{uid}"
    (home / "profile").mkdir(parents=True, exist_ok=True)
    (home / "result.json").write_text("{}")
    (home / "fhir.json").write_text("[]")
    made = []
    for number, name in enumerate(names):
        path = home / name
        path.write_bytes(f"{uid} {name}".encode())
        made.append(Sendable(path, "1.2", f"{uid}.{number}", "1.2.1", "1.2.3"))
    return made


def names(path: Path) -> list[str]:
    return sorted(one.name for one in path.iterdir())


def test_a_result_is_a_folder_with_its_documents(tmp_path: Path, target: Path) -> None:
    found = results(tmp_path, "seg.dcm", "sr.dcm")

    outcomes = send(found, destination(target), ae_title="NODE")

    (made,) = target.iterdir()
    assert made.name.startswith("1.2.3-")
    assert names(made) == ["fhir.json", "result.json", "seg.dcm", "sr.dcm"]
    assert (made / "seg.dcm").read_bytes() == found[0].path.read_bytes()
    assert [(one.is_delivered, one.reason) for one in outcomes] == [(True, "")] * 2


def test_objects_of_a_further_profile_have_the_documents_too(
    tmp_path: Path, target: Path
) -> None:
    found = results(tmp_path, "profile/seg.dcm")

    send(found, destination(target), ae_title="NODE")

    (made,) = target.iterdir()
    assert names(made) == ["fhir.json", "result.json", "seg.dcm"]


def test_objects_of_one_name_are_all_kept(tmp_path: Path, target: Path) -> None:
    found = results(tmp_path, "sr.dcm", "profile/sr.dcm")

    send(found, destination(target), ae_title="NODE")

    (made,) = target.iterdir()
    kept = {one.read_bytes() for one in made.glob("*.dcm")}
    assert kept == {one.path.read_bytes() for one in found}


def test_the_same_result_twice_changes_nothing(tmp_path: Path, target: Path) -> None:
    found = results(tmp_path, "seg.dcm")
    send(found, destination(target), ae_title="NODE")
    (made,) = target.iterdir()
    before = made.stat().st_mtime_ns, made.stat().st_ino

    (outcome,) = send(found, destination(target), ae_title="NODE")

    assert outcome.is_delivered
    assert (made.stat().st_mtime_ns, made.stat().st_ino) == before
    assert len(names(target)) == 1


def test_each_version_has_a_folder_of_its_own(tmp_path: Path, target: Path) -> None:
    send(results(tmp_path, "a.dcm", uid="2.25.1"), destination(target), ae_title="N")
    send(results(tmp_path, "a.dcm", uid="2.25.2"), destination(target), ae_title="N")

    assert len(names(target)) == 2


def test_who_watches_never_sees_half_a_result(
    tmp_path: Path, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[list[str]] = []
    real = shutil.copyfileobj

    def watch(*arguments: object) -> None:
        seen.append(names(target))
        real(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(folder.shutil, "copyfileobj", watch)
    send(results(tmp_path, "a.dcm", "b.dcm"), destination(target), ae_title="NODE")

    assert len(seen) == 4
    assert all(name.startswith(".") for look in seen for name in look)


@pytest.mark.parametrize("at", [1, 2, 3])
def test_a_full_disk_leaves_nothing_and_is_tried_again(
    tmp_path: Path, target: Path, monkeypatch: pytest.MonkeyPatch, at: int
) -> None:
    found = results(tmp_path, "a.dcm", "b.dcm")
    calls = 0
    real = os.fsync

    def full(descriptor: int) -> None:
        nonlocal calls
        calls += 1
        if calls == at:
            raise OSError(errno.ENOSPC, "full")
        real(descriptor)

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        outcomes = send(found, destination(target), ae_title="NODE")
    left = names(target)
    again = send(found, destination(target), ae_title="NODE")

    assert {one.reason for one in outcomes} == {"the disk is full"}
    assert not any(one.is_delivered for one in outcomes)
    assert left == []
    assert all(one.is_delivered for one in again)


def test_what_a_crash_left_is_cleared_away(tmp_path: Path, target: Path) -> None:
    found = results(tmp_path, "a.dcm")
    leftover = target / f".{folder.folder_name(found)}.00ff.part"
    leftover.mkdir()
    (leftover / "half.dcm").write_bytes(b"half")
    of_somebody_else = target / ".other.part"
    of_somebody_else.mkdir()

    send(found, destination(target), ae_title="NODE")

    assert names(target) == [".other.part", folder.folder_name(found)]


def test_a_folder_that_is_missing_is_an_outcome(tmp_path: Path) -> None:
    gone = destination(tmp_path / "gone")

    (outcome,) = send(results(tmp_path, "a.dcm"), gone, ae_title="NODE")

    assert outcome.reason == "the folder is not there"
    assert not (tmp_path / "gone").exists()
    with pytest.raises(DeliveryError, match="not there"):
        check(gone, ae_title="NODE")


def test_a_folder_that_takes_files_is_writable(target: Path) -> None:
    assert check(destination(target), ae_title="NODE") == "is writable"
    assert names(target) == []
