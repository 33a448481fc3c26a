"""Does a process let go of what its peers made it hold?"""

from __future__ import annotations

import time
from collections.abc import Callable

from tests.torture.outcome import Figure, at_most
from tests.torture.resources import Resources

__all__ = ["MEBIBYTE", "freed", "settle"]

MEBIBYTE = 1 << 20


def settle(
    hold: Callable[[], Resources], base: Resources, *, timeout_s: float
) -> tuple[Resources, float]:
    """Wait until threads and descriptors are back; return them and how long it took."""
    began = time.monotonic()
    while True:
        now = hold()
        is_back = now.threads <= base.threads and now.descriptors <= base.descriptors
        took_s = time.monotonic() - began
        if is_back or took_s > timeout_s:
            return now, took_s
        time.sleep(0.1)


def freed(
    hold: Callable[[], Resources], base: Resources, *, timeout_s: float
) -> tuple[Figure, ...]:
    """Return the figures of what is still held when all peers are gone."""
    now, took_s = settle(hold, base, timeout_s=timeout_s)
    return (
        at_most("threads left over", max(0, now.threads - base.threads), 0),
        at_most("descriptors left over", max(0, now.descriptors - base.descriptors), 0),
        at_most("back to what it held before", round(took_s, 1), timeout_s, "s"),
    )
