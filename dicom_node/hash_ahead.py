"""Hashes a file that grows, in a thread of its own beside the one that writes it.

SHA-256 takes as long as all the rest of receiving a large instance. The bytes are read
back from the file, which the system still has in memory: no buffer is shared.
"""

from __future__ import annotations

import errno
import hashlib
import os
import threading
from pathlib import Path

__all__ = ["HashAhead"]

_BLOCK_BYTES = 1 << 20


class HashAhead:
    """Follows a file with a hash; `finish` or `abandon` ends it.

    Parameters
    ----------
    path : pathlib.Path
        The file.
    digest : hashlib hash
        Has what comes before ``offset``; not to be used before `finish`.
    offset : int
        Where in the file it goes on, in bytes.

    Raises
    ------
    MemoryError
        There is no room for a block.
    OSError
        The file cannot be opened.
    RuntimeError
        There is no room for a thread.

    """

    def __init__(self, path: Path, digest: hashlib._Hash, *, offset: int) -> None:
        self._digest = digest
        self._done = self._written = offset
        self._is_ending = False
        self._failure: BaseException | None = None
        self._changed = threading.Condition()
        self._block = memoryview(bytearray(_BLOCK_BYTES))
        self._descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        self._thread = threading.Thread(target=self._run, name="hash", daemon=True)
        try:
            self._thread.start()
        except RuntimeError:
            os.close(self._descriptor)
            raise

    def advance(self, size_bytes: int) -> None:
        """Note that the file is so long now."""
        if size_bytes - self._written >= _BLOCK_BYTES:
            with self._changed:
                self._written = size_bytes
                self._changed.notify()

    def finish(self, size_bytes: int) -> hashlib._Hash:
        """Wait for the hash of so many bytes and return it.

        Raises
        ------
        OSError
            The file could not be read, or not to this length.
        MemoryError
            There was no room.

        """
        self._end(size_bytes)
        if self._failure is not None:
            raise self._failure
        if self._done != size_bytes:  # a hash of less would name other bytes
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return self._digest

    def abandon(self) -> None:
        """Stop: the file is not wanted."""
        self._end(0)

    def _end(self, size_bytes: int) -> None:
        with self._changed:
            self._written = size_bytes
            self._is_ending = True
            self._changed.notify()
        self._thread.join()

    def _run(self) -> None:
        try:
            while (left := self._wait()) > 0:
                wanted = self._block[: min(left, _BLOCK_BYTES)]
                count = os.preadv(self._descriptor, [wanted], self._done)
                if not count:
                    return  # the file is shorter than what was written
                self._digest.update(wanted[:count])
                self._done += count
        except BaseException as error:  # noqa: BLE001 - raised by `finish`
            self._failure = error
        finally:
            os.close(self._descriptor)

    def _wait(self) -> int:
        """Return how many bytes are to be hashed now; 0 or less: it is over."""
        with self._changed:
            while self._written <= self._done and not self._is_ending:
                self._changed.wait()
            return self._written - self._done
