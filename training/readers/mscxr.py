"""Read MS-CXR: sentences of MIMIC-CXR reports and their boxes.

References
----------
Boecking et al., Making the Most of Text Semantics to Improve Biomedical
Vision-Language Processing, ECCV 2022; PhysioNet ``ms-cxr`` 1.1.0.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from training.readers.boxes import XYXY, xywh_to_xyxy
from training.readers.images import picture_loader
from training.readers.jsonfile import Node, read_json
from training.readers.layout import ImageLayout, official_split
from training.readers.source import SourceImage, SourceRegion
from training.readers.tables import read_table
from training.registry import DatasetSpec

__all__ = ["read_mscxr"]

_COLUMNS = ("dicom_id", "category_name", "label_text", "path", "x", "y", "w", "h")

_PLACE = re.compile(r"(?:^|/)p(?P<patient>\d+)/s(?P<study>\d+)/")
"""MIMIC-CXR's folders: ``files/p10/p10000001/s50000001/<dicom_id>.jpg``"""


class _Layout(ImageLayout):
    annotations: str = "MS_CXR_Local_Alignment_v1.1.0.csv"
    """The CSV or the JSON of the release"""
    images: str = "."
    """Folder that ``files/`` lies in"""
    suffix: str = ".jpg"
    """``.jpg`` of MIMIC-CXR-JPG or ``.dcm`` of MIMIC-CXR"""


@dataclass(frozen=True, slots=True)
class _Box:
    """One row of the CSV, or one annotation of the JSON."""

    where: str
    image: str
    path: str
    category: str
    text: str
    box: XYXY
    split: str | None


def read_mscxr(root: Path, spec: DatasetSpec) -> Iterator[SourceImage]:
    """Yield the annotated radiographs.

    All boxes of one sentence on one image are one region: a sentence has one answer.
    Unboxed findings are not annotated, so nothing is known to be absent. The split of
    the release is kept; it is not that of MIMIC-CXR.

    Raises
    ------
    DatasetError
        See `training.readers.source.Reader`.
    """
    layout = _Layout.of(spec)
    table = root / layout.annotations
    boxes = _from_json(table) if table.suffix == ".json" else _from_table(table)
    images: dict[str, list[_Box]] = {}
    for box in boxes:
        images.setdefault(box.image, []).append(box)
    for image, found in images.items():
        first = found[0]
        path = (root / layout.images / first.path).with_suffix(layout.suffix)
        if layout.find(path, first.where) is None:
            continue
        place = _PLACE.search(first.path)
        yield SourceImage(
            image_id=image,
            load=picture_loader(path),
            regions=_regions(found),
            modality=spec.modality,
            body_part=spec.body_part,
            patient_id=place["patient"] if place else None,
            study_id=place["study"] if place else None,
            split=official_split(first.split, first.where),
        )


def _regions(found: list[_Box]) -> tuple[SourceRegion, ...]:
    sentences: dict[str, list[_Box]] = {}
    for box in found:
        sentences.setdefault(box.text, []).append(box)
    return tuple(_region(text, boxes) for text, boxes in sentences.items())


def _region(text: str, boxes: list[_Box]) -> SourceRegion:
    # A sentence that states two findings repeats its boxes under both.
    categories = list(dict.fromkeys(box.category for box in boxes))
    more = {"also": ", ".join(categories[1:])} if categories[1:] else {}
    return SourceRegion(
        label=categories[0],
        phrase=text,
        boxes_xyxy=tuple(dict.fromkeys(box.box for box in boxes)),
        attributes=more,
    )


def _from_table(path: Path) -> Iterator[_Box]:
    for row in read_table(path, required=_COLUMNS):
        columns = row.number("image_width") if "image_width" in row else None
        rows = row.number("image_height") if "image_height" in row else None
        values = tuple(row.number(name) for name in "xywh")
        with row.checking():
            box = xywh_to_xyxy(values, rows=rows, columns=columns)
        yield _Box(
            where=row.place,
            image=row.text("dicom_id"),
            path=row.text("path"),
            category=row.text("category_name"),
            text=row.text("label_text"),
            box=box,
            split=row.cell("split") if "split" in row else None,
        )


def _from_json(path: Path) -> Iterator[_Box]:
    tree = read_json(path)
    categories = {
        node.member("id").identifier(): node.member("name").text()
        for node in tree.items("categories")
    }
    images = {node.member("id").identifier(): node for node in tree.items("images")}
    for node in tree.items("annotations"):
        yield _annotation(node, images=images, categories=categories)


def _annotation(
    node: Node, *, images: dict[str, Node], categories: dict[str, str]
) -> _Box:
    image = images.get(node.member("image_id").identifier())
    category = categories.get(node.member("category_id").identifier())
    if image is None or category is None:
        node.fail("its image or category is not in the file")
    bbox = node.member("bbox")
    with bbox.checking():
        box = xywh_to_xyxy(
            bbox.numbers(4),
            rows=image.member("height").number(),
            columns=image.member("width").number(),
        )
    path = image.member("path").text()
    return _Box(
        where=node.place,
        image=Path(path).stem,
        path=path,
        category=category,
        text=node.member("label_text").text(),
        box=box,
        split=image.member("split").text() if "split" in image else None,
    )
