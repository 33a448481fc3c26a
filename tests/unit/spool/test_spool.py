"""Files are written whole or not at all, whatever the disk does."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from dicom_node.durable import write_whole
from dicom_node.errors import OutOfResourcesError, SettingsError
from dicom_node.spool import Spool
from tests.torture.durable_tree import Variant
from tests.torture.power_disk import PowerDisk

SHA = "ab" + "0" * 62


@pytest.fixture
def spool(tmp_path: Path) -> Spool:
    return Spool(tmp_path / "data", min_free_bytes=0)


def _parts(spool: Spool) -> list[Path]:
    return list((spool.data_dir / "incoming").iterdir())


def _failing(code: int) -> Callable[..., Any]:
    def fail(*_: object, **__: object) -> None:
        raise OSError(code, os.strerror(code), "/secret/path")

    return fail


def test_a_committed_file_lies_under_its_hash_and_nothing_else_is_left(
    spool: Spool,
) -> None:
    writer = spool.open()
    writer.write(b"abc")
    writer.write(memoryview(b"def"))

    path = writer.commit(SHA)

    assert path == Path("instances", "ab", f"{SHA}.dcm")
    assert (spool.data_dir / path).read_bytes() == b"abcdef"
    assert writer.size_bytes == 6
    assert _parts(spool) == []
    assert list(spool.files()) == [path]
    writer.abort()
    assert (spool.data_dir / path).exists()


def test_files_and_folders_are_for_the_node_alone(spool: Spool) -> None:
    writer = spool.open()
    path = spool.data_dir / writer.commit(SHA)

    for one, mode in ((path, 0o600), (path.parent, 0o700), (spool.data_dir, 0o700)):
        assert stat.S_IMODE(one.stat().st_mode) == mode


def test_the_same_bytes_twice_are_one_file(spool: Spool) -> None:
    for _ in range(2):
        writer = spool.open()
        writer.write(b"abc")
        writer.commit(SHA)

    assert len(list(spool.files())) == 1


def test_an_aborted_file_is_gone(spool: Spool) -> None:
    writer = spool.open()
    writer.write(b"abc")

    writer.abort()
    writer.abort()

    assert _parts(spool) == []


def test_what_never_became_whole_is_removed_at_the_start(spool: Spool) -> None:
    spool.open().write(b"abc")
    spool.open()
    kept = spool.open()
    kept.commit(SHA)

    assert Spool(spool.data_dir, min_free_bytes=0).remove_leftovers() == 2
    assert _parts(spool) == []
    assert len(list(spool.files())) == 1


def test_nothing_is_opened_below_the_reserve(tmp_path: Path) -> None:
    spool = Spool(tmp_path, min_free_bytes=1 << 60)

    with pytest.raises(OutOfResourcesError, match="reserved"):
        spool.open()


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT, errno.EIO])
@pytest.mark.parametrize("call", ["write", "fsync", "close"])
def test_a_failing_disk_leaves_nothing_and_names_the_cause_alone(
    spool: Spool, monkeypatch: pytest.MonkeyPatch, call: str, code: int
) -> None:
    def store() -> None:
        writer.write(b"abc")
        writer.commit(SHA)

    writer = spool.open()
    with monkeypatch.context() as patch:
        patch.setattr(os, call, _failing(code))
        with pytest.raises(OutOfResourcesError) as caught:
            store()

    assert os.strerror(code) in str(caught.value)
    assert "secret" not in str(caught.value)
    assert _parts(spool) == []
    assert list(spool.files()) == []


def test_a_short_write_is_continued(
    spool: Spool, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = os.write
    writer = spool.open()
    with monkeypatch.context() as patch:
        patch.setattr(os, "write", lambda fd, data: write(fd, bytes(data)[:3]))
        writer.write(b"0123456789")

    assert (spool.data_dir / writer.commit(SHA)).read_bytes() == b"0123456789"


def test_after_a_failed_sync_the_disk_must_prove_itself(
    spool: Spool, monkeypatch: pytest.MonkeyPatch
) -> None:
    writer = spool.open()
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", _failing(errno.EIO))
        with pytest.raises(OutOfResourcesError):
            writer.commit(SHA)
        with pytest.raises(OutOfResourcesError):
            spool.open()

    spool.open().commit(SHA)

    assert len(list(spool.files())) == 1
    assert _parts(spool) == []


def test_file_folder_and_name_are_synced_in_that_order(
    spool: Spool, monkeypatch: pytest.MonkeyPatch
) -> None:
    spool.open().commit("ab" + "1" * 62)
    calls: list[str] = []
    fsync, replace = os.fsync, Path.replace

    def note_fsync(descriptor: int) -> None:
        is_folder = stat.S_ISDIR(os.fstat(descriptor).st_mode)
        calls.append("sync folder" if is_folder else "sync file")
        fsync(descriptor)

    def note_replace(self: Path, target: Path) -> Path:
        calls.append("rename")
        return replace(self, target)

    writer = spool.open()
    writer.write(b"abc")
    monkeypatch.setattr(os, "fsync", note_fsync)
    monkeypatch.setattr(Path, "replace", note_replace)

    writer.commit(SHA)

    assert calls == ["sync file", "rename", "sync folder"]


def test_a_folder_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    (tmp_path / "data").write_bytes(b"a file is in the way")

    with pytest.raises(SettingsError) as told:
        Spool(tmp_path / "data", min_free_bytes=0)

    assert str(told.value) == f"node.data_dir {tmp_path / 'data'}: it is not a folder"


def test_a_folder_that_is_not_ours_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Path, "mkdir", _failing(errno.EACCES))

    with pytest.raises(SettingsError, match=r"node\.data_dir .*: Permission denied"):
        Spool(tmp_path / "data", min_free_bytes=0)


def test_write_whole_replaces_or_leaves_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_whole(tmp_path / "result.json", b"old")
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", _failing(errno.ENOSPC))
        with pytest.raises(OSError, match="space"):
            write_whole(path, b"new")
    assert path.read_bytes() == b"old"

    write_whole(path, b"new")

    assert path.read_bytes() == b"new"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.peers
def test_a_data_folder_that_is_new_survives_a_power_cut(tmp_path: Path) -> None:
    with PowerDisk(tmp_path / "disk", log_path=tmp_path / "log") as disk:
        data_dir = disk.folder / "srv" / "node" / "data"
        # As a command that looked first, and did not sync, may have left it.
        data_dir.parent.mkdir(parents=True)
        writer = Spool(data_dir, min_free_bytes=0).open()
        writer.write(b"whole")
        path = writer.commit("ab" * 32)

        disk.cut(Variant.ALL, seed=0)

        assert (data_dir / path).read_bytes() == b"whole"


def test_a_folder_that_cannot_be_synced_refuses_the_file(
    spool: Spool, monkeypatch: pytest.MonkeyPatch
) -> None:
    writer = spool.open()
    writer.write(b"bytes")
    spool.make_folder(spool.data_dir / "instances" / "aa")
    for room in ("spool.spool", "durable"):
        monkeypatch.setattr(f"dicom_node.{room}.sync_path", _failing(errno.EIO))

    with pytest.raises(OutOfResourcesError):
        writer.commit("a" * 64)

    assert spool.trouble() == "the disk takes no file: Input/output error"
    monkeypatch.undo()
    assert spool.trouble() is None
    assert spool.names.is_refused(spool.final_path("a" * 64))


def test_a_disk_that_takes_one_file_and_no_folder_is_not_trusted_again(
    spool: Spool, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_: Path) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    written: list[Path] = []

    def once(path: Path, data: bytes) -> Path:
        if any(one.exists() for one in written):
            raise OSError(errno.ENOSPC, "No space left on device")
        written.append(path)
        return write_whole(path, data)

    writer = spool.open()
    monkeypatch.setattr(spool, "make_folder", fail)
    monkeypatch.setattr("dicom_node.spool.spool.write_whole", once)
    with pytest.raises(OutOfResourcesError):
        writer.commit(SHA)

    for _ in range(3):
        assert spool.trouble() == "the disk takes no file: No space left on device"
    assert _parts(spool) == []
    monkeypatch.undo()
    assert spool.trouble() is None


def test_spare_files_that_no_sync_made_durable_do_not_stay(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spool = Spool(tmp_path, min_free_bytes=0)

    def fail(_: Path) -> None:
        raise OSError(errno.EIO, "Input/output error")

    with monkeypatch.context() as patched:
        patched.setattr("dicom_node.spool.spare_files.sync_path", fail)
        with pytest.raises(OutOfResourcesError):
            spool.open()

    assert list((tmp_path / "spare").iterdir()) == []
    spool.open().abort()


def test_a_spare_folder_that_was_tidied_away_is_made_durable_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spool = Spool(tmp_path, min_free_bytes=0)
    (tmp_path / "spare").rmdir()
    synced: list[Path] = []
    monkeypatch.setattr("dicom_node.spool.spare_files.sync_path", synced.append)

    spool.open().abort()

    assert synced == [tmp_path, tmp_path / "spare"]


@pytest.mark.parametrize("name", ["incoming", "spare", "instances/ab"])
def test_an_empty_folder_that_was_tidied_away_is_made_again(
    spool: Spool, name: str
) -> None:
    first = spool.open()
    first.write(bytes(200))
    (spool.data_dir / first.commit(SHA)).unlink()
    for one in (spool.data_dir / name).iterdir():
        one.unlink()
    (spool.data_dir / name).rmdir()

    kept = 0
    for _ in range(2):  # where it is seen only at the end, the first is refused
        try:
            writer = spool.open()
            writer.write(bytes(200))
            path = writer.commit(SHA)
        except OutOfResourcesError:
            continue
        assert (spool.data_dir / path).exists()
        writer.keep()
        kept += 1

    assert kept >= 1
    assert spool.trouble() is None
    assert len(list((spool.data_dir / "spare").iterdir())) <= 96
