"""Count the samples of every dataset, modality and label, once per build."""

from __future__ import annotations

import json
import logging
import os
from array import array
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from training.errors import RecordError
from training.layout import RECORDS_FILE, SHARDS_FILE, Shard
from training.stream.permutation import key_of

__all__ = ["Census", "take_census"]

_log = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class Census:
    """Which samples show which label; ``dataset/modality/label`` names a group.

    A sample without a present region belongs to the group with an empty label.
    """

    names: tuple[str, ...]
    starts: NDArray[np.int64]
    """(groups + 1,) where each group begins in `lines`"""
    lines: NDArray[np.int64]
    """(memberships,) lines of ``records.jsonl``; on disk, mapped into memory"""

    def group(self, number: int) -> NDArray[np.int64]:
        """Return the lines of one group."""
        return self.lines[int(self.starts[number]) : int(self.starts[number + 1])]

    @property
    def sizes(self) -> tuple[int, ...]:
        """Samples of each group."""
        return tuple(np.diff(self.starts).tolist())


def take_census(
    folder: Path, shards: Sequence[Shard], *, cache: Path | None = None
) -> Census:
    """Read every record of `shards` and group their lines.

    The result is kept in `cache` (the build itself where it may be written to) and
    read from there the next time.

    Raises
    ------
    RecordError
        A line is no record; the message says which.
    """
    name = f"census-{key_of(_digest(folder), *(s.first for s in shards)):016x}"
    path = (cache or folder) / f"{name}.json"
    lines_path = path.with_suffix(".npy")
    if not path.exists():
        census = _count(folder, shards)
        try:
            _keep(census, path)
        except OSError:
            _log.warning("census_not_kept folder=%s", folder.name)
            return census
    raw = json.loads(path.read_text(encoding="utf-8"))
    return Census(
        tuple(raw["names"]),
        np.asarray(raw["starts"], dtype=np.int64),
        np.load(lines_path, mmap_mode="r", allow_pickle=False),
    )


def _digest(folder: Path) -> str:
    size = (folder / RECORDS_FILE).stat().st_size
    return f"{size}|{(folder / SHARDS_FILE).read_text(encoding='utf-8')}"


def _keep(census: Census, path: Path) -> None:
    """Write both files; the one that is asked for comes last and whole."""
    own = path.with_name(f"{path.stem}-{os.getpid()}.npy")
    np.save(own, census.lines, allow_pickle=False)
    own.replace(path.with_suffix(".npy"))
    text = json.dumps({"names": census.names, "starts": census.starts.tolist()})
    whole = path.with_name(f"{path.stem}-{os.getpid()}.json")
    whole.write_text(text, encoding="utf-8")
    whole.replace(path)


def _count(folder: Path, shards: Sequence[Shard]) -> Census:
    wanted = sorted((shard.first, shard.first + shard.samples) for shard in shards)
    groups: dict[str, array[int]] = {}
    spans = iter(wanted)
    begin, end = next(spans, (0, 0))
    with (folder / RECORDS_FILE).open("rb") as stream:
        for number, line in enumerate(stream):
            while number >= end:
                begin, end = next(spans, (-1, -1))
                if begin < 0:
                    break
            if begin < 0:
                break
            if number >= begin:
                for name in _groups_of(line, number):
                    groups.setdefault(name, array("q")).append(number)
    names = tuple(sorted(groups))
    sizes = [len(groups[name]) for name in names]
    lines = np.zeros(sum(sizes), dtype=np.int64)
    starts = np.concatenate(([0], np.cumsum(sizes))).astype(np.int64)
    for place, name in enumerate(names):
        lines[starts[place] : starts[place + 1]] = groups.pop(name)
    return Census(names, starts, lines)


def _groups_of(line: bytes, number: int) -> set[str]:
    try:
        raw = json.loads(line)
        head = f"{raw['dataset']}/{raw['modality']}"
        labels = {
            region.get("label") or region["phrase"]
            for region in raw["grounding"]["regions"]
            if region["bbox"] and not region["ignore"]
        }
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise RecordError(f"line {number} of {RECORDS_FILE}: {error!r}") from error
    return {f"{head}/{label}" for label in labels or {""}}
