"""Where node and workers leave each other files: a folder that they share, or a store.

A shared data folder is used as it is. Anything else is reached by its fsspec URL; there
images are named by their SHA-256 alone and results by their job's, so that no name
tells anything of a patient and the same file is brought once.
"""

from __future__ import annotations

import errno
import os
import secrets
import shutil
import stat
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import BinaryIO, Protocol

from dicom_node.config import WorkersSettings
from dicom_node.durable import sync_path
from dicom_node.errors import FileAreaError
from dicom_node.jobs.result import LeftFile, check_key, copy_whole
from dicom_node.records import StoredInstance

__all__ = ["JOBS", "FileArea", "SharedFolder", "is_full", "open_area"]

JOBS = "jobs"
"""Folder below a shared data folder where workers leave results."""

_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


class FileArea(Protocol):
    """What node and workers share beside the database.

    Every method raises FileAreaError when the place cannot be reached.
    """

    def key_of(self, instance: StoredInstance) -> str:
        """Name an instance's file."""

    def offer(self, instances: Sequence[StoredInstance]) -> int:
        """Bring what is not there yet (node); return how many bytes that were."""

    def fetch(self, keys: Mapping[str, str], folder: Path) -> dict[str, Path]:
        """Return where each file is (worker), by its key, brought into a folder.

        The keys come with the SHA-256 that each file must have. FileDamagedError
        names those whose file is another one.
        """

    def result_folder(self, job_id: str, generation: int, *, folder: Path) -> Path:
        """Make the folder where a worker makes its results, a free one."""

    def leave(self, job_id: str, generation: int, *, path: Path, sha256: str) -> str:
        """Leave a result for the node (worker); return its key."""

    def take(self, left: LeftFile, path: Path, *, job_id: str, generation: int) -> None:
        """Bring a result of this try at a job to its place (node), whole or not at all.

        A key that names anything else is refused.
        """

    def forget(self, job_ids: Collection[str], *, keys: Collection[str]) -> None:
        """Remove the results of jobs, and images that no job needs any more (node)."""

    def listed(self) -> list[str]:
        """Return the keys of everything that the node may remove (node)."""

    def unneeded(
        self, listed: Iterable[str], job_ids: Collection[str], *, keys: Collection[str]
    ) -> list[str]:
        """Return which of these keys are of no such job, nor one of these."""

    def remove(self, listed: Collection[str]) -> None:
        """Remove what was listed (node)."""


class SharedFolder:
    """The node's data folder, which the workers mount.

    Parameters
    ----------
    data_dir : pathlib.Path
        The folder, as this process sees it.

    """

    def __init__(self, data_dir: Path) -> None:
        self._data_dir = data_dir.resolve()

    def key_of(self, instance: StoredInstance) -> str:
        """Name an instance's file by its place in the folder."""
        return instance.path.relative_to(self._data_dir).as_posix()

    def offer(self, instances: Sequence[StoredInstance]) -> int:
        """Bring nothing: it is there."""
        return 0

    def fetch(self, keys: Mapping[str, str], folder: Path) -> dict[str, Path]:
        """Return where each file is; the folder of the job is not used."""
        return {key: self._place(key) for key in keys}

    def result_folder(self, job_id: str, generation: int, *, folder: Path) -> Path:
        """Make the folder of this try at a job, beside the node's own."""
        made = self._data_dir / JOBS / job_id / str(generation)
        try:
            made.mkdir(mode=0o700, parents=True)
        except OSError as error:
            raise _away(error) from error
        return made

    def leave(self, job_id: str, generation: int, *, path: Path, sha256: str) -> str:
        """Leave a result where it is."""
        sync_path(path)
        return path.relative_to(self._data_dir).as_posix()

    def take(self, left: LeftFile, path: Path, *, job_id: str, generation: int) -> None:
        """Copy a result: a second name would leave its bytes to the worker."""
        check_key(left.key, JOBS, job_id, str(generation))
        part = path.with_name(f".{secrets.token_hex(8)}.part")
        try:
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            with self._open(left.key) as source, part.open("xb") as copy:
                copy_whole(source, copy, left.sha256)
            part.replace(path)
        except OSError as error:
            raise _away(error) from error
        finally:
            part.unlink(missing_ok=True)

    def forget(self, job_ids: Collection[str], *, keys: Collection[str]) -> None:
        """Remove the results of jobs; the images are the node's own."""
        for job_id in job_ids:
            shutil.rmtree(self._data_dir / JOBS / job_id, ignore_errors=True)

    def listed(self) -> list[str]:
        """Return the jobs that have results; the images are the node's own."""
        return [one.name for one in (self._data_dir / JOBS).glob("*")]

    def unneeded(
        self, listed: Iterable[str], job_ids: Collection[str], *, keys: Collection[str]
    ) -> list[str]:
        """Return which are others than these."""
        return [one for one in listed if one not in job_ids]

    def remove(self, listed: Collection[str]) -> None:
        """Remove the results of jobs."""
        self.forget(listed, keys=())

    def _open(self, key: str) -> BinaryIO:
        """Open a regular file that no link leads to, at any step of its key."""
        parts = PurePosixPath(key).parts
        at = os.open(self._data_dir, _FOLDER)
        try:
            for name in parts[:-1]:
                below = os.open(name, _FOLDER, dir_fd=at)
                os.close(at)
                at = below
            descriptor = os.open(parts[-1], _FILE, dir_fd=at)
        finally:
            os.close(at)
        source = open(descriptor, "rb")  # noqa: PTH123, SIM115 - a descriptor
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            source.close()
            raise FileAreaError("a worker named what is not a file")
        return source

    def _place(self, key: str) -> Path:
        if PurePosixPath(key).is_absolute() or ".." in PurePosixPath(key).parts:
            raise FileAreaError("a key names a file outside the data folder")
        return self._data_dir / key


def open_area(
    settings: WorkersSettings, *, data_dir: Path, cache_dir: Path | None = None
) -> FileArea:
    """Open the place that the settings name.

    Parameters
    ----------
    settings : WorkersSettings
        Its URL, and how much a worker keeps.
    data_dir : pathlib.Path
        The data folder.
    cache_dir : pathlib.Path, optional
        Where a worker keeps images; the node needs none.

    Raises
    ------
    SettingsError
        The URL cannot be used, or what reaches it is not installed.

    """
    if not settings.files_url:
        return SharedFolder(data_dir)
    from dicom_node.jobs.object_store import ObjectStore

    return ObjectStore(
        settings.files_url, cache_dir=cache_dir, cache_bytes=settings.cache_bytes
    )


def is_full(error: BaseException) -> bool:
    """Whether this machine's own disk has no room."""
    return isinstance(error, OSError) and error.errno in {errno.ENOSPC, errno.EDQUOT}


def _away(error: OSError) -> Exception:
    if is_full(error):
        return error
    return FileAreaError(f"the shared data folder did not answer: {error.strerror}")
