"""Write ODVG lines as two trainers read them.

MM-Grounding-DINO takes several boxes for one phrase and needs ``tokens_positive``; a
region without a box breaks its loader, so that absent phrases stay in the caption only.
Open-GroundingDino takes one box for each region, makes its caption of the phrases
itself, and fails on a picture without a region.

References
----------
mmdetection, mmdet/datasets/odvg.py; Open-GroundingDino, datasets/odvg.py.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

from training.errors import ConfigError
from training.export.labels import (
    copy_attribution,
    label_numbers,
    meaning,
    origin,
    placed_regions,
)
from training.layout import RecordFile
from training.records import XYXY, ImageRecord

__all__ = ["LABEL_MAP_FILE", "Flavour", "Task", "export_odvg"]

Flavour = Literal["mm-gdino", "open-groundingdino"]
Task = Literal["grounding", "detection"]

LABEL_MAP_FILE = "label_map.json"
"""Number (as text) to label, as both trainers read it for detection."""


def export_odvg(
    build: Path,
    out: Path,
    *,
    split: str,
    flavour: Flavour = "mm-gdino",
    task: Task = "grounding",
) -> dict[str, int]:
    """Write ``SPLIT.jsonl``, whom to name, and the label map of a detection task.

    Parameters
    ----------
    build
        A finished build.
    out
        Folder; pictures are expected beside as `export_pictures` writes them.

    Returns
    -------
    How many pictures were written, and how many the format cannot say.
    """
    if flavour not in ("mm-gdino", "open-groundingdino"):
        raise ConfigError(f"there is no ODVG of {flavour!r}")
    records = RecordFile(build)
    numbers = label_numbers(records) if task == "detection" else {}
    copy_attribution(build, out)
    if numbers:
        names = {str(number): name for name, number in numbers.items()}
        text = json.dumps(names, ensure_ascii=False, indent=1) + "\n"
        (out / LABEL_MAP_FILE).write_text(text, encoding="utf-8")
    counts = {"pictures": 0, "pictures that the format cannot say": 0}
    with (out / f"{split}.jsonl").open("w", encoding="utf-8") as stream:
        for record in records:
            if record.split != split:
                continue
            line = _line(record, flavour=flavour, numbers=numbers)
            if line is None:
                counts["pictures that the format cannot say"] += 1
                continue
            stream.write(json.dumps(line, ensure_ascii=False) + "\n")
            counts["pictures"] += 1
    return counts


def _line(
    record: ImageRecord, *, flavour: Flavour, numbers: dict[str, int]
) -> dict[str, Any] | None:
    head = {
        "filename": f"{Path(record.filename).stem}.png",
        "height": record.height,
        "width": record.width,
        # Both loaders pass over keys that they do not know.
        **origin(record),
    }
    if numbers:
        instances = list(_instances(record, numbers))
        if not instances and flavour == "open-groundingdino":
            return None
        return {**head, "detection": {"instances": instances}}
    if flavour == "open-groundingdino":
        single = list(_single(record))
        if not single:
            return None
        phrases = dict.fromkeys(one["phrase"] for one in single)
        caption = " . ".join(phrases) + " ."
        return {**head, "grounding": {"caption": caption, "regions": single}}
    regions = list(_several(record))
    return {**head, "grounding": {"caption": record.caption, "regions": regions}}


def _instances(
    record: ImageRecord, numbers: dict[str, int]
) -> Iterator[dict[str, Any]]:
    """Yield each place once, though several phrases may share it."""
    seen: set[tuple[str, XYXY]] = set()
    for region in placed_regions(record):
        name = meaning(region)
        for box in region.bbox:
            if (name, box) not in seen:
                seen.add((name, box))
                yield {"bbox": list(box), "label": numbers[name], "category": name}


def _single(record: ImageRecord) -> Iterator[dict[str, Any]]:
    for region in placed_regions(record):
        for box in region.bbox:
            yield {"bbox": list(box), "phrase": region.phrase}


def _several(record: ImageRecord) -> Iterator[dict[str, Any]]:
    for region in placed_regions(record):
        yield {
            "bbox": [list(box) for box in region.bbox],
            "phrase": region.phrase,
            "tokens_positive": [list(span) for span in region.tokens_positive],
        }
