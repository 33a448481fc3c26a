"""Fetch one sample of a build by its number, from any process."""

from __future__ import annotations

import os
import tarfile
from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from training.errors import DatasetError
from training.layout import (
    SHARDS_FOLDER,
    Shard,
    index_of,
    read_sample,
    read_shards,
)

__all__ = ["SampleStore", "ShardStore", "shards_of"]

_OPEN_FILES = 64
"""Tar files that one process keeps open."""


class SampleStore(Protocol):
    """Gives the members of a sample."""

    def members(self, line: int) -> dict[str, bytes]:
        """Return extension to bytes, as `training.layout.read_sample` does."""
        ...


def shards_of(folder: Path, split: str) -> tuple[Shard, ...]:
    """Return the shards of one split.

    Raises
    ------
    DatasetError
        The folder holds no build, or nothing of this split.
    """
    shards = tuple(s for s in read_shards(folder) if s.split == split and s.samples)
    if not shards:
        raise DatasetError(f"{folder} has no sample of the split {split!r}")
    return shards


class ShardStore:
    """Random access to the tar files of a build.

    Reading leaves no trace in the object, so that processes may share it after a
    fork; files are opened where they are first needed.
    """

    def __init__(self, folder: Path, shards: Sequence[Shard]) -> None:
        self._folder = folder / SHARDS_FOLDER
        self._shards = sorted(shards, key=lambda shard: shard.first)
        self._firsts = np.array([shard.first for shard in self._shards])
        self._open: OrderedDict[int, tuple[int, NDArray[np.int64]]] = OrderedDict()

    def members(self, line: int) -> dict[str, bytes]:
        """Return the members of the sample of one line of ``records.jsonl``.

        Raises
        ------
        DatasetError
            The tar, or what its index says of it, is not there or no sample.
        """
        at = int(np.searchsorted(self._firsts, line, side="right")) - 1
        if at < 0 or line - self._shards[at].first >= self._shards[at].samples:
            raise DatasetError(f"line {line} is in none of the shards")
        shard = self._shards[at]
        try:
            descriptor, offsets = self._file(at)
            begin, end = offsets[line - shard.first : line - shard.first + 2].tolist()
            data = os.pread(descriptor, end - begin, begin)
            if len(data) != end - begin:
                raise DatasetError(f"{shard.name} is shorter than its index says")
            return read_sample(data)
        except (OSError, ValueError, tarfile.TarError) as error:
            raise DatasetError(f"{shard.name} cannot be read: {error}") from error

    def _file(self, at: int) -> tuple[int, NDArray[np.int64]]:
        if at not in self._open:
            path = self._folder / self._shards[at].name
            offsets = index_of(path)
            self._open[at] = os.open(path, os.O_RDONLY), offsets
            if len(self._open) > _OPEN_FILES:
                os.close(self._open.popitem(last=False)[1][0])
        self._open.move_to_end(at)
        return self._open[at]

    def close(self) -> None:
        """Close every file; the next read opens what it needs."""
        while self._open:
            os.close(self._open.popitem()[1][0])

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_open": OrderedDict()}

    def __del__(self) -> None:
        if hasattr(self, "_open"):
            self.close()
