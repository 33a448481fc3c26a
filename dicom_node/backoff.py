"""How long to wait before something is tried again: longer each time, to a limit."""

from __future__ import annotations

from collections.abc import Callable

__all__ = ["delivery_delay_s"]

_FIRST_DELAY_S = 5.0
_LAST_DELAY_S = 300.0


def delivery_delay_s(
    attempts: int, draw: Callable[[float, float], float] = lambda _low, _high: 1.0
) -> float:
    """Return how long to wait after so many tries, in seconds.

    It doubles from 5 s to 5 min; the draw spreads the tries, so that a destination
    that returns does not get all of them in one moment.
    """
    delay_s = min(_LAST_DELAY_S, _FIRST_DELAY_S * 2.0 ** min(attempts, 20))
    return min(_LAST_DELAY_S, delay_s * draw(0.8, 1.2))
