"""Draw from names instead of a generator: who works when changes nothing."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import TypeVar

__all__ = ["Draws", "hash_number"]

T = TypeVar("T")


def hash_number(*parts: str) -> int:
    """Return 64 bits that depend on the texts alone, the same on every machine."""
    digest = hashlib.sha256("\x1f".join(parts).encode("utf-8", "surrogatepass"))
    return int.from_bytes(digest.digest()[:8], "big")


class Draws:
    """A row of draws that a name fixes.

    Parameters
    ----------
    parts
        What the draws hang on, such as a seed and an image.
    """

    def __init__(self, *parts: str) -> None:
        self._parts = parts
        self._count = 0

    def below(self, number: int) -> int:
        """Return the next draw in [0, number)."""
        self._count += 1
        return hash_number(*self._parts, str(self._count)) % number

    def share(self) -> float:
        """Return the next draw in [0, 1)."""
        return self.below(1 << 53) / (1 << 53)

    def choose(self, options: Sequence[T]) -> T:
        """Return one of the options."""
        return options[self.below(len(options))]

    def shuffled(self, options: Sequence[T]) -> list[T]:
        """Return the options in a drawn order (Fisher and Yates)."""
        rest = list(options)
        for last in range(len(rest) - 1, 0, -1):
            other = self.below(last + 1)
            rest[last], rest[other] = rest[other], rest[last]
        return rest
