"""Silence for one thread: what libraries warn of there is not told.

pydicom's warnings quote values, which name patients, to stderr. The filters of
``warnings`` belong to the process: a thread that switches them for a moment, and puts
them back, switches them for every other thread and may leave them switched.
"""

from __future__ import annotations

import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

__all__ = ["quiet"]


class _Here(threading.local):
    depth = 0


class _InQuiet:
    """Stands where a filter has its pattern, and fits whatever a quiet thread says."""

    def match(self, _text: str) -> bool:
        return _here.depth > 0


_here = _Here()
_FILTER: Any = ("ignore", _InQuiet(), Warning, None, 0)


@contextmanager
def quiet() -> Iterator[None]:
    """Ignore the warnings of the calling thread; those of others are as ever.

    It holds unless another thread meanwhile sets a filter, or puts back filters that
    it found before: those of the process come first.
    """
    filters: Any = warnings.filters
    # It stays. Whoever sets filters of their own since has put them before it.
    if not filters or filters[0] is not _FILTER:
        filters.insert(0, _FILTER)
        if filters.count(_FILTER) > 1:
            del filters[len(filters) - 1 - filters[::-1].index(_FILTER)]
    _here.depth += 1
    try:
        yield
    finally:
        _here.depth -= 1
