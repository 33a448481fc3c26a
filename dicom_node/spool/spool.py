"""Files written whole or not at all: what arrives is kept under the name of its hash.

    <data_dir>/spare/<random>                   empty, until something arrives
    <data_dir>/incoming/<random>.part           while it arrives
    <data_dir>/instances/<ab>/<sha256>.dcm      once it is whole, synced and named

A file that has its final name is complete. The same bytes always get the same name,
so storing them twice changes nothing, whoever else is storing them at the moment.

A name is durable when its folder is synced. That is done for many empty files at once,
before they are needed; a sync of a DICOM file's bytes then makes it durable under the
name that it was given first, and the renames need no sync: its preamble, which PS3.10
7.1 leaves to whoever writes it, holds its hash. A start that finds such a file on its
way gives it the name that it had before the power was cut (`leftovers`).
A file whose reception was refused after all (the database did not answer) is marked so
by `FinalNames`, and goes when the database says that no row names it.
"""

from __future__ import annotations

import contextlib
import errno
import mmap
import os
import re
import secrets
import threading
from collections.abc import Iterator
from pathlib import Path

from dicom_node.durable import make_durable, sync_path, write_whole
from dicom_node.errors import OutOfResourcesError, SettingsError
from dicom_node.spool.final_names import FinalNames
from dicom_node.spool.spare_files import SpareFiles

__all__ = ["Spool", "SpoolWriter", "proven_sha256"]

_FOLDERS = ("incoming", "instances", "spare")
_PART = ".part"
_FOLDER_MODE = 0o700
_PREFIX = bytes(128) + b"DICM"
_PROOF = b"dicom-node sha256:"
_PROVEN = re.compile(rb"dicom-node sha256:([0-9a-f]{64})\0{46}DICM")
"""Preamble and prefix of a file that was whole and about to be synced."""
_MIN_FREE_INODES = 1000
"""Files that the database, the results and the logs may still make."""
_LOOK_EVERY_BYTES = 16 << 20
"""An instance that comes is checked against the reserve each time it has grown so."""
_FIRST_PAGE_BYTES = mmap.PAGESIZE
_PROBES = 2
"""Files that a disk must take at once to be trusted again."""
_WORTH_BYTES = 1 << 16  # less is written as soon by the sync alone


class Spool:
    """The folder where received bytes are kept.

    Parameters
    ----------
    data_dir : pathlib.Path
        The node's data folder; made when absent.
    min_free_bytes : int
        Nothing new is opened when less disk than this is free.

    Attributes
    ----------
    names : FinalNames
        Which names of whole files are in use, or refused.

    Raises
    ------
    SettingsError
        The folders cannot be made.

    """

    def __init__(self, data_dir: Path, *, min_free_bytes: int) -> None:
        self.data_dir = data_dir
        self.names = FinalNames(data_dir)
        self._min_free_bytes = min_free_bytes
        self._incoming = data_dir / "incoming"
        self._instances = data_dir / "instances"
        self._suspicion: str | None = None
        self._lock = threading.Lock()
        self._synced_folders: set[Path] = set()
        self._unsettled: set[Path] = set()
        self._spares = SpareFiles(data_dir / "spare")
        try:
            make_durable(data_dir, *_FOLDERS)
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
            self.check_room()
            if self._suspicion is not None:
                self._probe()
            path = self._incoming / f"{secrets.token_hex(16)}{_PART}"
            try:
                self._spares.take(path)
            except FileNotFoundError:  # Somebody tidied the empty folder away.
                self._probe()
                self._spares.take(path)
            return SpoolWriter(self, path)
        except OSError as error:
            self.distrust(error)
            raise _out_of_resources(error) from error

    def check_room(self) -> None:
        """Make sure that the database and the logs keep what is reserved for them.

        Raises
        ------
        OutOfResourcesError
            Less disk is free than is reserved, or fewer inodes.
        OSError
            The disk does not say.

        """
        if not self._min_free_bytes:
            return
        disk = os.statvfs(self.data_dir)
        if disk.f_bavail * disk.f_frsize < self._min_free_bytes:
            raise OutOfResourcesError("less disk is free than is reserved")
        # Some file systems make inodes as they need them, and tell of none.
        if disk.f_files and disk.f_favail < _MIN_FREE_INODES:
            raise OutOfResourcesError("fewer inodes are free than are reserved")

    def final_path(self, sha256: str) -> Path:
        """Return where the content with this hash lies, relative to the data folder."""
        return Path("instances", sha256[:2], f"{sha256}.dcm")

    def settle(self) -> None:
        """Make durable the final names that wait for no sync of their own.

        A power cut in between costs the next start some work (`leftovers`), and no
        instance.
        """
        with self._lock:
            folders, self._unsettled = self._unsettled, set()
        while folders:
            folder = next(iter(folders))
            try:
                sync_path(folder)
            except OSError as error:
                self.distrust(error)
                with self._lock:
                    self._unsettled |= folders
                return
            folders.discard(folder)

    def named(self, folder: Path) -> None:
        """Note that a file has its final name in a folder, which was not synced."""
        with self._lock:
            self._unsettled.add(folder)

    def leftovers(self) -> Iterator[Path]:
        """Yield what an earlier process began to receive and gave no final name."""
        for folder in (self._incoming, self._spares.folder):
            for path in sorted(folder.iterdir()):
                if path.is_file() and path.stat().st_size:
                    yield path

    def adopt(self, path: Path, sha256: str) -> Path:
        """Give a leftover that is whole its final name; return that.

        Raises
        ------
        OSError
            The disk did not take the name.

        """
        final = self.final_path(sha256)
        target = self.data_dir / final
        self.make_folder(target.parent)
        path.replace(target)
        sync_path(target.parent)
        return final

    def remove_leftovers(self) -> int:
        """Delete what never became whole; return how many files that were.

        To be called before anything is received, and after what is whole was given
        its name: nobody was told that these arrived.
        """
        leftovers = list(self._incoming.glob(f"*{_PART}"))
        for path in (*leftovers, *self._spares.folder.iterdir()):
            path.unlink(missing_ok=True)
        return len(leftovers)

    def files(self) -> Iterator[Path]:
        """Yield every whole file, relative to the data folder."""
        for folder in sorted(self._instances.iterdir()):
            for path in sorted(folder.glob("*.dcm")):
                yield path.relative_to(self.data_dir)

    def distrust(self, error: OSError) -> None:
        """Note that the disk failed: nothing is opened before it proves itself.

        The kernel reports a failed sync once and then forgets the bytes, so a second
        try on the same file would seem to succeed.
        """
        self._suspicion = _cause(error)
        if error.errno == errno.ENOENT:
            with self._lock:
                self._synced_folders.clear()  # Somebody may have tidied one away.

    def trouble(self) -> str | None:
        """Say why the disk takes no file; it is tried when it has failed before."""
        if self._suspicion is not None:
            try:
                self._probe()
            except OSError as error:
                return f"the disk takes no file: {_cause(error)}"
        return None

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
        make_durable(self.data_dir, *_FOLDERS)
        # An instance may need a folder of its own: what one that failed has left free
        # is not enough.
        names = [f"{secrets.token_hex(16)}{_PART}" for _ in range(_PROBES)]
        try:
            for name in names:
                write_whole(self._incoming / name, b"probe")
        finally:
            for name in names:
                (self._incoming / name).unlink(missing_ok=True)
        self._suspicion = None


