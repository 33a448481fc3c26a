"""Write COCO: boxes, masks as run lengths, and what is known to be absent.

Beside COCO's own keys an image has those of LVIS (``neg_category_ids``: looked for and
absent; ``not_exhaustive_category_ids``: more may be there) and MDETR's ``caption``; an
annotation has MDETR's ``tokens_positive``.

References
----------
COCO data format; LVIS API; MDETR, data format of its pre-training annotations.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from training.export.labels import (
    copy_attribution,
    label_numbers,
    meaning,
    origin,
    placed_regions,
)
from training.layout import RecordFile
from training.records import XYXY, ImageRecord, PhraseRegion, Rle
from training.rle import rle_area

__all__ = ["export_coco"]


def export_coco(build: Path, out: Path, *, split: str) -> dict[str, int]:
    """Write one JSON file of a split of a build, and whom to name beside it.

    Parameters
    ----------
    build
        A finished build.
    out
        The file.

    Returns
    -------
    How many images and annotations were written, and how many regions COCO cannot say.
    """
    records = RecordFile(build)
    # Number 0 is taken for "none" by some readers of COCO.
    numbers = {name: number + 1 for name, number in label_numbers(records).items()}
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    unsaid = 0
    for record in records:
        if record.split != split:
            continue
        images.append(_image(record, len(images) + 1, numbers))
        placed = placed_regions(record)
        unsaid += sum(one.status != "absent" for one in record.regions) - len(placed)
        seen: set[tuple[str, XYXY]] = set()
        for region in placed:
            for place, box in enumerate(region.bbox):
                if (meaning(region), box) in seen:
                    continue
                seen.add((meaning(region), box))
                mask = region.mask[place] if region.mask is not None else None
                annotations.append(
                    {
                        "id": len(annotations) + 1,
                        "image_id": len(images),
                        "category_id": numbers[meaning(region)],
                        **_place(box, mask),
                        **_words(region),
                    }
                )
    categories = [{"id": number, "name": name} for name, number in numbers.items()]
    copy_attribution(build, out.parent)
    content = {"images": images, "annotations": annotations, "categories": categories}
    out.write_text(json.dumps(content, ensure_ascii=False), encoding="utf-8")
    return {
        "images": len(images),
        "annotations": len(annotations),
        "regions that COCO cannot say": unsaid,
    }


def _image(record: ImageRecord, number: int, numbers: dict[str, int]) -> dict[str, Any]:
    named = {meaning(region) for region in record.regions}
    absent = {meaning(one) for one in record.regions if one.status == "absent"}
    absent |= {label for label in record.label_space or () if label not in named}
    shown = {meaning(one) for one in placed_regions(record)}
    open_ = {
        meaning(one)
        for one in record.regions
        if one.status != "absent" and (one.ignore or not one.complete)
    }
    return {
        "id": number,
        "file_name": f"{Path(record.filename).stem}.png",
        "height": record.height,
        "width": record.width,
        "caption": record.caption,
        **origin(record),
        "neg_category_ids": sorted(numbers[name] for name in absent - open_ - shown),
        "not_exhaustive_category_ids": sorted(numbers[name] for name in open_),
    }


def _place(box: XYXY, mask: Rle | None) -> dict[str, Any]:
    left, top, right, bottom = box
    area: float = (right - left) * (bottom - top)
    segmentation: Any = []
    if mask is not None:
        area = float(rle_area(mask))
        segmentation = {"size": list(mask.size), "counts": mask.counts}
    return {
        "bbox": [left, top, right - left, bottom - top],
        "area": area,
        "segmentation": segmentation,
        "iscrowd": 0,
    }


def _words(region: PhraseRegion) -> dict[str, Any]:
    return {
        "phrase": region.phrase,
        "tokens_positive": [list(span) for span in region.tokens_positive],
    }
