"""Say which sample the n-th draw takes: a formula, so that any place can be resumed.

References
----------
The square root of the number of samples as a group's share: Z. Zhao et al., One model
to rule them all: towards universal segmentation for medical images with text prompts
(SAT), arXiv 2312.17183.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Any, Generic, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from training.errors import ConfigError
from training.stream.permutation import Permutation, key_of

__all__ = ["BalancedOrder", "Order", "ShuffledOrder", "group_shares"]

_SLOTS_PER_GROUP = 16
"""A cycle of the balanced order has so many slots per group, so that shares are exact
to a few per cent and every group comes in every cycle."""


class Order(Protocol):
    """Maps draws to samples."""

    def sample(self, draw: int) -> int:
        """Return the line of ``records.jsonl`` that draw number `draw` takes."""
        ...


_T = TypeVar("_T")


class _Remembered(Generic[_T]):
    """A function with its last answers; unlike ``lru_cache`` it can be sent away."""

    def __init__(self, function: Callable[..., _T], size: int) -> None:
        self._function, self._size = function, size
        self._answers: dict[tuple[int, ...], _T] = {}

    def __call__(self, *arguments: int) -> _T:
        """Return what the function returns."""
        if arguments not in self._answers:
            while len(self._answers) >= self._size:
                del self._answers[next(iter(self._answers))]
            self._answers[arguments] = self._function(*arguments)
        return self._answers[arguments]

    def __reduce__(self) -> tuple[Any, ...]:
        return _Remembered, (self._function, self._size)


class ShuffledOrder:
    """Every sample once per epoch, in another order each time.

    Parameters
    ----------
    firsts, counts
        (shards,) first line and number of samples of each shard.
    window
        Shards that are mixed with each other; what lies in one window is read
        together, which a disk or an object store thanks. 0: all.
    """

    def __init__(
        self,
        firsts: Sequence[int],
        counts: Sequence[int],
        *,
        seed: int,
        window: int = 0,
    ) -> None:
        self._firsts = np.asarray(firsts, dtype=np.int64)
        self._counts = np.asarray(counts, dtype=np.int64)
        self._seed = seed
        self._window = window or len(self._counts)
        self.length = int(self._counts.sum())
        if self.length < 1:
            raise ConfigError("there is no sample to stream")
        self._shards = _Remembered(self._shards_of, 2)
        self._mixed = _Remembered(Permutation, 4)

    def sample(self, draw: int) -> int:
        """Return the line of ``records.jsonl`` that draw number `draw` takes."""
        epoch, place = divmod(draw, self.length)
        shards, ends = self._shards(epoch)
        at = int(np.searchsorted(ends, place, side="right"))
        first_shard = at // self._window * self._window
        last_shard = min(first_shard + self._window, len(ends)) - 1
        begin = int(ends[first_shard - 1]) if first_shard else 0
        key = key_of(self._seed, "window", epoch, first_shard)
        mixed = self._mixed(int(ends[last_shard]) - begin, key)
        place = begin + mixed(place - begin)
        at = int(np.searchsorted(ends, place, side="right"))
        inside = place - (int(ends[at - 1]) if at else 0)
        return int(self._firsts[shards[at]]) + inside

    def _shards_of(self, epoch: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return the shards in the order of an epoch, and where each of them ends."""
        rng = np.random.default_rng(key_of(self._seed, "shards", epoch))
        shards = rng.permutation(len(self._counts)).astype(np.int64)
        return shards, np.cumsum(self._counts[shards])


class BalancedOrder:
    """Groups by their shares, and within a group every sample once before one twice.

    Draws go in cycles: a cycle has a fixed number of slots for each group, shuffled.
    So the k-th draw of a group is known without counting, at any place.

    Parameters
    ----------
    groups
        For each group the lines of its samples; a sample may be in several.
    shares
        (groups,) how often each is drawn; any positive scale.
    """

    def __init__(
        self,
        groups: Sequence[NDArray[np.int64]],
        shares: Sequence[float],
        *,
        seed: int,
    ) -> None:
        used = [i for i, share in enumerate(shares) if share > 0 and len(groups[i])]
        if not used:
            raise ConfigError("no group of samples has a share")
        self._groups = [groups[i] for i in used]
        self._seed = seed
        share = np.asarray([shares[i] for i in used], dtype=np.float64)
        ideal = share / share.sum() * len(used) * _SLOTS_PER_GROUP
        self._slots = np.maximum(1, np.rint(ideal)).astype(np.int64)
        self._owner = np.repeat(np.arange(len(used)), self._slots)
        self._before = np.cumsum(self._slots) - self._slots
        self._cycle = _Remembered(self._cycle_of, 2)
        self._mixed = _Remembered(Permutation, 1024)

    def sample(self, draw: int) -> int:
        """Return the line of ``records.jsonl`` that draw number `draw` takes."""
        cycle, slot = divmod(draw, len(self._owner))
        owners, turns = self._cycle(cycle)
        group = int(owners[slot])
        turn = cycle * int(self._slots[group]) + int(turns[slot])
        members = self._groups[group]
        epoch, place = divmod(turn, len(members))
        mixed = self._mixed(len(members), key_of(self._seed, "group", group, epoch))
        return int(members[mixed(place)])

    def _cycle_of(self, cycle: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return the group of each slot, and its how many-eth slot in the cycle."""
        rng = np.random.default_rng(key_of(self._seed, "cycle", cycle))
        owners = rng.permutation(self._owner)
        together = np.argsort(owners, kind="stable")
        turns = np.empty_like(owners)
        turns[together] = np.arange(len(owners)) - self._before[owners[together]]
        return owners, turns


def group_shares(
    names: Sequence[str],
    sizes: Sequence[int],
    *,
    power: float = 0.5,
    weights: Mapping[str, float] | None = None,
    shares: Mapping[str, float] | None = None,
) -> tuple[float, ...]:
    """Return how often each group is drawn; the sum is 1.

    Parameters
    ----------
    names
        ``dataset/modality/label`` of each group.
    sizes
        Samples of each group.
    power
        A group counts its size to this power: 1 as it comes, 0.5 balanced, 0 equal.
    weights
        Pattern (``*`` matches anything) to a factor: a curriculum. 0 leaves out.
    shares
        Pattern to the part of all draws that its groups have together: replay. The
        first pattern that fits counts.

    Raises
    ------
    ConfigError
        A pattern fits no group, or the shares exceed 1.
    """
    raw = np.asarray(sizes, dtype=np.float64) ** power
    for pattern, factor in (weights or {}).items():
        raw[_fitting(pattern, names)] *= factor
    left, free = 1.0, np.ones(len(names), dtype=np.bool_)
    result = np.zeros(len(names))
    for pattern, share in (shares or {}).items():
        fits = _fitting(pattern, names) & free & (raw > 0)
        left, free = left - share, free & ~fits
        if fits.any():
            result[fits] = raw[fits] / raw[fits].sum() * share
    if left < -1e-9 or min([0.0, *(weights or {}).values()]) < 0:
        raise ConfigError("shares exceed 1 together, or a weight is below 0")
    rest = float(raw[free].sum())
    if rest > 0:
        result[free] = raw[free] / rest * max(left, 0.0)
    total = float(result.sum())
    if total <= 0:
        raise ConfigError("no group of samples has a share")
    return tuple((result / total).tolist())


def _fitting(pattern: str, names: Sequence[str]) -> NDArray[np.bool_]:
    fits = np.array([fnmatchcase(name, pattern) for name in names], dtype=np.bool_)
    if not fits.any():
        raise ConfigError(f"no group of samples fits {pattern!r}")
    return fits
