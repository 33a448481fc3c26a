"""Unpack the pictures of a build as other trainers read them: 8 bit PNG files."""

from __future__ import annotations

from pathlib import Path

from PIL import Image

from training.layout import (
    SHARDS_FOLDER,
    display_picture,
    iterate_shard,
    read_shards,
    stored_slab,
)

__all__ = ["export_pictures"]


def export_pictures(build: Path, out: Path, *, split: str) -> int:
    """Write ``KEY.png`` for every picture of a split and return how many.

    CT is shown in a soft-tissue window, other greys between their percentiles: a
    trainer that knows 8 bits only would see nothing in the stored values.
    """
    out.mkdir(parents=True, exist_ok=True)
    number = 0
    for shard in read_shards(build):
        if shard.split != split:
            continue
        for sample in iterate_shard(build / SHARDS_FOLDER / shard.name):
            slab, offsets, info = stored_slab(sample)
            picture = display_picture(slab[offsets.index(0)], info)
            name = f"{sample['__key__'].decode()}.png"
            Image.fromarray(picture).save(out / name, compress_level=3)
            number += 1
    return number
