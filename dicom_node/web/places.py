"""Who holds the connections of the web server, and who gives one up."""

from __future__ import annotations

import enum
from collections import Counter
from collections.abc import Hashable
from typing import Generic, TypeVar

from dicom_node.shares import Shares, holder_of

__all__ = ["Places", "Stage"]

_T = TypeVar("_T", bound=Hashable)

_FEW = 6
"""Connections that a browser opens to one host: who holds no more takes the place of
whoever waits."""


class Stage(enum.Enum):
    """What a connection is about; who is about the least gives it up first."""

    WAITING = enum.auto()
    """No request of it is being received or answered."""
    RECEIVING = enum.auto()
    """The body of a request comes in."""
    ANSWERING = enum.auto()
    """The node has all of a request and works on it."""


class Places(Generic[_T]):
    """Open connections by what they are about, and by their holders."""

    def __init__(self) -> None:
        self._shares: dict[Stage, Shares[_T]] = {stage: Shares() for stage in Stage}
        self._of: dict[_T, tuple[str, Stage]] = {}

    def __len__(self) -> int:
        return len(self._of)

    def put(self, one: _T, address: str, *, stage: Stage) -> None:
        """Give a place to a connection of an address."""
        self._of[one] = (address, stage)
        self._shares[stage].put(one, address)

    def move(self, one: _T, stage: Stage) -> None:
        """Note what a connection is about now, if it has a place."""
        known = self._of.get(one)
        if known is not None and known[1] is not stage:
            self._shares[known[1]].discard(one)
            self.put(one, known[0], stage=stage)

    def free(self, one: _T) -> None:
        """Take the place back from a connection that has ended."""
        known = self._of.pop(one, None)
        if known is not None:
            self._shares[known[1]].discard(one)

    def choose_to_end(self, *, newcomer: str) -> _T | None:
        """Choose the connection that ends to make room for one more.

        One that waits ends first, but who holds many takes it from itself alone: what
        others have just opened waits too, until their request is read. Where none
        waits, a newcomer takes a place only from who would still hold as many as it:
        nobody is cut only to change places.

        Parameters
        ----------
        newcomer : str
            The address that asks for a place, where it has none yet.

        Returns
        -------
        connection or None
            None: the newcomer is one too many.

        """
        waiting = self._shares[Stage.WAITING]
        found = waiting.first_of_most()
        if found is not None:
            counts = sum((one.counts() for one in self._shares.values()), Counter())
            own, its = holder_of(newcomer), holder_of(self._of[found][0])
            if counts[own] > max(_FEW, counts[its]):
                return waiting.first_of(own)
            return found
        receiving, answering = (
            self._shares[Stage.RECEIVING],
            self._shares[Stage.ANSWERING],
        )
        counts = receiving.counts() + answering.counts()
        if not counts:
            return None
        most, count = counts.most_common(1)[0]
        if count <= counts[holder_of(newcomer)] + 1:
            return None
        found = receiving.first_of(most)
        return answering.first_of(most) if found is None else found
