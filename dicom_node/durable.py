"""Names and bytes that a power cut does not take: written whole or not at all."""

from __future__ import annotations

import errno
import os
import secrets
from pathlib import Path

__all__ = ["make_durable", "sync_path", "write_whole"]

_FOLDER_MODE = 0o700
_NOT_OURS = frozenset({errno.EACCES, errno.EPERM, errno.EROFS, errno.EINVAL})
"""What a folder says in which this user made no name: it may not be read, or is part
of a system that cannot be written."""


def make_durable(data_dir: Path, *names: str) -> None:
    """Make folders below the data folder, so that a power cut does not take them.

    A new folder is a name in the one above it, and so on up: what is in it is no more
    durable than those names, whoever made them and did not sync them.

    Parameters
    ----------
    data_dir : pathlib.Path
        The data folder; made when absent.
    *names : str
        What is in it.

    Raises
    ------
    OSError
        They cannot be made, or may not be durable.

    """
    for folder in (data_dir, *(data_dir / name for name in names)):
        folder.mkdir(mode=_FOLDER_MODE, parents=True, exist_ok=True)
    sync_path(data_dir)
    for folder in data_dir.resolve().parents:
        try:
            sync_path(folder)
        except OSError as error:
            if error.errno not in _NOT_OURS:
                raise


def write_whole(path: Path, data: bytes) -> Path:
    """Write a file so that it is there whole and synced, or not there.

    Returns
    -------
    pathlib.Path
        ``path``.

    Raises
    ------
    OSError
        The disk did not take it; a file that was there before is untouched.

    """
    part = path.with_name(f".{secrets.token_hex(8)}.part")
    try:
        with part.open("xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
        sync_path(path.parent)
    finally:
        part.unlink(missing_ok=True)
    return path


def sync_path(path: Path) -> None:
    """Wait until a file's bytes, or a folder's names, are on the disk.

    Raises
    ------
    OSError
        They may not be.

    """
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
