"""A place for files at an fsspec URL: an S3-compatible store, or a folder."""

from __future__ import annotations

import contextlib
import secrets
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import fsspec

from dicom_node.errors import FileAreaError, FileDamagedError, SettingsError
from dicom_node.jobs.files import is_full
from dicom_node.jobs.image_cache import ImageCache
from dicom_node.jobs.result import LeftFile, check_file, check_key
from dicom_node.records import StoredInstance

__all__ = ["ObjectStore"]

_AT_ONCE = 8
"""Files that are brought at the same time: a store answers each after some
milliseconds, whatever its size."""

_IMAGES, _RESULTS = "images", "results"

Item = TypeVar("Item")
Answer = TypeVar("Answer")


class ObjectStore:
    """Files below a URL: images by their SHA-256, results by job and try.

    Parameters
    ----------
    url : str
        As fsspec knows it; keys, regions and endpoints come from the environment, as
        its library for the protocol reads them.
    cache_dir : pathlib.Path, optional
        Where a worker keeps images.
    cache_bytes : int
        How much of them.

    Raises
    ------
    SettingsError
        The URL cannot be used, or the library that it needs is not installed.
    FileAreaError
        From every method, when the store cannot be reached.

    """

    def __init__(
        self, url: str, *, cache_dir: Path | None = None, cache_bytes: int = 1 << 30
    ) -> None:
        protocol = url.partition("://")[0]
        options: dict[str, Any] = {"use_listings_cache": False}
        if protocol in {"file", "local"}:
            options = {"auto_mkdir": True}
        try:
            self._files, root = fsspec.core.url_to_fs(url, **options)
            self._root = root.rstrip("/")
        except ImportError as error:
            msg = f"workers.files_url: what reaches {protocol}:// is not installed"
            raise SettingsError(msg) from error
        except (ValueError, TypeError) as error:
            msg = f"workers.files_url: {protocol}:// is not known"
            raise SettingsError(msg) from error
        self._cache = None
        if cache_dir is not None:
            self._cache = ImageCache(cache_dir, max_bytes=cache_bytes)

    def key_of(self, instance: StoredInstance) -> str:
        """Name an instance's file by its SHA-256."""
        return f"{_IMAGES}/{instance.sha256[:2]}/{instance.sha256}"

    def offer(self, instances: Sequence[StoredInstance]) -> int:
        """Bring the images that are not there whole; return how many bytes."""

        def bring(item: tuple[str, Path]) -> int:
            key, path = item
            size = path.stat().st_size
            with _reaching():
                with contextlib.suppress(FileNotFoundError):
                    if self._files.info(self._at(key))["size"] == size:
                        return 0
                self._files.put_file(str(path), self._at(key))
            return size

        wanted = {self.key_of(one): one.path for one in instances}
        return sum(_each(bring, wanted.items()))

    def fetch(self, keys: Mapping[str, str], folder: Path) -> dict[str, Path]:
        """Bring images into a job's folder, from the cache where they are in it.

        Raises
        ------
        FileDamagedError
            Some are not what they were; ``damaged`` holds the keys of all of these.

        """
        cache = self._cache
        if cache is None:
            raise FileAreaError("this process keeps no images")
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        damaged: dict[str, FileDamagedError] = {}

        def bring(item: tuple[str, str]) -> tuple[str, Path]:
            key, sha256 = item
            path = folder / sha256
            try:
                if not path.exists():
                    cache.bring(sha256, lambda part: self._get(key, part), path)
            except FileDamagedError as error:
                damaged[key] = error
            return key, path

        # The same file under one key only: keys are hashes.
        found = dict(_each(bring, keys.items()))
        cache.tidy()
        if damaged:
            first = min(damaged)
            raise FileDamagedError(
                str(damaged[first]), damaged=sorted(damaged)
            ) from damaged[first]
        return found

    def result_folder(self, job_id: str, generation: int, *, folder: Path) -> Path:
        """Make the folder of results in the job's own."""
        made = folder / _RESULTS
        made.mkdir(mode=0o700, parents=True)
        return made

    def leave(self, job_id: str, generation: int, *, path: Path, sha256: str) -> str:
        """Bring a result to the store; one try never writes over another's."""
        key = f"{_RESULTS}/{job_id}/{generation}/{sha256}"
        with _reaching():
            self._files.put_file(str(path), self._at(key))
        return key

    def take(self, left: LeftFile, path: Path, *, job_id: str, generation: int) -> None:
        """Bring a result to its place."""
        check_key(left.key, _RESULTS, job_id, str(generation))
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        part = path.with_name(f".{secrets.token_hex(8)}.part")
        try:
            self._get(left.key, part)
            check_file(part, left.sha256)
            part.replace(path)
        finally:
            part.unlink(missing_ok=True)

    def forget(self, job_ids: Collection[str], *, keys: Collection[str]) -> None:
        """Remove the results of jobs, and images that no job needs any more."""
        with _reaching():
            for job_id in job_ids:
                with contextlib.suppress(FileNotFoundError):
                    self._files.rm(self._at(f"{_RESULTS}/{job_id}"), recursive=True)
        _each(self._remove, keys)

    def listed(self) -> list[str]:
        """Return the keys of all images and results."""
        with _reaching():
            return [*self._below(_IMAGES), *self._below(_RESULTS)]

    def unneeded(
        self, listed: Iterable[str], job_ids: Collection[str], *, keys: Collection[str]
    ) -> list[str]:
        """Return which are neither results of these jobs nor these images."""
        return [
            key
            for key in listed
            if key not in keys
            and not (key.startswith(_RESULTS) and key.split("/")[1] in job_ids)
        ]

    def remove(self, listed: Collection[str]) -> None:
        """Remove files."""
        _each(self._remove, listed)

    def _below(self, folder: str) -> list[str]:
        try:
            found = self._files.find(self._at(folder))
        except FileNotFoundError:
            return []
        return [one.removeprefix(f"{self._root}/") for one in found]

    def _remove(self, key: str) -> None:
        with _reaching(), contextlib.suppress(FileNotFoundError):
            self._files.rm_file(self._at(key))

    def _get(self, key: str, path: Path) -> None:
        with _reaching():
            self._files.get_file(self._at(key), str(path))

    def _at(self, key: str) -> str:
        return f"{self._root}/{key}"


def _each(work: Callable[[Item], Answer], items: Iterable[Item]) -> list[Answer]:
    """Do something for all, some at the same time; the first error ends it."""
    listed = list(items)
    if not listed:
        return []
    with ThreadPoolExecutor(min(_AT_ONCE, len(listed)), "files") as pool:
        futures = [pool.submit(work, one) for one in listed]
        try:
            return [one.result() for one in futures]
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise


@contextmanager
def _reaching() -> Iterator[None]:
    """Turn what a store's library raises into our error; its text is not told."""
    try:
        yield
    except FileNotFoundError as error:
        raise FileAreaError("a file is not in the place for files") from error
    except Exception as error:
        if is_full(error):
            raise
        msg = f"the place for files could not be reached ({type(error).__name__})"
        raise FileAreaError(msg) from error
