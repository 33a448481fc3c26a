"""Read COCO instances, and RefCOCO expressions that name one instance each.

References
----------
Lin et al., Microsoft COCO: Common Objects in Context, ECCV 2014.
Kazemzadeh et al., ReferItGame, EMNLP 2014; Yu et al., Modeling Context in Referring
Expressions, ECCV 2016.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict

from training.errors import DatasetError
from training.readers.boxes import XYXY, xywh_to_xyxy
from training.readers.images import picture_loader
from training.readers.jsonfile import Node, read_json
from training.readers.layout import ImageLayout, Split, official_split
from training.readers.outlines import paint_segmentation
from training.readers.source import Mask, SourceImage, SourceRegion
from training.registry import DatasetSpec

__all__ = ["read_coco", "read_refcoco"]

_CAUTION: tuple[Split, ...] = ("test", "val", "train")
"""Which split an image takes whose expressions are in several."""


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    annotations: str
    images: str
    """Folder"""
    split: str | None = None


class _Layout(ImageLayout):
    parts: tuple[_Part, ...]
    exhaustive: bool = True
    """Every instance of every category is annotated, as in COCO itself: the
    categories that an image lacks are absent in it."""


class _RefLayout(ImageLayout):
    instances: str = "instances.json"
    references: str = "refs(unc).json"
    images: str = "train2014"


@dataclass(frozen=True, slots=True)
class _Instances:
    """An instance file, sorted by image."""

    categories: dict[str, str]
    images: dict[str, Node]
    annotations: dict[str, list[Node]]

    @classmethod
    def read(cls, path: Path) -> _Instances:
        tree = read_json(path)
        categories = {
            node.member("id").identifier(): node.member("name").text()
            for node in tree.items("categories")
        }
        images = {node.member("id").identifier(): node for node in tree.items("images")}
        annotations: dict[str, list[Node]] = {}
        for node in tree.items("annotations"):
            image = node.member("image_id").identifier()
            if image not in images:
                node.fail("its image is not in the file")
            annotations.setdefault(image, []).append(node)
        return cls(categories, images, annotations)

    def label(self, annotation: Node) -> str:
        name = self.categories.get(annotation.member("category_id").identifier())
        if name is None:
            annotation.fail("its category is not in the file")
        return name


def read_coco(root: Path, spec: DatasetSpec) -> Iterator[SourceImage]:
    """Yield every image of the instance files.

    Each instance is a region. A crowd is ignored: its instances are there and were
    not told apart. So is a box without area.

    Raises
    ------
    DatasetError
        See `training.readers.source.Reader`.
    """
    layout = _Layout.of(spec)
    for part in layout.parts:
        instances = _Instances.read(root / part.annotations)
        space = None
        if layout.exhaustive:
            labels = instances.categories.values()
            space = tuple(dict.fromkeys(spec.phrase_of(label) for label in labels))
        split = official_split(part.split)
        for key, image in instances.images.items():
            name = image.member("file_name").text()
            path = layout.find(root / part.images / name, image.place)
            if path is None:
                continue
            found = instances.annotations.get(key, [])
            yield SourceImage(
                image_id=Path(name).with_suffix("").as_posix(),
                load=picture_loader(path),
                regions=tuple(
                    _region(node, image=image, of=instances) for node in found
                ),
                modality=spec.modality,
                body_part=spec.body_part,
                split=split,
                label_space=space,
            )


def read_refcoco(root: Path, spec: DatasetSpec) -> Iterator[SourceImage]:
    """Yield the images that expressions refer to; each expression is one region.

    The references are distributed as a pickle. It is never loaded, since loading
    runs whatever code it holds: convert it to JSON elsewhere. Where the expressions of
    one image belong to several splits (RefCOCO of Google), the image is for testing if
    one of them is, so that nothing tested is learned.

    Raises
    ------
    DatasetError
        See `training.readers.source.Reader`; also where the references are a pickle.
    """
    layout = _RefLayout.of(spec)
    path = root / layout.references
    if path.suffix != ".json":
        raise DatasetError(
            f"{path.name} is not JSON; a pickle runs code when it is loaded, so "
            f"convert it to a JSON list where you trust it"
        )
    instances = _Instances.read(root / layout.instances)
    by_id = {
        node.member("id").identifier(): node
        for nodes in instances.annotations.values()
        for node in nodes
    }
    references: dict[str, list[Node]] = {}
    for node in read_json(path).items():
        key = node.member("image_id").identifier()
        if key not in instances.images:
            node.fail(f"its image is not in {layout.instances}")
        references.setdefault(key, []).append(node)
    for key, nodes in references.items():
        image = instances.images[key]
        name = image.member("file_name").text()
        where = layout.find(root / layout.images / name, nodes[0].place)
        if where is None:
            continue
        regions = [
            region
            for node in nodes
            for region in _expressions(node, by_id=by_id, image=image, of=instances)
        ]
        yield SourceImage(
            image_id=Path(name).with_suffix("").as_posix(),
            load=picture_loader(where),
            regions=tuple(regions),
            modality=spec.modality,
            body_part=spec.body_part,
            split=_careful([_split(node.member("split")) for node in nodes]),
        )


def _split(node: Node) -> Split | None:
    return official_split(node.text(), node.place)


def _careful(splits: Sequence[Split | None]) -> Split | None:
    return next((split for split in _CAUTION if split in splits), None)


def _expressions(
    node: Node, *, by_id: dict[str, Node], image: Node, of: _Instances
) -> Iterator[SourceRegion]:
    annotation = by_id.get(node.member("ann_id").identifier())
    if annotation is None:
        node.fail("its annotation is not in the instance file")
    if annotation.member("image_id").value != image.member("id").value:
        node.fail("its annotation is of another image")
    drawn = _region(annotation, image=image, of=of)
    sentences = [item.member("sent").text() for item in node.items("sentences")]
    for sentence in dict.fromkeys(sentences):
        yield replace(drawn, phrase=sentence)


def _region(annotation: Node, *, image: Node, of: _Instances) -> SourceRegion:
    crowd = "iscrowd" in annotation and annotation.member("iscrowd").integer() == 1
    box = _box(annotation, image=image)
    return SourceRegion(
        label=of.label(annotation),
        boxes_xyxy=(box,) if box else (),
        mask=_mask(annotation, image=image),
        ignore=crowd or box is None,
    )


def _mask(annotation: Node, *, image: Node) -> partial[Mask] | None:
    outline = annotation.value.get("segmentation")
    if not outline:
        return None
    rows, columns = _size(image)
    return partial(_paint, outline, rows=rows, columns=columns, place=annotation.place)


def _paint(outline: Any, *, rows: int, columns: int, place: str) -> Mask:
    try:
        return paint_segmentation(outline, rows=rows, columns=columns)
    except ValueError as error:
        raise DatasetError(f"{place}: {error}") from error


def _box(annotation: Node, *, image: Node) -> XYXY | None:
    """Return the corners; None of a box without area, which COCO has a few of."""
    node = annotation.member("bbox")
    values = node.numbers(4)
    if values[2] == 0 or values[3] == 0:
        return None
    rows, columns = _size(image)
    with node.checking():
        return xywh_to_xyxy(values, rows=rows, columns=columns)


def _size(image: Node) -> tuple[int, int]:
    return image.member("height").integer(), image.member("width").integer()
