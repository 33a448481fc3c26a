"""Draw the pictures of a data card: samples with their regions, and label counts."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from training.layout import (
    SHARDS_FOLDER,
    RecordFile,
    Shard,
    display_picture,
    iterate_shard,
    read_shards,
    stored_slab,
)
from training.records import ImageRecord
from training.rle import decode_rle

__all__ = ["bars", "contact_sheet", "draw_sample"]

_SIDE = 320
"""Side of a picture on a contact sheet."""
_TEXT = 96
"""Rows below it for phrases."""
_COLOURS = (
    (230, 80, 60),
    (60, 160, 240),
    (90, 200, 90),
    (240, 180, 40),
    (190, 90, 220),
)


def contact_sheet(folder: Path, lines: Sequence[int], target: Path) -> None:
    """Draw samples of a build side by side.

    Parameters
    ----------
    lines
        Numbers of lines in ``records.jsonl``.
    """
    records, shards = RecordFile(folder), read_shards(folder)
    tiles = []
    for number in lines:
        shard = next(
            one for one in shards if one.first <= number < one.first + one.samples
        )
        tiles.append(draw_sample(records[number], _members(folder, shard, number)))
    columns = min(3, len(tiles))
    rows = -(-len(tiles) // columns)
    size = columns * _SIDE, rows * (_SIDE + _TEXT)
    sheet = Image.new("RGB", size, (255, 255, 255))
    for place, tile in enumerate(tiles):
        down, across = divmod(place, columns)
        sheet.paste(tile, (across * _SIDE, down * (_SIDE + _TEXT)))
    sheet.save(target)


def _members(folder: Path, shard: Shard, number: int) -> dict[str, bytes]:
    path = folder / SHARDS_FOLDER / shard.name
    return next(iterate_shard(path, start=number - shard.first))


def draw_sample(record: ImageRecord, members: dict[str, bytes]) -> Image.Image:
    """Draw one picture with boxes and outlines, and its phrases below."""
    slab, offsets, info = stored_slab(members)
    shown = display_picture(slab[offsets.index(0)], info)
    present = [one for one in record.regions if one.bbox and not one.ignore]
    for number, region in enumerate(present):
        colour = np.array(_COLOURS[number % len(_COLOURS)])
        for mask in region.mask or ():
            inside = decode_rle(mask)
            shown[inside] = (0.65 * shown[inside] + 0.35 * colour).astype(np.uint8)
    factor = _SIDE / max(record.height, record.width)
    size = max(1, round(record.width * factor)), max(1, round(record.height * factor))
    picture = Image.fromarray(shown).resize(size)
    tile = Image.new("RGB", (_SIDE, _SIDE + _TEXT), (255, 255, 255))
    tile.paste(picture, (0, 0))
    draw = ImageDraw.Draw(tile)
    for number, region in enumerate(present):
        colour_ = _COLOURS[number % len(_COLOURS)]
        for box in region.bbox:
            draw.rectangle([value * factor for value in box], outline=colour_, width=2)
        if number < 5:
            draw.text((4, _SIDE + 4 + 14 * number), _plain(region.phrase), colour_)
    absent = [_plain(one.phrase) for one in record.regions if one.status == "absent"]
    if absent:
        draw.text((4, _SIDE + 76), f"not: {', '.join(absent)}"[:60], (110, 110, 110))
    return tile


def _plain(text: str) -> str:
    """Return what the built-in font can draw."""
    return text.encode("latin-1", "replace").decode("latin-1")[:48]


def bars(counts: Sequence[tuple[str, int]], target: Path) -> None:
    """Draw how often each label is present."""
    import matplotlib as mpl

    mpl.use("agg")
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 1 + 0.22 * len(counts)), layout="constrained")
    axes = figure.subplots()
    names = [name[:48] for name, _ in reversed(counts)]
    axes.barh(range(len(names)), [number for _, number in reversed(counts)])
    axes.set_yticks(range(len(names)), names, fontsize=7)
    axes.set_xlabel("regions")
    figure.savefig(target, metadata={"Software": None})
