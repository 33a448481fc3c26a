"""Shuffle any number of things without writing the order down.

References
----------
M. Luby and C. Rackoff, How to construct pseudorandom permutations from pseudorandom
functions, SIAM J. Comput. 17 (1988): a Feistel network of four rounds. Places beyond
the length are walked on until one falls inside (J. Black and P. Rogaway, Ciphers with
arbitrary finite domains, CT-RSA 2002).
"""

from __future__ import annotations

import hashlib

__all__ = ["Permutation", "key_of"]

_MASK = (1 << 64) - 1


def key_of(*parts: int | str) -> int:
    """Return 64 bits that depend on every part and on their order."""
    text = "|".join(map(str, parts)).encode()
    return int.from_bytes(hashlib.blake2b(text, digest_size=8).digest(), "little")


class Permutation:
    """A one-to-one map of [0, length) onto itself, the same for the same key.

    It holds four numbers, whatever the length.
    """

    def __init__(self, length: int, key: int) -> None:
        self.length = length
        self._half = max(1, (max(length - 1, 1).bit_length() + 1) // 2)
        self._side = (1 << self._half) - 1
        self._keys = tuple(_mix(key + round_) for round_ in range(4))

    def __call__(self, place: int) -> int:
        """Return what lies at `place` of the shuffled order."""
        if not 0 <= place < self.length:
            raise IndexError(place)
        while True:
            place = self._encrypt(place)
            if place < self.length:
                return place

    def _encrypt(self, value: int) -> int:
        left, right = value >> self._half, value & self._side
        for key in self._keys:
            left, right = right, left ^ (_mix(right ^ key) & self._side)
        return left << self._half | right


def _mix(value: int) -> int:
    """Spread the bits of a 64-bit number (the finaliser of splitmix64)."""
    value = (value + 0x9E3779B97F4A7C15) & _MASK
    value = ((value ^ value >> 30) * 0xBF58476D1CE4E5B9) & _MASK
    value = ((value ^ value >> 27) * 0x94D049BB133111EB) & _MASK
    return value ^ value >> 31
