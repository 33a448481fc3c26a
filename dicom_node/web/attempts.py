"""Attempts to sign in: each is counted before its password is compared.

Who guesses a name's password waits ever longer, at their own address alone: nobody
locks out another by failing in their name. An address that fails with many names
waits too, but never long, since a hospital may come from one.
"""

from __future__ import annotations

import ipaddress
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

__all__ = ["Attempts"]


@dataclass(frozen=True, slots=True)
class _Limit:
    free: int
    """Failures that cost nothing: people mistype."""
    longest_s: float
    """The wait doubles with each failure up to this."""


_BY_NAME = _Limit(5, 900.0)
"""For one name at one address."""

_BY_ADDRESS = _Limit(20, 15.0)
"""For all names at one address."""

_FORGET_S = 3600.0
"""Failures count no more after an hour without another."""

_MAX_KEYS = 10_000
"""Addresses and names that are remembered; the oldest are forgotten first."""

_Key: TypeAlias = tuple[str, ...]


@dataclass(slots=True)
class _Failures:
    count: int
    last_s: float


class Attempts:
    """Counts attempts by address, and by name and address.

    Parameters
    ----------
    now_s : callable
        A monotonic clock in seconds.

    """

    def __init__(self, now_s: Callable[[], float] = time.monotonic) -> None:
        self._now_s = now_s
        self._failures: OrderedDict[_Key, _Failures] = OrderedDict()
        self._lock = threading.Lock()

    def begin(self, *, address: str, name: str) -> float:
        """Count an attempt as a failure until it succeeds.

        However many come at once, no more are let through than one after the other
        would be.

        Returns
        -------
        float
            0: the password may be compared. Else nothing was counted, and the next
            attempt must wait so long, in seconds.

        """
        now = self._now_s()
        keys = _keys(address, name)
        with self._lock:
            wait_s = max(self._wait_of(key, limit, now) for key, limit in keys)
            if wait_s > 0:
                return wait_s
            for key, _ in keys:
                known = self._failures.pop(key, None)
                count = 0
                if known is not None and now - known.last_s < _FORGET_S:
                    count = known.count
                self._failures[key] = _Failures(count + 1, now)
            while len(self._failures) > _MAX_KEYS:
                self._failures.popitem(last=False)
        return 0.0

    def succeeded(self, *, address: str, name: str) -> None:
        """Forget the failures of who has signed in.

        The address keeps those of other names: one own password allows no guesses
        at others'.
        """
        (by_name, _), (by_address, _) = _keys(address, name)
        with self._lock:
            self._failures.pop(by_name, None)
            self._take_back(by_address)

    def forget(self, *, address: str, name: str) -> None:
        """Count an attempt no more that was never compared."""
        with self._lock:
            for key, _ in _keys(address, name):
                self._take_back(key)

    def _take_back(self, key: _Key) -> None:
        known = self._failures.get(key)
        if known is not None:
            known.count -= 1
            if known.count <= 0:
                del self._failures[key]

    def _wait_of(self, key: _Key, limit: _Limit, now: float) -> float:
        known = self._failures.get(key)
        if known is None or known.count < limit.free or now - known.last_s >= _FORGET_S:
            return 0.0
        delay_s = min(2.0 ** min(known.count - limit.free, 10), limit.longest_s)
        return max(0.0, known.last_s + delay_s - now)


def _keys(address: str, name: str) -> tuple[tuple[_Key, _Limit], tuple[_Key, _Limit]]:
    place = _place(address)
    return ((place, name[:64]), _BY_NAME), ((place,), _BY_ADDRESS)


def _place(address: str) -> str:
    """Return an address, of IPv6 the network: one machine has all of its addresses."""
    try:
        found = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return address
    if found.version == 4:
        return str(found)
    if found.ipv4_mapped is not None:
        return str(found.ipv4_mapped)
    return str(ipaddress.ip_network((found, 64), strict=False))
