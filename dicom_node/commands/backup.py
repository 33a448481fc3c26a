"""`dicom-node backup` and `restore`: a copy of the data folder, for a node to go on.

Databases are copied first, DBOS' before the node's, and files after them: what a row
names is there, and a file that came since has no row yet, which the next start gives
it. What the node does after the backup, its copy does again: the same objects with the
same UIDs and bytes.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import make_url

from dicom_node.commands.status import require_database
from dicom_node.config import NodeSettings
from dicom_node.durable import sync_path, write_whole
from dicom_node.errors import BackupError, SettingsError
from dicom_node.wording import counted

__all__ = ["MANIFEST", "BackupReport", "make_backup", "restore_backup"]

MANIFEST = "backup.json"
"""Names every file with its hash; written last, so that what has none is not whole."""

_FORMAT = 1
_DATABASES = ("dbos.sqlite", "node.sqlite")
"""In the order in which they are copied."""

_LEFT_OUT = frozenset(
    {"incoming", "spare", "scratch", "cache", "processing", "node.lock"}
)
"""What is on its way, can be made again, or belongs to a process."""

_TRIES = 5
_BLOCK = 1 << 20
_FOLDER_MODE = 0o700


@dataclass(frozen=True, slots=True)
class BackupReport:
    """What was copied."""

    files: int
    size_bytes: int


@dataclass(frozen=True, slots=True)
class _Manifest:
    """What a backup holds."""

    database: str
    files: dict[str, str]
    """SHA-256 by path."""


def make_backup(
    settings: NodeSettings, target: Path, *, is_linked: bool = False
) -> BackupReport:
    """Copy the data folder of a node, which may run meanwhile.

    Parameters
    ----------
    settings : NodeSettings
        Whose data folder. On PostgreSQL the database is left to ``pg_dump``, which
        goes first.
    target : pathlib.Path
        A folder that does not exist, or is empty.
    is_linked : bool
        Give the files a second name instead of copying them, on one file system.

    Raises
    ------
    SettingsError
        The folder cannot be used.
    StoreError
        There is no database.
    BackupError
        Something that a row names could not be copied.

    """
    require_database(settings)
    source = settings.node.data_dir.resolve()
    _check_place(settings)
    target = target.resolve()
    if target.is_relative_to(source):
        raise SettingsError(f"{target}: it lies in the data folder")
    _make_empty(target)
    is_sqlite = settings.database_url.startswith("sqlite")
    known: dict[str, str] = {}
    missing: list[str] = []
    # A file may go between the copy of the rows and its own: retention deleted it, or
    # a study was processed again. The rows of a moment later do not name it.
    for _ in range(_TRIES):
        try:
            for name in _DATABASES if is_sqlite else ():
                _copy_database(source / name, target / name)
            _copy_files(source, target, known, is_linked=is_linked)
            missing = _missing(target) if is_sqlite else []
        except (OSError, sqlite3.Error) as error:
            raise BackupError(_cause(error)) from error
        if not missing:
            break
    else:
        files = counted(len(missing), "file", "files")
        msg = f"the database names {files} that cannot be found"
        raise BackupError(msg)
    try:
        for name in _DATABASES:
            if (target / name).exists():
                known[name] = _hash(target / name)
        _sync_folders(target)
        size = sum((target / name).stat().st_size for name in known)
        manifest = {
            "format": _FORMAT,
            "database": "sqlite" if is_sqlite else "postgresql",
            "files": dict(sorted(known.items())),
        }
        write_whole(target / MANIFEST, json.dumps(manifest, indent=0).encode())
    except OSError as error:
        raise BackupError(_cause(error)) from error
    return BackupReport(len(known), size)


def restore_backup(settings: NodeSettings, source: Path) -> BackupReport:
    """Make a data folder from a backup, whole or not at all.

    Parameters
    ----------
    settings : NodeSettings
        Whose data folder: it does not exist, or is empty.
    source : pathlib.Path
        What `make_backup` wrote.

    Raises
    ------
    SettingsError
        The data folder is in use or not empty.
    BackupError
        The backup is not whole, or a file is not what it was.

    """
    manifest = _read_manifest(source)
    is_sqlite = settings.database_url.startswith("sqlite")
    if (manifest.database == "sqlite") != is_sqlite:
        msg = f"node.database_url: the backup is of a node on {manifest.database}"
        raise SettingsError(msg)
    _check_place(settings)
    target = settings.node.data_dir.resolve()
    if target.is_mount():
        msg = f"node.data_dir {target}: it is a mount point; name a folder in it"
        raise SettingsError(msg)
    _make_empty(target)
    # Under another name until it is whole: a node that starts on a part of it would
    # take that for everything.
    part = target.with_name(f"{target.name}.restoring")
    shutil.rmtree(part, ignore_errors=True)
    size = 0
    try:
        part.mkdir(mode=_FOLDER_MODE)
        for name, sha256 in manifest.files.items():
            copy = part / name
            copy.parent.mkdir(mode=_FOLDER_MODE, parents=True, exist_ok=True)
            if _copy(source / name, copy) != sha256:
                msg = f"{source / name} is not what it was when it was backed up"
                raise BackupError(msg)
            size += copy.stat().st_size
        _sync_folders(part)
        part.rename(target)
        sync_path(target.parent)
    except OSError as error:
        raise BackupError(_cause(error)) from error
    finally:
        shutil.rmtree(part, ignore_errors=True)
    return BackupReport(len(manifest.files), size)


def _check_place(settings: NodeSettings) -> None:
    url = make_url(settings.database_url)
    own = settings.node.data_dir.resolve() / "node.sqlite"
    if url.get_backend_name() == "sqlite" and Path(url.database or "") != own:
        msg = (
            "node.database_url: the database lies outside the data folder; only "
            "node.sqlite in it is backed up and restored"
        )
        raise SettingsError(msg)


def _make_empty(folder: Path) -> None:
    try:
        folder.mkdir(mode=_FOLDER_MODE, parents=True, exist_ok=True)
        folder.chmod(_FOLDER_MODE)
        is_empty = not any(folder.iterdir())
    except OSError as error:
        raise SettingsError(f"{folder}: {error.strerror}") from error
    if not is_empty:
        raise SettingsError(f"{folder}: it is not empty")


def _copy_database(source: Path, target: Path) -> None:
    if not source.exists():
        return  # DBOS makes its own when the node first starts
    target.unlink(missing_ok=True)
    with (
        closing(sqlite3.connect(f"file:{source}?mode=ro", uri=True)) as live,
        closing(sqlite3.connect(target)) as copy,
    ):
        live.backup(copy)
        # One file, which nobody has to recover.
        copy.execute("PRAGMA journal_mode=DELETE")
    target.chmod(0o600)
    sync_path(target)


def _copy_files(
    source: Path, target: Path, known: dict[str, str], *, is_linked: bool
) -> None:
    for name in _names(source):
        if name in known:
            continue
        copy = target / name
        copy.parent.mkdir(mode=_FOLDER_MODE, parents=True, exist_ok=True)
        try:
            if is_linked:
                copy.unlink(missing_ok=True)
                os.link(source / name, copy)
                known[name] = _hash(copy)
            else:
                known[name] = _copy(source / name, copy)
        except FileNotFoundError:
            copy.unlink(missing_ok=True)  # it went meanwhile: `_missing` looks


def _names(source: Path) -> Iterator[str]:
    for folder, folders, files in os.walk(source):
        is_top = Path(folder) == source
        folders[:] = [one for one in folders if not (is_top and one in _LEFT_OUT)]
        for name in files:
            is_ours = name.startswith(_DATABASES) or name in _LEFT_OUT
            if name.endswith(".part") or (is_top and is_ours):
                continue
            yield (Path(folder) / name).relative_to(source).as_posix()


def _missing(target: Path) -> list[str]:
    """Return the files that the copy of the database names and the copy lacks."""
    with closing(sqlite3.connect(target / "node.sqlite")) as copy:
        named = [
            str(row[0])
            for query in (
                "SELECT path FROM instances WHERE removed_at IS NULL",
                "SELECT path FROM results WHERE removed_at IS NULL",
                "SELECT path FROM remote_answers",
            )
            for row in copy.execute(query)
        ]
    return [one for one in named if not (target / one).is_file()]


def _copy(source: Path, target: Path) -> str:
    """Copy a file durably; return the hash of its bytes."""
    digest = hashlib.sha256()
    descriptor = os.open(
        target, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600
    )
    with source.open("rb") as reader, open(descriptor, "wb") as writer:  # noqa: PTH123
        while block := reader.read(_BLOCK):
            digest.update(block)
            writer.write(block)
        writer.flush()
        os.fsync(writer.fileno())
    return digest.hexdigest()


def _hash(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _sync_folders(target: Path) -> None:
    for folder, _, _ in os.walk(target):
        sync_path(Path(folder))


def _read_manifest(source: Path) -> _Manifest:
    try:
        found = json.loads((source / MANIFEST).read_bytes())
        is_known = found["format"] == _FORMAT and all(
            _is_within(name) for name in found["files"]
        )
    except (OSError, ValueError, KeyError, TypeError) as error:
        msg = f"{source}: it is no backup, or one that did not end"
        raise BackupError(msg) from error
    if not is_known:
        raise BackupError(f"{source}: it was made by another version of the program")
    return _Manifest(str(found["database"]), dict(found["files"]))


def _is_within(name: str) -> bool:
    return not Path(name).is_absolute() and ".." not in Path(name).parts


def _cause(error: OSError | sqlite3.Error) -> str:
    # A path may hold a name that the node did not give.
    if isinstance(error, OSError):
        return f"the disk failed: {error.strerror}"
    return f"the database could not be copied ({type(error).__name__})"
