"""Work through a dataset block by block; what is done stays done.

A block is a run of consecutive images of one reader. Its result is three files named
by what it depends on (settings, specification, files of the dataset), so that a build
that was stopped goes on, and one that changed begins again where it must:

``block-000000.bin``
    One chunk per sample: a line of JSON that names key and members, then the members,
    the record first.
``block-000000.npy``
    One `ROW` per sample: all that clusters, splits and shards are made of.
``block-000000.json``
    The counts. It is written last and marks the block as done.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from itertools import islice
from pathlib import Path
from typing import IO, cast

import numpy as np

from training.build.draws import hash_number
from training.build.near import THUMBNAIL, is_flat
from training.build.samples import Sample, samples_of
from training.build.settings import BuildSettings
from training.readers.source import Reader, SourceImage
from training.records import ImageRecord
from training.registry import DatasetSpec

__all__ = [
    "ROW",
    "SPLITS",
    "BlockTask",
    "block_files",
    "process_block",
    "read_chunk",
    "write_whole",
]

SPLITS = ("train", "val", "test")
"""From the least to the most protected."""

ROW = np.dtype(
    [
        ("at", "<i8"),
        ("bytes", "<i8"),
        ("order", "<u8"),
        ("bits", "<u8"),
        ("pixels", "S32"),
        ("says", "S16"),
        ("patient", "S32"),
        ("modality", "S16"),
        ("split", "<i1"),
        ("flat", "?"),
        ("thumbnail", "u1", (THUMBNAIL, THUMBNAIL)),
    ]
)
"""Place of the chunk; order in the shards; difference hash; digests of the pixels and
of what is said of them; pseudonym; modality; row of `SPLITS` or -1; whether it
shows nothing; thumbnail."""


@dataclass(frozen=True)
class BlockTask:
    """One piece of work, the same for every kind of worker."""

    reader: str
    """``module:function``"""
    root: str
    spec: DatasetSpec
    settings: BuildSettings
    number: int
    folder: str
    """Where the results go"""


def block_files(folder: Path, number: int) -> tuple[Path, Path, Path]:
    """Return the paths of chunks, rows and counts of a block."""
    base = folder / f"block-{number:06d}"
    return base.with_suffix(".bin"), base.with_suffix(".npy"), base.with_suffix(".json")


def process_block(task: BlockTask) -> None:
    """Run the per-image stages on one block, unless that is done already."""
    chunks, rows, counts = block_files(Path(task.folder), task.number)
    if counts.exists():
        return
    drops: Counter[str] = Counter()
    found: list[np.void] = []
    images = regions = lost = 0
    with _whole(chunks) as stream:
        for image in _images(task):
            images += 1
            before = len(found)
            for sample in samples_of(image, task.spec, task.settings, drops):
                at = stream.tell()
                stream.write(_chunk(sample))
                found.append(_row(sample, task, at=at, length=stream.tell() - at))
                regions += len(sample.record.regions)
            lost += len(found) == before
    table = np.array(found, dtype=ROW)
    buffer = io.BytesIO()
    np.save(buffer, table, allow_pickle=False)
    write_whole(rows, buffer.getvalue())
    summary = {
        "images": images,
        "images_without_sample": lost,
        "samples": len(found),
        "regions": regions,
        "dropped": {key: drops[key] for key in sorted(drops) if drops[key]},
    }
    write_whole(counts, json.dumps(summary).encode())


def write_whole(path: Path, content: bytes) -> None:
    """Write a file that is there completely or not at all."""
    with _whole(path) as stream:
        stream.write(content)


@contextmanager
def _whole(path: Path) -> Iterator[IO[bytes]]:
    """Open a file that gets its name when everything is in it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f"{path.name}.{os.getpid()}.part")
    with part.open("wb") as stream:
        yield stream
        stream.flush()
        os.fsync(stream.fileno())
    part.replace(path)


_open_readers: dict[tuple[str, str, str], tuple[int, Iterator[SourceImage]]] = {}
"""Readers of this process that stand behind the block they gave last: a worker that
gets growing block numbers reads the annotations of a dataset once."""


def _images(task: BlockTask) -> list[SourceImage]:
    """Return the images of a block, going on from the last one where possible."""
    key = (task.reader, task.root, task.spec.model_dump_json())
    begin = task.number * task.settings.block
    position, source = _open_readers.pop(key, (0, None))
    if source is None or position > begin:
        module, function = task.reader.split(":")
        reader = cast(Reader, getattr(import_module(module), function))
        position, source = 0, iter(reader(Path(task.root), task.spec))
    images = list(
        islice(source, begin - position, begin - position + task.settings.block)
    )
    _open_readers.clear()
    if len(images) == task.settings.block:
        _open_readers[key] = begin + len(images), source
    return images


def _chunk(sample: Sample) -> bytes:
    members = [("json", sample.record.to_json().encode()), *sample.members]
    head = {
        "key": sample.key,
        "members": [[extension, len(content)] for extension, content in members],
    }
    return b"".join(
        [json.dumps(head).encode(), b"\n", *(content for _, content in members)]
    )


def read_chunk(chunk: bytes) -> tuple[str, list[tuple[str, bytes]]]:
    """Return the key and the members (extension, content) of a sample."""
    line, _, body = chunk.partition(b"\n")
    head = json.loads(line)
    members = []
    at = 0
    for extension, length in head["members"]:
        members.append((extension, body[at : at + length]))
        at += length
    return head["key"], members


def _row(sample: Sample, task: BlockTask, *, at: int, length: int) -> np.void:
    record = sample.record
    row = np.zeros((), dtype=ROW)
    row["at"], row["bytes"] = at, length
    row["order"] = hash_number(task.settings.seed, "order", sample.key)
    row["bits"] = sample.fingerprint.bits
    row["pixels"] = record.sha256[:32].encode()
    row["says"] = _says(record)
    row["patient"] = record.patient_key.encode()
    row["modality"] = record.modality.encode()[:16]
    row["split"] = SPLITS.index(record.split) if record.split else -1
    row["thumbnail"] = sample.fingerprint.thumbnail
    row["flat"] = is_flat(sample.fingerprint.thumbnail)
    return cast(np.void, row[()])


def _says(record: ImageRecord) -> bytes:
    """Return a digest of labels and places, without their wording."""
    said = sorted(
        json.dumps([one.label, one.status, one.ignore, one.bbox])
        for one in record.regions
        if one.source != "label space"
    )
    text = json.dumps([said, sorted(record.label_space or ())])
    return hashlib.sha256(text.encode()).hexdigest()[:16].encode()
