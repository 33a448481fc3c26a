"""Look at the datasets before the work: what is there, and what has changed since."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tqdm import tqdm

from training.build.blocks import BlockTask
from training.build.settings import BuildSettings
from training.errors import ConfigError, DatasetError
from training.readers import READERS, find_reader
from training.readers.source import SourceImage
from training.registry import DatasetSpec

__all__ = ["Ingested", "Source", "fingerprint", "ingest"]


@dataclass(frozen=True)
class Source:
    """A dataset and where it lies."""

    spec: DatasetSpec
    root: Path


@dataclass(frozen=True)
class Ingested:
    """A dataset, cut into blocks."""

    spec: DatasetSpec
    images: int
    tasks: tuple[BlockTask, ...]


def ingest(
    source: Source, work: Path, *, settings: BuildSettings, progress: bool = True
) -> Ingested:
    """Read the annotations of a dataset once and cut it into blocks.

    Raises
    ------
    ConfigError
        The dataset names an unknown reader, or there is no such folder.
    DatasetError
        Its files contradict their layout, or two images share an identifier.
    """
    spec, root = source.spec, source.root
    if not root.is_dir():
        raise ConfigError(f"{spec.id}: there is no folder {root}")
    reader = find_reader(spec.reader)
    seen: set[bytes] = set()
    hidden = None if progress else True
    with tqdm(desc=f"read {spec.id}", unit="image", disable=hidden) as bar:
        for image in _said_where(reader(root, spec), source):
            name = hashlib.sha256(image.image_id.encode("utf-8", "surrogatepass"))
            if name.digest() in seen:
                raise DatasetError(f"{spec.id}: two images share an identifier")
            seen.add(name.digest())
            bar.update()
    if not seen:
        raise DatasetError(f"{spec.id}: there is no image below {root}")
    digest = settings.digest(spec.model_dump_json(), fingerprint(root))
    folder = work / f"{spec.id}-{digest[:16]}"
    blocks = -(-len(seen) // settings.block)
    tasks = tuple(
        BlockTask(
            reader=READERS[spec.reader],
            root=str(root),
            spec=spec,
            settings=settings,
            number=number,
            folder=str(folder),
        )
        for number in range(blocks)
    )
    return Ingested(spec, len(seen), tasks)


def _said_where(images: Iterator[SourceImage], source: Source) -> Iterator[SourceImage]:
    # A reader names its file, which datasets have in common: dataset.json, say.
    try:
        yield from images
    except DatasetError as error:
        where = f"reading {source.spec.id} in {source.root}"
        raise DatasetError(f"{error} ({where})") from error


def fingerprint(root: Path) -> str:
    """Return a digest of the names, sizes and times of all files below a folder."""
    digest = hashlib.sha256()
    for name, size, time in _files(str(root), ""):
        digest.update(
            f"{name}\x00{size}\x00{time}\n".encode("utf-8", "surrogateescape")
        )
    return digest.hexdigest()


def _files(folder: str, place: str) -> Iterator[tuple[str, int, int]]:
    with os.scandir(folder) as entries:
        found = sorted(entries, key=lambda entry: entry.name)
    for entry in found:
        name = f"{place}/{entry.name}"
        if entry.is_dir():
            yield from _files(entry.path, name)
        else:
            status = entry.stat()
            yield name, status.st_size, status.st_mtime_ns
