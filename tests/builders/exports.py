"""Write a finished build of given records."""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
from PIL import Image

from training.build.blocks import write_whole
from training.build.shards import SampleSource, ShardTask, read_done, write_shard
from training.layout import (
    ATTRIBUTION_FILE,
    INDEX_FILE,
    RECORDS_FILE,
    SHARDS_FILE,
    SHARDS_FOLDER,
    PictureInfo,
)
from training.records import ImageRecord


def write_build(folder: Path, records: Sequence[ImageRecord]) -> Path:
    """Write a build of grey pictures: one shard for each split."""
    lines: list[bytes] = []
    shards = []
    splits = dict.fromkeys(record.split or "train" for record in records)
    for number, split in enumerate(splits):
        mine = [one for one in records if one.split == split]
        chunks = folder / ".work" / f"{split}.bin"
        chunks.parent.mkdir(parents=True, exist_ok=True)
        sources = tuple(_add(chunks, record) for record in mine)
        task = ShardTask(
            name=f"shard-{number:06d}.tar",
            split=split,
            first=len(lines),
            samples=sources,
            shards=str(folder / SHARDS_FOLDER),
            work=str(folder / ".work"),
        )
        write_shard(task)
        done = read_done(task)
        assert done is not None
        shards.append(asdict(done))
        lines.extend(
            replace(record, cluster="c").to_json().encode() + b"\n" for record in mine
        )
    offsets = np.cumsum([0, *map(len, lines)])
    write_whole(folder / RECORDS_FILE, b"".join(lines))
    write_whole(folder / INDEX_FILE, offsets.astype("<i8").tobytes())
    write_whole(folder / SHARDS_FILE, json.dumps({"shards": shards}).encode())
    write_whole(folder / ATTRIBUTION_FILE, b"# Attribution\n\nthe authors\n")
    return folder


def _add(chunks: Path, record: ImageRecord) -> SampleSource:
    size = (record.height, record.width)
    info = PictureInfo(1.0, 0.0, "relative", 0.0, 255.0, size)
    pixels = np.arange(size[0] * size[1], dtype=np.uint8).reshape(size)
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "PNG")
    members = [
        ("json", record.to_json().encode()),
        ("picture.json", info.to_json().encode()),
        ("png", stream.getvalue()),
    ]
    head = {
        "key": Path(record.filename).stem,
        "members": [[extension, len(content)] for extension, content in members],
    }
    content = json.dumps(head).encode() + b"\n" + b"".join(one for _, one in members)
    with chunks.open("ab") as file:
        at = file.tell()
        file.write(content)
    return SampleSource(str(chunks), at, len(content), "c")
