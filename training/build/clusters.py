"""Keep together what shows one body, and give each cluster one split.

Patients are joined when pictures of theirs are the same or nearly so: datasets
repackage each other, and some name no patients at all. A cluster with an official test
image is test for every dataset; what another split of that cluster holds is left out.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from training.build.blocks import SPLITS
from training.build.draws import hash_number
from training.build.near import correlation, near_pairs
from training.build.settings import BuildSettings
from training.errors import DatasetError

__all__ = ["Clusters", "assert_disjoint", "find_clusters"]

LEAK = "belongs with an image of a more protected split"
DUPLICATE = "same pixels and same labels as an image before it"

Table = NDArray[Any]
"""Rows of `training.build.blocks.ROW`"""


@dataclass(frozen=True, eq=False)
class Clusters:
    """Where every sample goes."""

    cluster: NDArray[np.int64]
    """(samples,) row of `names`"""
    names: tuple[str, ...]
    split: NDArray[np.int8]
    """(samples,) row of `SPLITS`; -1: left out"""
    reasons: dict[int, str]
    """Sample to why it is left out"""
    links: dict[str, int]
    """How many pairs of patients were joined by equal, and by similar pictures"""


class _Union:
    """Disjoint sets of numbers, joined pair by pair."""

    def __init__(self, number: int) -> None:
        self._above = np.arange(number)

    def find(self, one: int) -> int:
        root = one
        while self._above[root] != root:
            root = int(self._above[root])
        while self._above[one] != root:
            self._above[one], one = root, int(self._above[one])
        return root

    def join(self, one: int, other: int) -> bool:
        """Join two sets; False when they are one already."""
        a, b = sorted((self.find(one), self.find(other)))
        self._above[b] = a
        return a != b

    def roots(self) -> NDArray[np.int64]:
        return np.array([self.find(one) for one in range(len(self._above))], np.int64)


def find_clusters(
    rows: Table,
    *,
    settings: BuildSettings,
    thumbnail: Callable[[int], NDArray[np.uint8]],
) -> Clusters:
    """Join, split, and leave out leaks and duplicates.

    Parameters
    ----------
    rows
        All samples, in the order in which the first of equal ones is kept.
    thumbnail
        Loads the thumbnail of a sample.
    """
    patients, owner = np.unique(rows["patient"], return_inverse=True)
    union = _Union(len(patients))
    links = Counter({"equal pictures": 0, "similar pictures": 0})
    equal = _equal(rows)
    for one, other in equal:
        links["equal pictures"] += union.join(int(owner[one]), int(owner[other]))
    _join_similar(rows, owner, union, links, settings=settings, thumbnail=thumbnail)
    roots, cluster = np.unique(union.roots()[owner], return_inverse=True)
    # The smallest pseudonym of a cluster names it: `np.unique` sorts, `join` keeps
    # the smaller root.
    names = tuple(f"c{patients[root].decode()[:16]}" for root in roots)
    split, reasons = _split(rows, cluster, names, settings=settings)
    for one, other in equal:
        is_same = rows["says"][one] == rows["says"][other]
        if is_same and split[one] >= 0 and split[other] >= 0:
            split[other] = -1
            reasons[other] = DUPLICATE
    assert_disjoint(cluster, split)
    return Clusters(cluster, names, split, reasons, dict(links))


def _equal(rows: Table) -> list[tuple[int, int]]:
    """Return (first, later) of every later sample with the pixels of an earlier one.

    Pictures that show nothing, such as the black ends of volumes, are equal without
    having anything in common.
    """
    shown = np.flatnonzero(~rows["flat"])
    _, first, group = np.unique(
        rows["pixels"][shown], return_index=True, return_inverse=True
    )
    earliest = shown[first[group]]
    later = np.flatnonzero(earliest != shown)
    return list(zip(earliest[later].tolist(), shown[later].tolist(), strict=True))


def _join_similar(
    rows: Table,
    owner: NDArray[np.int64],
    union: _Union,
    links: Counter[str],
    *,
    settings: BuildSettings,
    thumbnail: Callable[[int], NDArray[np.uint8]],
) -> None:
    # Pictures that show nothing resemble each other without having anything in
    # common, and there are too many of them to compare.
    shown = np.flatnonzero(~rows["flat"])
    _, modality = np.unique(rows["modality"][shown], return_inverse=True)
    pairs = near_pairs(
        rows["bits"][shown],
        bits=settings.near_bits,
        groups=modality,
        owners=union.roots()[owner[shown]],
    )
    for one, other in ((int(shown[a]), int(shown[b])) for a, b in pairs):
        a, b = int(owner[one]), int(owner[other])
        if union.find(a) == union.find(b):
            continue
        alike = correlation(thumbnail(one), thumbnail(other))
        if alike >= settings.near_correlation:
            links["similar pictures"] += union.join(a, b)


def _split(
    rows: Table,
    cluster: NDArray[np.int64],
    names: tuple[str, ...],
    *,
    settings: BuildSettings,
) -> tuple[NDArray[np.int8], dict[int, str]]:
    """Return the split of each sample: official, else drawn from the cluster."""
    official = np.full(len(names), -1, dtype=np.int8)
    np.maximum.at(official, cluster, rows["split"])
    for number, name in enumerate(names):
        if official[number] < 0:
            official[number] = _drawn(name, settings)
    split = official[cluster]
    leaks = np.flatnonzero((rows["split"] >= 0) & (rows["split"] < split))
    split[leaks] = -1
    return split, dict.fromkeys(leaks.tolist(), LEAK)


def _drawn(name: str, settings: BuildSettings) -> int:
    percent = hash_number(settings.seed, "split", name) % 100
    if percent < settings.test_percent:
        return SPLITS.index("test")
    is_val = percent < settings.test_percent + settings.val_percent
    return SPLITS.index("val" if is_val else "train")


def assert_disjoint(cluster: NDArray[np.int64], split: NDArray[np.int8]) -> None:
    """Raise `DatasetError` if a cluster has samples in two splits."""
    kept = split >= 0
    pairs = np.unique(np.stack([cluster[kept], split[kept]]), axis=1)
    if pairs.shape[1] != len(np.unique(pairs[0])):
        raise DatasetError("a cluster of patients lies in two splits")
