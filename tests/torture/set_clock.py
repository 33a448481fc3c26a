"""A wall clock that can be set ahead; monotonic time, and so every timeout, is real.

What is set ahead is what a process reads: ``time.time`` and ``datetime.now``. The
node keeps its times by the second, the workflow engine by the first.
"""

from __future__ import annotations

import mmap
import struct
import time
from datetime import UTC, datetime, timedelta, tzinfo
from pathlib import Path

__all__ = ["SetClock", "live_by"]

_OFFSET = struct.Struct("d")


class SetClock:
    """How far ahead the clock of other processes is.

    Parameters
    ----------
    path : pathlib.Path
        The file that they look at; it must be new.

    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._ahead_s = 0.0
        self._write()

    @property
    def ahead_s(self) -> float:
        """How far, in seconds."""
        return self._ahead_s

    def now(self) -> datetime:
        """Return the moment by that clock."""
        return datetime.now(UTC) + timedelta(seconds=self._ahead_s)

    def advance(self, seconds: float) -> None:
        """Set it ahead."""
        self._ahead_s += seconds
        self._write()

    def _write(self) -> None:
        # In place: the others have it mapped.
        mode = "r+b" if self.path.exists() else "w+b"
        with self.path.open(mode) as file:
            file.write(_OFFSET.pack(self._ahead_s))


def live_by(path: Path) -> None:
    """Let this process live by the clock of a `SetClock`, for good."""
    from dicom_node import assembly

    with path.open("rb") as file:
        shared = mmap.mmap(file.fileno(), _OFFSET.size, access=mmap.ACCESS_READ)
    true_time = time.time

    def ahead_s() -> float:
        (value,) = _OFFSET.unpack_from(shared)
        return float(value)

    class SetAhead(datetime):
        @classmethod
        def now(cls, tz: tzinfo | None = None) -> SetAhead:
            moment = datetime.now(tz) + timedelta(seconds=ahead_s())
            return cls.fromtimestamp(moment.timestamp(), tz)

    time.time = lambda: true_time() + ahead_s()
    vars(assembly)["datetime"] = SetAhead
