"""Keep a process that runs for months as small as what it uses."""

from __future__ import annotations

import ctypes
import sys

__all__ = ["keep_heap_small"]

_M_MMAP_THRESHOLD = -3
_M_ARENA_MAX = -8
"""mallopt(3)."""

_LARGE_BYTES = 1 << 17
"""The C library's own first value; each association has a buffer that large."""


def keep_heap_small() -> None:
    """Let all threads share one heap, and give large blocks back as they are freed.

    The GNU C library gives threads heaps of their own, eight for each core. With a
    thread for each association, what one of them freed is not found by the next, and
    the process grows for hours though it uses no more than before. Python's lock lets
    one thread at a time allocate anyway. The library also begins to keep larger and
    larger blocks once such have been freed; a threshold that is set stays as it is.

    To be called before the first thread starts. Other C libraries have no such
    settings, and nothing is done.
    """
    if sys.platform != "linux":
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_M_ARENA_MAX, 1)
        mallopt(_M_MMAP_THRESHOLD, _LARGE_BYTES)
