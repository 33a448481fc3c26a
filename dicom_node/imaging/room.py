"""Where decoded pixels lie: in memory up to a limit, else on disk, without a name."""

from __future__ import annotations

import os
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, cast
from weakref import WeakKeyDictionary

__all__ = ["OpenRoom", "PixelRoom"]


@dataclass(frozen=True, slots=True)
class OpenRoom:
    """A file for pixels that are being decoded."""

    file: BinaryIO
    size_bytes: int
    _kept: WeakKeyDictionary[Any, int] | None
    _lock: threading.Lock

    def keep_for(self, owner: Any) -> None:
        """Count its memory as used while an object lives, such as its mapping."""
        if self._kept is not None:
            with self._lock:
                self._kept[owner] = self.size_bytes


class PixelRoom:
    """Opens files without a name; safe to share between threads.

    A file on disk takes the machine's turn for writing: beside peers whose instances
    are being synced, a series takes three times as long.

    Parameters
    ----------
    scratch_dir : pathlib.Path or None
        On whose disk files lie for which there is no memory; the system's temporary
        folder when None.
    most_bytes : int
        How much memory all files together take, and what was mapped from them and
        still lives.

    """

    def __init__(self, scratch_dir: Path | None, *, most_bytes: int) -> None:
        self._scratch_dir = scratch_dir
        self._most_bytes = most_bytes
        self._lock = threading.Lock()
        self._promised_bytes = 0
        # Entries leave with their objects, which asks for no lock.
        self._kept: WeakKeyDictionary[Any, int] = WeakKeyDictionary()

    @property
    def used_bytes(self) -> int:
        """How much memory is in use."""
        return self._promised_bytes + sum(self._kept.values())

    @contextmanager
    def open(self, size_bytes: int) -> Iterator[OpenRoom]:
        """Open a file of a size, in memory if there is room.

        Raises
        ------
        OSError
            There is none on the disk either.

        """
        with self._lock:
            is_memory = self.used_bytes + size_bytes <= self._most_bytes
            promised = size_bytes if is_memory else 0
            self._promised_bytes += promised
        try:
            with self._new_file(is_memory=is_memory) as file:
                file.truncate(size_bytes)
                yield OpenRoom(
                    file, size_bytes, self._kept if is_memory else None, self._lock
                )
        finally:
            with self._lock:
                self._promised_bytes -= promised

    def _new_file(self, *, is_memory: bool) -> BinaryIO:
        if is_memory:
            return os.fdopen(os.memfd_create("pixels"), "w+b")
        return cast("BinaryIO", tempfile.TemporaryFile(dir=self._scratch_dir))
