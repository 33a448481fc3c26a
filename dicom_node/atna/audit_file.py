"""Appends audit messages to a file that others may rotate."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from dicom_node.errors import AuditError

__all__ = ["AuditFile"]

_MODE = 0o600
"""It names patients and what was done with their studies."""


class AuditFile:
    """One message a line, as RFC 5424; durable when `write` returns.

    A line is whole: what a crash cut off is ended before the next begins. When the
    file was renamed or removed, the next line opens a new one.

    Parameters
    ----------
    path : pathlib.Path
        The file; its folder must be there.

    """

    name = "file"
    settle_s = 0.0

    def __init__(self, path: Path) -> None:
        self._path = path
        self._descriptor = -1

    def write(self, lines: Sequence[bytes]) -> None:
        """Append messages.

        Raises
        ------
        AuditError
            They are not durable; some may have been written.

        """
        try:
            self._open()
            rest = memoryview(b"".join(line + b"\n" for line in lines))
            while rest:
                rest = rest[os.write(self._descriptor, rest) :]
            os.fsync(self._descriptor)
        except OSError as error:
            self.close()
            msg = f"audit.file {self._path}: {error.strerror}"
            raise AuditError(msg) from error

    def is_settled(self) -> bool:
        """Whether what was written is there to stay: after `write` it is."""
        return True

    def close(self) -> None:
        """Close the file; the next line opens it again."""
        if self._descriptor >= 0:
            # After a failed fsync the descriptor says nothing more about the disk.
            os.close(self._descriptor)
            self._descriptor = -1

    def _open(self) -> None:
        if self._descriptor >= 0 and self._is_current():
            return
        self.close()
        is_new = not self._path.exists()
        flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
        self._descriptor = os.open(self._path, flags, _MODE)
        if is_new:
            _sync_folder(self._path.parent)
        size = os.fstat(self._descriptor).st_size
        if size and os.pread(self._descriptor, 1, size - 1) != b"\n":
            os.write(self._descriptor, b"\n")

    def _is_current(self) -> bool:
        try:
            found = self._path.stat()
        except FileNotFoundError:
            return False
        ours = os.fstat(self._descriptor)
        return (found.st_dev, found.st_ino) == (ours.st_dev, ours.st_ino)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
