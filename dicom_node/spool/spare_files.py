"""Empty files with durable names, made before something arrives for them.

To make a file and to sync its folder takes longer than to write an image into it, so
that both are done for many files at once and, while there are some left, beside
whoever takes them.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import threading
from pathlib import Path

from dicom_node.durable import sync_path

__all__ = ["SpareFiles"]

_FOLDER_MODE = 0o700
_FILE_MODE = 0o600
_COUNT = 32
"""Files that are made with one sync of their folder."""
_LOW = _COUNT // 2
"""When no more are left, the next are made."""


class SpareFiles:
    """Keeps spare files at hand; any number of threads may use it.

    Parameters
    ----------
    folder : pathlib.Path
        Where they lie, and nothing else.

    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._names: list[str] = []
        self._lock = threading.Lock()
        self._making = threading.Lock()

    def take(self, target: Path) -> None:
        """Move a spare file to a path on the same file system.

        A sync of the file makes it durable under its old name or the new one.

        Raises
        ------
        OSError
            None can be made, or moved.

        """
        while True:
            name = self._take_name()
            try:
                os.rename(f"{self.folder}/{name}", target)  # noqa: PTH104 - it is quick
            except FileNotFoundError:
                if not target.parent.is_dir():
                    raise
                continue  # Somebody tidied up.
            return

    def _take_name(self) -> str:
        with self._lock:
            name = self._names.pop() if self._names else None
            is_low = len(self._names) == _LOW
        if name is None:
            return self._make_and_take()
        if is_low:
            maker = threading.Thread(
                target=self._make_ahead, name="spare-files", daemon=True
            )
            with contextlib.suppress(RuntimeError):  # No room for a thread: later.
                maker.start()
        return name

    def _make_and_take(self) -> str:
        with self._making:
            with self._lock:
                if self._names:
                    return self._names.pop()  # made while this waited
            names = self._make()
            with self._lock:
                self._names += names
                return self._names.pop()

    def _make_ahead(self) -> None:
        # Whoever finds none left makes them, and tells what is wrong with the disk.
        with self._making, contextlib.suppress(OSError):
            with self._lock:
                if len(self._names) > _LOW:
                    return
            names = self._make()
            with self._lock:
                self._names += names

    def _make(self) -> list[str]:
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
        names: list[str] = []
        with contextlib.suppress(FileExistsError):
            self.folder.mkdir(mode=_FOLDER_MODE)
            sync_path(self.folder.parent)  # somebody tidied it up
        try:
            for _ in range(_COUNT):
                name = secrets.token_hex(16)
                os.close(os.open(f"{self.folder}/{name}", flags, _FILE_MODE))
                names.append(name)
        except OSError:
            if not names:
                raise
            # One is all that is needed now; others need the last inodes, too.
            self._unmake(names[1:])
            del names[1:]
        try:
            sync_path(self.folder)
        except OSError:
            self._unmake(names)
            raise
        return names

    def _unmake(self, names: list[str]) -> None:
        for name in names:
            with contextlib.suppress(OSError):
                (self.folder / name).unlink()
