"""Failed attempts to sign in: each one more makes the next wait longer."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

__all__ = ["Attempts"]

_FREE = 5
"""Failures that cost nothing: people mistype."""

_LONGEST_S = 900.0
_FORGET_S = 3600.0
"""Failures count no more after an hour without another."""

_MAX_KEYS = 10_000
"""Addresses and names that are remembered; the oldest are forgotten first."""


@dataclass(slots=True)
class _Failures:
    count: int
    last_s: float


class Attempts:
    """Counts failures by address and by name.

    Parameters
    ----------
    now_s : callable
        A monotonic clock in seconds.

    """

    def __init__(self, now_s: Callable[[], float] = time.monotonic) -> None:
        self._now_s = now_s
        self._failures: OrderedDict[str, _Failures] = OrderedDict()
        self._lock = threading.Lock()

    def wait_s(self, *, address: str, name: str) -> float:
        """Return how long the next attempt must wait, in seconds; 0: not at all."""
        now = self._now_s()
        with self._lock:
            waits = [self._wait_of(key, now) for key in _keys(address, name)]
        return max(waits)

    def failed(self, *, address: str, name: str) -> None:
        """Count a failure."""
        now = self._now_s()
        with self._lock:
            for key in _keys(address, name):
                known = self._failures.pop(key, None)
                count = 0
                if known is not None and now - known.last_s < _FORGET_S:
                    count = known.count
                self._failures[key] = _Failures(count + 1, now)
            while len(self._failures) > _MAX_KEYS:
                self._failures.popitem(last=False)

    def succeeded(self, *, address: str, name: str) -> None:
        """Forget the failures of who has signed in."""
        with self._lock:
            for key in _keys(address, name):
                self._failures.pop(key, None)

    def _wait_of(self, key: str, now: float) -> float:
        known = self._failures.get(key)
        if known is None or known.count < _FREE or now - known.last_s >= _FORGET_S:
            return 0.0
        delay = min(2.0 ** min(known.count - _FREE, 10), _LONGEST_S)
        return max(0.0, known.last_s + delay - now)


def _keys(address: str, name: str) -> tuple[str, str]:
    return f"address {address}", f"name {name[:64]}"
