"""Keep what the process holds in memory out of core dumps and from other processes."""

from __future__ import annotations

import contextlib
import ctypes
import resource
import sys

__all__ = ["keep_memory_private"]

_PR_SET_DUMPABLE = 4
"""prctl(2)."""


def keep_memory_private() -> None:
    """Leave no core dump when this process crashes, and let no other one look in.

    Images, reports and keys are in its memory. RLIMIT_CORE keeps the kernel from
    writing a core file, and PR_SET_DUMPABLE from piping one to a collector, which
    ignores the limit; ``/proc/self/mem`` and ``environ`` are then root's alone. The
    limit is handed on to child processes; each must call this all the same, since
    the flag is lost when a program is started.
    """
    with contextlib.suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)
