"""A worker's images: brought once, kept while there is room, checked on arrival."""

from __future__ import annotations

import contextlib
import os
import secrets
import threading
from collections.abc import Callable
from pathlib import Path

from dicom_node.errors import CannotUnderstandError, FileDamagedError
from dicom_node.header import read_header
from dicom_node.instance_file import instance_sha256

__all__ = ["ImageCache"]

_LOOKS = 20
"""How often a process looks at the folder while it brings as much as is kept."""


class ImageCache:
    """Files by their SHA-256, the least recently used of them removed.

    Several processes may share a folder, and with it what is kept: each looks at the
    whole when it has brought a twentieth of that itself, so that the folder holds no
    more than a twentieth for each of them above it.

    A job has a name of its own for each file, so what is removed from here stays until
    the job ends. What is on its way lies in the job's folder: it is never taken for a
    file that nobody uses, and what a process that ended leaves of it goes with its
    folder.

    Parameters
    ----------
    folder : pathlib.Path
        Where they are; made when absent.
    max_bytes : int
        How much of them is kept, whichever process brought it.

    """

    def __init__(self, folder: Path, *, max_bytes: int) -> None:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._folder = folder
        self._max_bytes = max_bytes
        self._lock = threading.Lock()
        self._bytes = sum(size for _, size, _ in self._list())
        self._brought = 0
        """Of these, since this process looked at the folder."""

    def bring(self, sha256: str, fetch: Callable[[Path], None], path: Path) -> bool:
        """Give a file a name in a job's folder; return whether it had to be fetched.

        Parameters
        ----------
        sha256 : str
            What it must be, as `instance_file.instance_sha256` defines it.
        fetch : callable
            Brings it to a path.
        path : pathlib.Path
            Its name, on the same disk.

        Raises
        ------
        FileDamagedError
            What was fetched is another file.

        """
        kept = self._folder / sha256
        with contextlib.suppress(FileNotFoundError):
            os.link(kept, path)
            os.utime(path)  # of the file, whatever its name
            return False
        part = path.with_name(f".{secrets.token_hex(8)}.part")
        try:
            fetch(part)
            _check_instance(part, sha256)
            part.replace(path)
        finally:
            part.unlink(missing_ok=True)
        with contextlib.suppress(FileExistsError):  # another process was faster
            os.link(path, kept)
        with self._lock:
            size = path.stat().st_size
            self._bytes += size
            self._brought += size
        return True

    def tidy(self) -> None:
        """Remove the files that were not used for longest, until the rest fits."""
        with self._lock:
            is_old = self._brought * _LOOKS > self._max_bytes
            if self._bytes <= self._max_bytes and not is_old:
                return
            found = self._list()
            self._bytes = sum(size for _, size, _ in found)
            self._brought = 0
            for _, size, path in sorted(found):
                if self._bytes <= self._max_bytes:
                    break
                path.unlink(missing_ok=True)
                self._bytes -= size

    def _list(self) -> list[tuple[int, int, Path]]:
        """Return when each file was used, its size and its path."""
        found = []
        for one in self._folder.iterdir():
            with contextlib.suppress(FileNotFoundError):  # removed by another process
                status = one.stat()
                found.append((status.st_mtime_ns, status.st_size, one))
        return found


def _check_instance(path: Path, sha256: str) -> None:
    try:
        found = instance_sha256(path, read_header(path))
    except CannotUnderstandError as error:
        raise FileDamagedError("a file is not an instance any more") from error
    if found != sha256:
        raise FileDamagedError("a file is not whole: its SHA-256 is another one")
