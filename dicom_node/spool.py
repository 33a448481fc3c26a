"""Files written whole or not at all: what arrives is kept under the name of its hash.

    <data_dir>/incoming/<random>.part           while it arrives
    <data_dir>/instances/<ab>/<sha256>.dcm      once it is whole, synced and named

A file that has its final name is complete. The same bytes always get the same name,
so storing them twice changes nothing, whoever else is storing them at the moment.
"""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path

from dicom_node.errors import OutOfResourcesError, SettingsError

__all__ = ["Spool", "SpoolWriter", "sync_path", "write_whole"]

_PART = ".part"
_FOLDER_MODE = 0o700
_FILE_MODE = 0o600


class Spool:
    """The folder where received bytes are kept.

    Parameters
    ----------
    data_dir : pathlib.Path
        The node's data folder; made when absent.
    min_free_bytes : int
        Nothing new is opened when less disk than this is free.

    Raises
    ------
    SettingsError
        The folders cannot be made.

    """

    def __init__(self, data_dir: Path, *, min_free_bytes: int) -> None:
        self.data_dir = data_dir
        self._min_free_bytes = min_free_bytes
        self._incoming = data_dir / "incoming"
        self._instances = data_dir / "instances"
        self._is_suspect = threading.Event()
        self._lock = threading.Lock()
        self._synced_folders: set[Path] = set()
        try:
            for folder in (data_dir, self._incoming, self._instances):
                folder.mkdir(mode=_FOLDER_MODE, parents=True, exist_ok=True)
            sync_path(data_dir)
        except OSError as error:
            is_file = isinstance(error, FileExistsError)
            what = "it is not a folder" if is_file else error.strerror
            msg = f"node.data_dir {data_dir}: {what}"
            raise SettingsError(msg) from error

    def open(self) -> SpoolWriter:
        """Begin a file.

        Raises
        ------
        OutOfResourcesError
            Less disk is free than is reserved, or the disk fails.

        """
        try:
            if shutil.disk_usage(self.data_dir).free < self._min_free_bytes:
                raise OutOfResourcesError("less disk is free than is reserved")
            if self._is_suspect.is_set():
                self._probe()
            return SpoolWriter(self, self._incoming / f"{secrets.token_hex(16)}{_PART}")
        except OSError as error:
            raise _out_of_resources(error) from error

    def final_path(self, sha256: str) -> Path:
        """Return where the content with this hash lies, relative to the data folder."""
        return Path("instances", sha256[:2], f"{sha256}.dcm")

    def remove_leftovers(self) -> int:
        """Delete what never became whole; return how many files that were.

        To be called before anything is received: nobody was told that these arrived.
        """
        leftovers = list(self._incoming.glob(f"*{_PART}"))
        for path in leftovers:
            path.unlink(missing_ok=True)
        return len(leftovers)

    def files(self) -> Iterator[Path]:
        """Yield every whole file, relative to the data folder."""
        for folder in sorted(self._instances.iterdir()):
            for path in sorted(folder.glob("*.dcm")):
                yield path.relative_to(self.data_dir)

    def distrust(self) -> None:
        """Note that a sync failed: nothing is opened before the disk proves itself.

        The kernel reports such a failure once and then forgets the bytes, so a
        second try on the same file would seem to succeed.
        """
        self._is_suspect.set()

    def make_folder(self, folder: Path) -> None:
        """Make the folder of a final path, with its own name synced.

        A file is no more durable than the name of its folder, so nobody may use the
        folder before whoever made it has synced that.
        """
        with self._lock:
            if folder not in self._synced_folders:
                folder.mkdir(mode=_FOLDER_MODE, exist_ok=True)
                sync_path(folder.parent)
                self._synced_folders.add(folder)

    def _probe(self) -> None:
        write_whole(
            self._incoming / f"{secrets.token_hex(16)}{_PART}", b"probe"
        ).unlink()
        self._is_suspect.clear()


class SpoolWriter:
    """A file on its way into the spool; made by `Spool.open`.

    Every method but `abort` raises OutOfResourcesError when the disk does not take
    the bytes; the file is gone then.
    """

    def __init__(self, spool: Spool, path: Path) -> None:
        self.path = path
        self.size_bytes = 0
        self._spool = spool
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
        self._descriptor = os.open(path, flags, _FILE_MODE)

    def write(self, data: bytes | memoryview) -> None:
        """Append bytes."""
        view = memoryview(data)
        try:
            while view:
                written = os.write(self._descriptor, view)
                self.size_bytes += written
                view = view[written:]
        except OSError as error:
            self.abort()
            raise _out_of_resources(error) from error

    def commit(self, sha256: str) -> Path:
        """Make the file durable under the name of its hash.

        Returns
        -------
        pathlib.Path
            Relative to the data folder.

        """
        final = self._spool.final_path(sha256)
        target = self._spool.data_dir / final
        try:
            try:
                self._spool.make_folder(target.parent)
                os.fsync(self._descriptor)
                self._close()
                self.path.replace(target)
                sync_path(target.parent)
            except OSError:
                self._spool.distrust()
                raise
        except OSError as error:
            self.abort()
            raise _out_of_resources(error) from error
        return final

    def abort(self) -> None:
        """Forget the file. Without effect after `commit` or `abort`."""
        # The bytes are thrown away, so it does not matter whether they reached the
        # disk; a name that cannot be removed now is a leftover of the next start.
        with contextlib.suppress(OSError):
            self._close()
        with contextlib.suppress(OSError):
            self.path.unlink(missing_ok=True)

    def _close(self) -> None:
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)


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
    part = path.with_name(f".{secrets.token_hex(8)}{_PART}")
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


def _out_of_resources(error: OSError) -> OutOfResourcesError:
    # The path in the error's own text is left out: only the cause is told.
    cause = os.strerror(error.errno or errno.EIO)
    return OutOfResourcesError(f"the disk did not take the instance: {cause}")
