"""Who goes first when places run short: one of the address that holds most of them.

Whoever opens connections without end takes places from itself and from nobody else.
"""

from __future__ import annotations

import functools
import ipaddress
from collections import Counter
from collections.abc import Callable, Hashable, Iterable
from typing import Generic, TypeVar

__all__ = ["Shares", "choose_to_end", "holder_of"]

_T = TypeVar("_T")
_H = TypeVar("_H", bound=Hashable)

_IPV6_SITE_BITS = 64
"""Whoever has one address of such a network has them all (RFC 4291 2.5.4)."""


@functools.lru_cache(maxsize=4096)
def holder_of(address: str) -> str:
    """Return whom an address belongs to: itself, or the site of an IPv6 address.

    Parameters
    ----------
    address : str
        An IPv4 or IPv6 address, with or without a zone.

    """
    plain = address.partition("%")[0]
    try:
        one = ipaddress.ip_address(plain)
    except ValueError:
        return plain
    if one.version == 4:
        return plain
    if one.ipv4_mapped is not None:
        return str(one.ipv4_mapped)
    return str(ipaddress.ip_network(f"{one}/{_IPV6_SITE_BITS}", strict=False))


def choose_to_end(
    places: Iterable[_T],
    address_of: Callable[[_T], str],
    *,
    rank: Callable[[_T], object],
    newcomer: str | None = None,
) -> _T | None:
    """Choose the place that is to be given up.

    Parameters
    ----------
    places : iterable
        What is held and can be given up.
    address_of : callable
        Returns the address that holds a place.
    rank : callable
        The place of the lowest rank goes first among those of one holder.
    newcomer : str, optional
        The address that asks for a place, where it has none yet. It takes one only
        from who would still hold as many as it: nobody is cut only to change places.

    Returns
    -------
    place or None
        None: nobody has to give up anything.

    """
    held: dict[str, list[_T]] = {}
    for one in places:
        held.setdefault(holder_of(address_of(one)), []).append(one)
    if not held:
        return None
    counts = Counter({holder: len(own) for holder, own in held.items()})
    most, count = counts.most_common(1)[0]
    if newcomer is not None and count <= counts[holder_of(newcomer)] + 1:
        return None
    return min(held[most], key=rank)  # type: ignore[arg-type]


class Shares(Generic[_H]):
    """What is held, by its holder, in the order in which it came.

    Each question costs as much as there are holders, not as there are places: whoever
    floods the node is one.
    """

    def __init__(self) -> None:
        self._held: dict[str, dict[_H, None]] = {}
        self._holders: dict[_H, str] = {}

    def __len__(self) -> int:
        return len(self._holders)

    def put(self, one: _H, address: str) -> None:
        """Add what an address holds from now on."""
        self.discard(one)
        holder = self._holders[one] = holder_of(address)
        self._held.setdefault(holder, {})[one] = None

    def discard(self, one: _H) -> None:
        """Forget what is not held any more, if it was."""
        holder = self._holders.pop(one, None)
        if holder is not None:
            own = self._held[holder]
            del own[one]
            if not own:
                del self._held[holder]

    def counts(self) -> Counter[str]:
        """Return how much each holder has."""
        return Counter({holder: len(own) for holder, own in self._held.items()})

    def first_of(self, holder: str) -> _H | None:
        """Return what a holder has had for longest; None: it has nothing."""
        return next(iter(self._held.get(holder, ())), None)

    def first_of_most(self) -> _H | None:
        """Return what the holder of most has had for longest; None: there is none."""
        if not self._held:
            return None
        return self.first_of(
            max(self._held, key=lambda holder: len(self._held[holder]))
        )

    def take_turn(self) -> _H | None:
        """Take the first of one holder, next time of the next; None: there is none."""
        if not self._held:
            return None
        holder = next(iter(self._held))
        one = next(iter(self._held[holder]))
        # Its turn comes again after everybody else's.
        self._held[holder] = self._held.pop(holder)
        self.discard(one)
        return one