class SpoolWriter:
    """A file on its way into the spool; made by `Spool.open`.

    Every method but `abort` raises OutOfResourcesError when the disk does not take
    the bytes; the file is gone then.
    """

    def __init__(self, spool: Spool, path: Path) -> None:
        self.path = path
        self.size_bytes = 0
        self._looks_at = _LOOK_EVERY_BYTES
        self._on_its_way = _FIRST_PAGE_BYTES
        self._spool = spool
        self._final: Path | None = None
        self._is_dicom = False
        self._descriptor = os.open(path, os.O_WRONLY | os.O_CLOEXEC)

    def write(self, data: bytes | memoryview) -> None:
        """Append bytes."""
        view = memoryview(data)
        if not self.size_bytes:
            self._is_dicom = view[: len(_PREFIX)] == _PREFIX
        try:
            # Many large instances at once pass the check at their beginning.
            if self.size_bytes >= self._looks_at:
                self.begin_to_sync()
                self._looks_at += _LOOK_EVERY_BYTES
                self._spool.check_room()
            while view:
                written = os.write(self._descriptor, view)
                self.size_bytes += written
                view = view[written:]
        except OutOfResourcesError:
            self.abort()
            raise
        except OSError as error:
            self._spool.distrust(error)
            self.abort()
            raise _out_of_resources(error) from error

    def begin_to_sync(self) -> None:
        """Put what was written on its way to the disk, and wait for nothing.

        The sync at the end then finds some of it done; what fails is told there. The
        first page stays: `commit` writes the proof into it.
        """
        start, count = self._on_its_way, self.size_bytes - self._on_its_way
        if count >= _WORTH_BYTES:
            with contextlib.suppress(OSError):  # What is dirty is kept.
                os.posix_fadvise(self._descriptor, start, count, os.POSIX_FADV_DONTNEED)
            self._on_its_way += count

    def commit(self, sha256: str) -> Path:
        """Make the file durable under the name of its hash; then `keep` or `abort`.

        Returns
        -------
        pathlib.Path
            Relative to the data folder.

        """
        final = self._spool.final_path(sha256)
        target = self._spool.data_dir / final
        self._spool.names.hold(final)
        try:
            self._spool.make_folder(target.parent)
            if self._is_dicom:
                os.pwrite(self._descriptor, _PROOF + sha256.encode("ascii"), 0)
            os.fsync(self._descriptor)
            self._close()
            self.path.replace(target)
            self._final = final
            if self._is_dicom:
                self._spool.named(target.parent)
            else:  # It cannot prove itself under its first name.
                sync_path(target.parent)
        except OSError as error:
            self._spool.distrust(error)
            if self._final is None:
                self._spool.names.release(final)
            self.abort()
            raise _out_of_resources(error) from error
        return final

    def keep(self) -> None:
        """Note that a row names the file."""
        final, self._final = self._final, None
        if final is not None:
            self._spool.names.settle(final, is_kept=True)

    def abort(self) -> None:
        """Forget the file. Without effect after `keep` or `abort`."""
        final, self._final = self._final, None
        if final is not None:
            self._spool.names.settle(final, is_kept=False)
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


def proven_sha256(path: Path) -> str | None:
    """Return the hash that a file says it has in its preamble; None: it says none.

    Whether it has it is for who asks to find out: a power cut may have torn it.

    Raises
    ------
    OSError
        It cannot be read.

    """
    with path.open("rb") as file:
        found = _PROVEN.match(file.read(len(_PREFIX)))
    return None if found is None else found[1].decode("ascii")


def _out_of_resources(error: OSError) -> OutOfResourcesError:
    return OutOfResourcesError(f"the disk did not take the instance: {_cause(error)}")


def _cause(error: OSError) -> str:
    # The path in the error's own text is left out: only the cause is told.
    return os.strerror(error.errno or errno.EIO)
