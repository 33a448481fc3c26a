"""A data folder belongs to one node at a time, and a node has one name for life."""

from __future__ import annotations

import fcntl
import os
import uuid
from pathlib import Path

from dicom_node.errors import SettingsError
from dicom_node.spool import write_whole

__all__ = ["LOCK_FILE", "lock_folder", "read_node_id"]

LOCK_FILE = "node.lock"
"""Held by the running node, in its data folder."""


def lock_folder(path: Path) -> int:
    """Take the lock of a data folder; it is held while the file is open.

    Parameters
    ----------
    path : pathlib.Path
        The lock file.

    Returns
    -------
    int
        The open file's descriptor.

    Raises
    ------
    SettingsError
        Another node holds it, or the folder cannot be used.

    """
    descriptor = -1
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if descriptor >= 0:
            os.close(descriptor)
        is_taken = isinstance(error, BlockingIOError)
        what = "another node uses this data folder" if is_taken else error.strerror
        msg = f"node.data_dir {path.parent}: {what}"
        raise SettingsError(msg) from error
    return descriptor


def read_node_id(path: Path) -> str:
    """Return who the node is; it moves with its data folder.

    Raises
    ------
    SettingsError
        The file cannot be read or made.

    """
    try:
        if not path.exists():
            write_whole(path, f"{uuid.uuid4()}\n".encode())
        return str(uuid.UUID(path.read_text(encoding="ascii").strip()))
    except (OSError, ValueError) as error:
        msg = f"{path}: this file names the node and cannot be read or made"
        raise SettingsError(msg) from error
