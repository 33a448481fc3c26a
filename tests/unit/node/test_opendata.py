from __future__ import annotations

import hashlib
import io
import subprocess
import tarfile
from pathlib import Path

import pytest

from dicom_node import opendata
from dicom_node.errors import OpenDataError

ROOT = "totalsegmentator-2.18.0"
GOOD = f"{ROOT}/tests/reference_files/example_ct_dicom/1"


def pack(path: Path, names: list[str], *, link: str | None = None) -> str:
    """Write an archive and return its hash."""
    with tarfile.open(path, "w:gz") as archive:
        for name in names:
            entry = tarfile.TarInfo(name)
            entry.size = 5
            archive.addfile(entry, io.BytesIO(b"pixel"))
        if link:
            entry = tarfile.TarInfo(link)
            entry.type, entry.linkname = tarfile.SYMTYPE, "/etc/passwd"
            archive.addfile(entry)
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.fixture
def no_pip(monkeypatch):
    def refuse(*_args: object, **_kwargs: object) -> None:
        raise AssertionError("the network was asked")

    monkeypatch.setattr(subprocess, "run", refuse)


def offer(monkeypatch, cache: Path, names: list[str], **options) -> None:
    cache.mkdir(exist_ok=True)
    sha = pack(cache / f"{ROOT}.tar.gz", names, **options)
    monkeypatch.setattr(opendata, "TOTALSEGMENTATOR_SHA256", sha)


def test_a_cached_archive_is_unpacked_without_network(monkeypatch, tmp_path, no_pip):
    offer(monkeypatch, tmp_path, [GOOD, f"{ROOT}/setup.py"])

    folder = opendata.fetch_totalsegmentator(tmp_path)

    assert (folder / "example_ct_dicom" / "1").read_bytes() == b"pixel"
    assert not list(tmp_path.rglob("setup.py"))
    assert opendata.fetch_totalsegmentator(tmp_path) == folder
    assert not list(tmp_path.glob("unpack-*"))


def test_the_cache_folder_comes_from_the_environment(monkeypatch, tmp_path):
    monkeypatch.setenv("DICOM_NODE_CACHE", str(tmp_path / "here"))

    assert opendata.cache_folder() == tmp_path / "here"


def test_members_outside_are_not_unpacked(monkeypatch, tmp_path, no_pip):
    evil = f"{ROOT}/tests/reference_files/../../../../evil"
    cache = tmp_path / "cache"
    offer(monkeypatch, cache, [GOOD, "/evil", "../evil"], link=f"{GOOD}-link")
    opendata.fetch_totalsegmentator(cache)
    offer(monkeypatch, cache, [GOOD, evil])

    with pytest.raises(OpenDataError, match="cannot be unpacked"):
        opendata.fetch_totalsegmentator(cache)

    assert not list(tmp_path.rglob("evil"))
    assert not list(tmp_path.rglob("1-link"))
    assert not list(cache.glob("unpack-*"))


def test_another_archive_is_fetched_again_and_pip_checks_the_hash(
    monkeypatch, tmp_path
):
    (tmp_path / f"{ROOT}.tar.gz").write_bytes(b"another")
    commands: list[list[str]] = []

    def pip(command: list[str], **_options: object) -> subprocess.CompletedProcess[str]:
        commands.append(command)
        pin = Path(command[command.index("--requirement") + 1]).read_text()
        assert f"--hash=sha256:{opendata.TOTALSEGMENTATOR_SHA256}" in pin
        return subprocess.CompletedProcess(command, 1, "", "no route to host")

    monkeypatch.setattr(subprocess, "run", pip)

    with pytest.raises(OpenDataError, match="no route to host"):
        opendata.fetch_totalsegmentator(tmp_path)

    assert "--require-hashes" in commands[0]


def test_a_wrong_download_is_not_kept(monkeypatch, tmp_path):
    def pip(command: list[str], **_options: object) -> subprocess.CompletedProcess[str]:
        folder = Path(command[command.index("--dest") + 1])
        (folder / f"{ROOT}.tar.gz").write_bytes(b"forged")
        return subprocess.CompletedProcess(command, 0, "", "")

    monkeypatch.setattr(subprocess, "run", pip)

    with pytest.raises(OpenDataError, match="not the pinned one"):
        opendata.fetch_totalsegmentator(tmp_path)

    assert not list(tmp_path.iterdir())
