"""Read ODVG lines, of detection and of grounding, and our own superset of them.

References
----------
MM-Grounding-DINO (mmdetection) and Open-GroundingDino, ODVG format.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any, get_args

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from training.errors import DatasetError, RecordError
from training.layout import PictureInfo, to_units
from training.readers.boxes import XYXY, xyxy_within
from training.readers.images import load_picture, picture_loader
from training.readers.jsonfile import Node, read_json, read_json_lines
from training.readers.layout import ImageLayout, official_split
from training.readers.mdetr import caption_phrase
from training.readers.source import Mask, Picture, SourceImage, SourceRegion
from training.records import SCHEMA, ImageRecord, PhraseRegion, Rle
from training.registry import DatasetSpec
from training.registry.spec import Tier
from training.rle import decode_rle

__all__ = ["read_odvg"]


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    annotations: str
    images: str = "."
    """Folder"""
    split: str | None = None
    label_map: str | None = None
    """``{"0": "liver", ...}``, for detection lines that name no category"""


class _Layout(ImageLayout):
    parts: tuple[_Part, ...]


def read_odvg(root: Path, spec: DatasetSpec) -> Iterator[SourceImage]:
    """Yield one image a line: of detection or grounding lines, or of our records.

    A grounding region without a box is absent, and a line without regions is kept:
    both say that there is nothing, which the plain loaders drop. In a detection line
    the categories of ``label_map`` that have no instance are absent. Our records have
    their pictures as a build stores them, so that ``KEY.picture.json`` is read beside
    ``KEY.png``: only it says how 16 bit values become units again.

    Raises
    ------
    DatasetError
        See `training.readers.source.Reader`.
    """
    layout = _Layout.of(spec)
    seen: Counter[str] = Counter()
    for part in layout.parts:
        names = _label_map(root / part.label_map) if part.label_map else {}
        for line in read_json_lines(root / part.annotations):
            name = line.member("filename").text()
            path = layout.find(root / part.images / name, line.place)
            if path is None:
                continue
            if line.value.get("schema") == SCHEMA:
                yield _of_record(line, path=path)
                continue
            space = None
            if "detection" in line:
                regions = _detected(line, names=names)
                if names:
                    labels = dict.fromkeys(spec.phrase_of(n) for n in names.values())
                    space = tuple(labels)
            else:
                regions = _grounded(line)
            # A picture with five captions has five lines.
            stem = Path(name).with_suffix("").as_posix()
            seen[stem] += 1
            yield SourceImage(
                image_id=stem if seen[stem] == 1 else f"{stem}-{seen[stem]}",
                load=picture_loader(path),
                regions=regions,
                modality=spec.modality,
                body_part=spec.body_part,
                split=official_split(part.split),
                label_space=space,
            )


def _grounded(line: Node) -> tuple[SourceRegion, ...]:
    grounding = line.member("grounding")
    caption = grounding.value.get("caption")
    regions = []
    for node in grounding.items("regions"):
        phrase = _phrase(node, caption=caption)
        boxes = _boxes(node, line=line)
        status: Any = "present" if boxes else "absent"
        regions.append(
            SourceRegion(label=phrase, phrase=phrase, status=status, boxes_xyxy=boxes)
        )
    return tuple(regions)


def _phrase(node: Node, *, caption: Any) -> str:
    if "phrase" not in node:
        if not isinstance(caption, str):
            node.fail("neither phrase nor caption")
        return caption_phrase(caption, node.member("tokens_positive"))
    phrase = node.member("phrase")
    # One phrase of several spans is a list in MM-Grounding-DINO.
    if isinstance(phrase.value, list):
        if not phrase.value:
            phrase.fail("no words")
        return " ".join(item.text() for item in phrase.items())
    return phrase.text()


def _boxes(node: Node, *, line: Node) -> tuple[XYXY, ...]:
    """Return the boxes of ``bbox``: four numbers, or a list of such, maybe empty."""
    if "bbox" not in node:
        return ()
    bbox = node.member("bbox")
    items = bbox.items()
    nested = bool(items) and isinstance(items[0].value, list)
    rows, columns = line.member("height").number(), line.member("width").number()
    boxes = []
    for item in items if nested or not items else [bbox]:
        with item.checking():
            boxes.append(xyxy_within(item.numbers(4), rows=rows, columns=columns))
    return tuple(boxes)


def _detected(line: Node, *, names: dict[str, str]) -> tuple[SourceRegion, ...]:
    labels: dict[str, list[XYXY]] = {}
    for node in line.member("detection").items("instances"):
        if "category" in node:
            label = node.member("category").text()
        else:
            label = names.get(node.member("label").identifier(), "")
            if not label:
                node.fail("its label is not in the label map")
        labels.setdefault(label, []).extend(_boxes(node, line=line))
    return tuple(
        SourceRegion(label=label, boxes_xyxy=tuple(boxes))
        for label, boxes in labels.items()
    )


def _label_map(path: Path) -> dict[str, str]:
    return {key: node.text() for key, node in read_json(path).members()}


def _of_record(line: Node, *, path: Path) -> SourceImage:
    try:
        record = ImageRecord.from_json(json.dumps(line.value))
    except RecordError as error:
        line.fail(str(error))
    return SourceImage(
        image_id=record.image_id,
        load=partial(_load_stored, path, spacing_mm=record.spacing_mm),
        regions=tuple(_of_region(region) for region in record.regions),
        modality=record.modality,
        body_part=record.body_part,
        view=record.view,
        patient_id=record.patient_key,
        study_id=record.study_key,
        split=official_split(record.split),
        label_space=record.label_space,
        report=record.report,
        prior=record.prior,
    )


def _load_stored(path: Path, *, spacing_mm: tuple[float, float] | None) -> Picture:
    """Load a picture of a build in its units.

    Raises
    ------
    DatasetError
        What says the units is damaged, or missing beside a picture of 16 bits.
    """
    stored = load_picture(path).pixels
    beside = path.with_suffix(".picture.json")
    if beside.is_file():
        try:
            info = PictureInfo.from_json(beside.read_bytes())
            stored = _in_units(stored, info)
        except (OSError, KeyError, TypeError, ValueError) as error:
            raise DatasetError(f"{beside.name} does not say the units") from error
    elif stored.dtype != np.uint8:
        raise DatasetError(f"{beside.name} is not there: {path.name} has no units")
    spacing = None if spacing_mm is None else (0.0, *spacing_mm)
    return Picture(stored, spacing_mm=spacing, is_volume=False)


def _in_units(stored: NDArray[Any], info: PictureInfo) -> NDArray[Any]:
    if (info.scale, info.intercept) == (1, 0):
        return stored
    units = to_units(stored, info)
    # Whole numbers stay whole, so that a build stores the same values again.
    if float(info.scale).is_integer() and float(info.intercept).is_integer():
        return units.astype(np.int32)
    return units


def _of_region(region: PhraseRegion) -> SourceRegion:
    return SourceRegion(
        label=region.label or region.phrase,
        phrase=region.phrase,
        status=region.status,
        boxes_xyxy=region.bbox,
        mask=partial(_union, region.mask) if region.mask else None,
        laterality=region.laterality,  # type: ignore[arg-type]
        codes=region.codes,
        attributes=region.attributes,
        progression=region.progression,
        reader=region.reader,
        ignore=region.ignore,
        tier=region.source if region.source in get_args(Tier) else None,  # type: ignore[arg-type]
        complete=region.complete,
    )


def _union(masks: tuple[Rle, ...]) -> Mask:
    decoded = [decode_rle(mask) for mask in masks]
    return np.asarray(np.logical_or.reduce(decoded), dtype=np.bool_)
