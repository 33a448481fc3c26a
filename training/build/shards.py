"""Write shards: plain tars whose bytes depend on their samples alone."""

from __future__ import annotations

import hashlib
import json
import tarfile
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np

from training.build.blocks import read_chunk, write_whole
from training.layout import Shard
from training.records import ImageRecord

__all__ = ["SampleSource", "ShardTask", "read_done", "write_shard"]

_BLOCK = 512
"""A tar is made of blocks of so many bytes."""


@dataclass(frozen=True, slots=True)
class SampleSource:
    """Where a sample waits for its shard."""

    chunks: str
    """File of chunks"""
    at: int
    bytes: int
    cluster: str


@dataclass(frozen=True)
class ShardTask:
    """One shard to write."""

    name: str
    split: str
    first: int
    samples: tuple[SampleSource, ...]
    shards: str
    """Folder of the shards"""
    work: str
    """Folder of what is kept to resume"""

    @property
    def digest(self) -> str:
        """Name what the shard is made of; chunk files are named by their content."""
        told = [self.name, self.split, self.first]
        places = [
            [*Path(one.chunks).parts[-2:], one.at, one.bytes, one.cluster]
            for one in self.samples
        ]
        return hashlib.sha256(json.dumps([told, places]).encode()).hexdigest()


def write_shard(task: ShardTask) -> None:
    """Write tar, index and record lines of a shard, unless that is done already."""
    if read_done(task) is not None:
        return
    shard = Path(task.shards) / task.name
    offsets = [0]
    lines: list[bytes] = []
    digest = hashlib.sha256()
    part = shard.with_suffix(".tar.part")
    part.parent.mkdir(parents=True, exist_ok=True)
    with part.open("wb") as stream:
        for sample in task.samples:
            line, data = _tarred(sample, task.split)
            stream.write(data)
            digest.update(data)
            lines.append(line + b"\n")
            offsets.append(offsets[-1] + len(data))
        # Two empty blocks, filled up to a record of twenty, end a tar (POSIX ustar).
        end = bytes(-(offsets[-1] + 2 * _BLOCK) % tarfile.RECORDSIZE + 2 * _BLOCK)
        stream.write(end)
        digest.update(end)
    part.replace(shard)
    write_whole(shard.with_suffix(".idx"), np.asarray(offsets, "<i8").tobytes())
    work = Path(task.work)
    write_whole(work / f"{task.digest}.jsonl", b"".join(lines))
    done = Shard(
        name=task.name,
        split=task.split,
        samples=len(task.samples),
        first=task.first,
        bytes=offsets[-1] + len(end),
        sha256=digest.hexdigest(),
    )
    write_whole(work / f"{task.digest}.json", json.dumps(asdict(done)).encode())


def read_done(task: ShardTask) -> Shard | None:
    """Return what was written for this very task, or None."""
    try:
        raw = json.loads((Path(task.work) / f"{task.digest}.json").read_bytes())
    except FileNotFoundError:
        return None
    done = Shard(**raw)
    tar = Path(task.shards) / done.name
    is_there = tar.exists() and tar.stat().st_size == done.bytes
    return done if is_there and tar.with_suffix(".idx").exists() else None


def _tarred(sample: SampleSource, split: str) -> tuple[bytes, bytes]:
    """Return the final record line and the tar blocks of one sample."""
    with Path(sample.chunks).open("rb") as stream:
        stream.seek(sample.at)
        key, members = read_chunk(stream.read(sample.bytes))
    record = ImageRecord.from_json(members[0][1])
    line = replace(record, split=split, cluster=sample.cluster).to_json().encode()
    return line, b"".join(_member_blocks(key, [("json", line), *members[1:]]))


def _member_blocks(key: str, members: Sequence[tuple[str, bytes]]) -> Iterator[bytes]:
    for extension, content in members:
        info = tarfile.TarInfo(f"{key}.{extension}")
        info.size = len(content)
        info.mode = 0o644
        yield info.tobuf(tarfile.USTAR_FORMAT)
        yield content
        yield bytes(-len(content) % _BLOCK)
