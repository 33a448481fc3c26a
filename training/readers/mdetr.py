"""Read MDETR's and GLIP's COCO-style captions: Flickr30k Entities and mixed GoldG.

References
----------
Kamath et al., MDETR: Modulated Detection for End-to-End Multi-Modal Understanding,
ICCV 2021: ``final_flickr_separateGT_train.json``, ``final_mixed_train_no_coco.json``.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from training.readers.boxes import XYXY, xywh_to_xyxy
from training.readers.images import picture_loader
from training.readers.jsonfile import Node, read_json
from training.readers.layout import ImageLayout, official_split
from training.readers.source import SourceImage, SourceRegion
from training.registry import DatasetSpec

__all__ = ["caption_phrase", "read_mdetr"]


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    annotations: str
    images: str = "."
    """Folder"""
    split: str | None = None
    folders: dict[str, str] = {}
    """``data_source`` or ``dataset_name`` to the folder of its images"""


class _Layout(ImageLayout):
    parts: tuple[_Part, ...]


def read_mdetr(root: Path, spec: DatasetSpec) -> Iterator[SourceImage]:
    """Yield one image a caption: a picture with five captions comes five times.

    Boxes whose ``tokens_positive``, spans of characters of the caption, are the same
    are one region.

    Raises
    ------
    DatasetError
        See `training.readers.source.Reader`.
    """
    layout = _Layout.of(spec)
    for part in layout.parts:
        tree = read_json(root / part.annotations)
        annotations: dict[str, list[Node]] = {}
        for node in tree.items("annotations"):
            key = node.member("image_id").identifier()
            annotations.setdefault(key, []).append(node)
        for image in tree.items("images"):
            name = image.member("file_name").text()
            folder = _folder(image, part)
            path = layout.find(root / folder / name, image.place)
            if path is None:
                continue
            key = image.member("id").identifier()
            caption = image.member("caption").text()
            found = annotations.get(key, [])
            yield SourceImage(
                image_id=f"{Path(name).with_suffix('').as_posix()}-{key}",
                load=picture_loader(path),
                regions=_captioned(found, image=image, caption=caption),
                modality=spec.modality,
                body_part=spec.body_part,
                split=official_split(part.split),
                report=caption,
            )


def caption_phrase(caption: str, spans: Node) -> str:
    """Return the words of a caption at character spans ``[[start, end), ...]``.

    Raises
    ------
    DatasetError
        There is no span, or one lies outside the caption.
    """
    words = []
    for span in spans.items():
        start, end = (int(value) for value in span.numbers(2))
        if not 0 <= start < end <= len(caption):
            span.fail("a span lies outside its caption")
        words.append(caption[start:end].strip())
    if not any(words):
        spans.fail("no words")
    return " ".join(word for word in words if word)


def _folder(image: Node, part: _Part) -> str:
    for key in ("data_source", "dataset_name"):
        if key in image:
            return part.folders.get(image.member(key).text(), part.images)
    return part.images


def _captioned(
    found: list[Node], *, image: Node, caption: str
) -> tuple[SourceRegion, ...]:
    rows, columns = image.member("height").number(), image.member("width").number()
    phrases: dict[str, list[XYXY]] = {}
    for node in found:
        phrase = caption_phrase(caption, node.member("tokens_positive"))
        bbox = node.member("bbox")
        with bbox.checking():
            box = xywh_to_xyxy(bbox.numbers(4), rows=rows, columns=columns)
        phrases.setdefault(phrase, []).append(box)
    return tuple(
        SourceRegion(label=phrase, phrase=phrase, boxes_xyxy=tuple(boxes))
        for phrase, boxes in phrases.items()
    )
