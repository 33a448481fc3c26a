"""Write a build of drawn pictures with as many region records as one likes.

It shows what streaming costs at a scale for which nobody has the pictures: every
record is written, the pictures come from a bounded pool that is used again and again.
"""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from model.knowledge import Label, load_knowledge
from training.layout import (
    INDEX_FILE,
    RECORDS_FILE,
    SHARDS_FILE,
    SHARDS_FOLDER,
    PictureInfo,
    RecordFile,
    Shard,
    pixel_digest,
    read_shards,
)
from training.records import ImageRecord, PhraseRegion
from training.rle import encode_rle
from training.stream.store import ShardStore

__all__ = ["PooledStore", "write_synthetic"]

_KEY = "0123456789ab"
"""Stands in the record of a pool picture where each record has its own key."""
_MODALITIES = ("CT", "MR", "DX", "US", "ES", "OP", "XC")
_PER_PICTURE = 5
"""Regions of one picture: 5.3 million regions are 1.06 million pictures."""
_SHARD_SAMPLES = 2000


@dataclass(frozen=True, eq=False)
class _Sample:
    """One picture of the pool; `_KEY` stands where a key belongs."""

    record: bytes
    info: bytes
    png: bytes


class PooledStore:
    """Every record of a build, with the pictures of its first samples in turn."""

    def __init__(self, folder: Path) -> None:
        pool = read_shards(folder)[:1]
        self._records = RecordFile(folder)
        self._pictures = ShardStore(folder, pool)
        self._pool = pool[0].samples

    def members(self, line: int) -> dict[str, bytes]:
        """Return the record of `line` with the picture it was drawn for."""
        picture = self._pictures.members(line % self._pool)
        return {**picture, "json": self._records.line(line)}


def write_synthetic(
    folder: Path, *, regions: int, side: int = 512, pool: int = 128, seed: int = 0
) -> int:
    """Write a build of ``regions / 5`` samples of one split and return that number.

    The first shard holds `pool` samples with their pictures, and is whole. The others
    are listed, and their records are there; their pictures are those of the pool.

    Parameters
    ----------
    side
        Rows and columns of every picture.
    """
    images = max(1, regions // _PER_PICTURE)
    pool = min(pool, images)
    rng = np.random.default_rng(seed)
    labels = load_knowledge().labels
    samples = [_draw(n, rng, labels=labels, side=side) for n in range(pool)]
    (folder / SHARDS_FOLDER).mkdir(parents=True)
    _write_records(folder, samples, images)
    shards = [_write_pool(folder, samples)]
    while (first := shards[-1].first + shards[-1].samples) < images:
        count = min(_SHARD_SAMPLES, images - first)
        name = f"shard-{len(shards):06d}.tar"
        shards.append(Shard(name, "train", count, first, 0, ""))
    text = json.dumps({"shards": [asdict(shard) for shard in shards]})
    (folder / SHARDS_FILE).write_text(text, encoding="utf-8")
    return images


def _key_of(number: int) -> str:
    return f"{number:0{len(_KEY)}d}"


def _write_records(folder: Path, samples: Sequence[_Sample], images: int) -> None:
    offsets = np.zeros(images + 1, dtype="<i8")
    pool = [sample.record.split(_KEY.encode()) for sample in samples]
    end = 0
    with (folder / RECORDS_FILE).open("wb", buffering=1 << 20) as stream:
        for number in range(images):
            end += stream.write(_key_of(number).encode().join(pool[number % len(pool)]))
            end += stream.write(b"\n")
            offsets[number + 1] = end
    offsets.tofile(folder / INDEX_FILE)


def _write_pool(folder: Path, samples: Sequence[_Sample]) -> Shard:
    path = folder / SHARDS_FOLDER / "shard-000000.tar"
    offsets = []
    with tarfile.open(path, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for number, sample in enumerate(samples):
            offsets.append(tar.offset)
            key = _key_of(number)
            record = sample.record.replace(_KEY.encode(), key.encode())
            _add(tar, f"{key}.json", record)
            _add(tar, f"{key}.picture.json", sample.info)
            _add(tar, f"{key}.png", sample.png)
        offsets.append(tar.offset)
    np.array(offsets, dtype="<i8").tofile(path.with_suffix(".idx"))
    data = path.read_bytes()
    digest = hashlib.sha256(data).hexdigest()
    return Shard(path.name, "train", len(samples), 0, len(data), digest)


def _add(tar: tarfile.TarFile, name: str, content: bytes) -> None:
    member = tarfile.TarInfo(name)
    member.size = len(content)
    tar.addfile(member, io.BytesIO(content))


def _draw(
    number: int, rng: np.random.Generator, *, labels: Sequence[Label], side: int
) -> _Sample:
    """Draw a noisy picture with five ellipses, and the record that outlines them."""
    line = np.arange(side, dtype=np.float32) / side
    rows, columns = line[:, None], line[None]
    pixels = rng.standard_normal((side, side), dtype=np.float32) * 12 + 90
    regions = []
    chosen = rng.choice(len(labels), size=_PER_PICTURE, replace=False)
    for place, label in enumerate(labels[i] for i in chosen):
        y, x = rng.uniform(0.2, 0.8, 2)
        height, width = rng.uniform(0.05, 0.15, 2)
        mask = ((rows - y) / height) ** 2 + ((columns - x) / width) ** 2 < 1
        pixels[mask] += rng.uniform(20.0, 90.0)
        regions.append(_region(place, label, mask))
    stored = np.clip(pixels, 0, 255).astype(np.uint8)
    low, high = np.percentile(stored, (1.0, 99.5))
    info = PictureInfo(1.0, 0.0, "relative", float(low), float(high), (side, side))
    stream = io.BytesIO()
    Image.fromarray(stored).save(stream, "PNG", compress_level=6)
    record = _record(number, tuple(regions), stored, labels=labels)
    return _Sample(record.encode(), info.to_json().encode(), stream.getvalue())


def _region(place: int, label: Label, mask: NDArray[np.bool_]) -> PhraseRegion:
    inside_rows, inside_columns = np.nonzero(mask)
    box = (
        float(inside_columns.min()),
        float(inside_rows.min()),
        float(inside_columns.max() + 1),
        float(inside_rows.max() + 1),
    )
    return PhraseRegion(
        region_id=f"{_KEY}:{place}",
        phrase=label.name,
        tokens_positive=(),
        bbox=(box,),
        mask=(encode_rle(mask),),
        label_path=label.path,
        level=len(label.path) - 1,
        source="synthetic",
    )


def _record(
    number: int,
    regions: tuple[PhraseRegion, ...],
    stored: NDArray[np.uint8],
    *,
    labels: Sequence[Label],
) -> str:
    modality = _MODALITIES[number % len(_MODALITIES)]
    names = [region.phrase for region in regions]
    absent = [labels[(number * 7 + i) % len(labels)].name for i in range(5)]
    return ImageRecord(
        image_id=f"synthetic/{_KEY}",
        filename=f"{_KEY}.png",
        sha256=pixel_digest(stored),
        phash=f"{number:016x}",
        height=stored.shape[0],
        width=stored.shape[1],
        modality=modality,
        body_part=None,
        view=None,
        dataset=f"synthetic-{modality.lower()}",
        licence="CC0-1.0",
        tier="synthetic",
        patient_key=_KEY,
        study_key=None,
        split="train",
        cluster=f"c{_KEY}",
        volume=None,
        prior=None,
        report=None,
        label_space=tuple(dict.fromkeys([*names, *absent])),
        caption=". ".join(names),
        regions=regions,
        spacing_mm=(0.7, 0.7),
    ).to_json()
