"""Read folders of pictures with masks beside them, as a specification describes them.

One reader for ISIC, Kvasir-SEG, BUSI, IDRiD, REFUGE and their like: what differs is
where the masks lie, how they are called and which of their levels means what.
"""

from __future__ import annotations

import glob
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from training.errors import DatasetError
from training.readers.boxes import XYXY, xyxy_within
from training.readers.images import image_size, mask_loader, picture_loader
from training.readers.jsonfile import Node, read_json
from training.readers.layout import Layout, official_split
from training.readers.source import SourceImage, SourceRegion
from training.registry import DatasetSpec

__all__ = ["read_folder_masks"]


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class _Mask(_Frozen):
    """One label and the masks that show it."""

    label: str
    files: str
    """Pattern below the root. ``{name}`` stands for what the picture's pattern found
    under that name; ``*`` is any text, each file that fits is a thing of its own"""
    levels: tuple[float, float] = (1.0, float("inf"))
    """Lowest and highest level that belongs to the label, both included"""
    when: dict[str, tuple[str, ...]] = Field(default_factory=dict)
    """Only for pictures where the named parts are one of these"""
    missing: Literal["error", "absent", "unknown"] = "error"
    """What no file means: a mistake, that the label is absent, or nothing"""


class _Pictures(_Frozen):
    """Pictures of one split."""

    files: str
    """Regular expression that the whole path below the root must fit, with ``/``
    between folders and named groups for the masks' patterns; a group ``patient``
    names the patient"""
    folder: str = "."
    """Where to look for them: nothing outside is listed"""
    parts: dict[str, str] = Field(default_factory=dict)
    """More names for the masks' patterns, the same for all these pictures"""
    split: str | None = None
    optional: bool = False
    """The folder may be missing: a split that is distributed later, or apart"""


class _Boxes(_Frozen):
    """Boxes in the style of Kvasir-SEG, beside the masks."""

    file: str
    """``{"<key>": {"bbox": [{"label", "xmin", "ymin", "xmax", "ymax"}]}}``"""
    key: str = "{stem}"


class _Layout(Layout):
    pictures: tuple[_Pictures, ...]
    masks: tuple[_Mask, ...]
    boxes: _Boxes | None = None

    @model_validator(mode="after")
    def _check(self) -> Self:
        for pictures in self.pictures:
            try:
                re.compile(pictures.files)
            except re.error as error:
                raise ValueError(f"{pictures.files}: {error}") from error
        return self


def read_folder_masks(root: Path, spec: DatasetSpec) -> Iterator[SourceImage]:
    """Yield the pictures in the order of their paths, split by split.

    Raises
    ------
    DatasetError
        See `training.readers.source.Reader`; also where no picture fits.
    """
    layout = _Layout.of(spec)
    boxes = {} if layout.boxes is None else _read_boxes(root / layout.boxes.file)
    there = [p for p in layout.pictures if (root / p.folder).is_dir()]
    if not there:
        raise DatasetError(f"{spec.id}: no folder {layout.pictures[0].folder}")
    for pictures in layout.pictures:
        if pictures.optional and pictures not in there:
            continue
        split = official_split(pictures.split)
        count = 0
        for path, parts in _find(root, pictures):
            count += 1
            drawn = None
            if layout.boxes is not None:
                drawn = boxes.get(_fill(layout.boxes.key, parts))
            yield SourceImage(
                image_id=path.relative_to(root).with_suffix("").as_posix(),
                load=picture_loader(path),
                regions=tuple(_regions(root, path, layout, parts=parts, drawn=drawn)),
                modality=spec.modality,
                body_part=spec.body_part,
                patient_id=parts.get("patient"),
                split=split,
            )
        if not count:
            raise DatasetError(f"{spec.id}: no picture in {pictures.folder} fits")


def _find(root: Path, pictures: _Pictures) -> Iterator[tuple[Path, dict[str, str]]]:
    pattern = re.compile(pictures.files)
    for path in sorted((root / pictures.folder).rglob("*")):
        found = pattern.fullmatch(path.relative_to(root).as_posix())
        if found is not None and path.is_file():
            parts = {key: text or "" for key, text in found.groupdict().items()}
            yield path, {"stem": path.stem, **pictures.parts, **parts}


def _regions(
    root: Path,
    image: Path,
    layout: _Layout,
    *,
    parts: dict[str, str],
    drawn: Node | None,
) -> Iterator[SourceRegion]:
    corners = {} if drawn is None else _corners(drawn, image=image)
    for mask in layout.masks:
        if any(parts.get(key) not in values for key, values in mask.when.items()):
            continue
        files = _masks(root, _fill(mask.files, parts, escape=True))
        if not files and mask.missing == "absent":
            yield SourceRegion(label=mask.label, status="absent")
        if not files and mask.missing == "error":
            raise DatasetError(_missing(root, image, mask=mask, parts=parts))
        boxes = corners.get(mask.label, ())
        for file in files:
            load = mask_loader(file, image=image, between=mask.levels)
            # The boxes are of all the masks together.
            yield SourceRegion(
                label=mask.label,
                boxes_xyxy=boxes if len(files) == 1 else (),
                mask=load,
            )


def _masks(root: Path, pattern: str) -> tuple[Path, ...]:
    return tuple(sorted(root.glob(pattern)))


def _missing(root: Path, image: Path, *, mask: _Mask, parts: dict[str, str]) -> str:
    """Say which mask is missing, and whether only its spelling differs."""
    wanted = root / _fill(mask.files, parts)
    near = [
        path.name
        for path in (wanted.parent.iterdir() if wanted.parent.is_dir() else ())
        if path.name.casefold() == wanted.name.casefold()
    ]
    hint = f"; there is {near[0]}" if near else ""
    return f"{image.name} has no mask {wanted.name} of {mask.label}{hint}"


def _fill(pattern: str, parts: dict[str, str], *, escape: bool = False) -> str:
    # Names hold brackets and stars of their own, which are no pattern.
    texts = {key: glob.escape(v) if escape else v for key, v in parts.items()}
    try:
        return pattern.format_map(texts)
    except (KeyError, ValueError, IndexError) as error:
        raise DatasetError(
            f"layout pattern {pattern!r} asks for what the pictures' pattern lacks"
        ) from error


def _read_boxes(path: Path) -> dict[str, Node]:
    return dict(read_json(path).members())


def _corners(node: Node, *, image: Path) -> dict[str, tuple[XYXY, ...]]:
    rows, columns = image_size(image)
    labels: dict[str, list[XYXY]] = {}
    for item in node.items("bbox"):
        names = ("xmin", "ymin", "xmax", "ymax")
        values = [item.member(name).number() for name in names]
        with item.checking():
            box = xyxy_within(values, rows=rows, columns=columns)
        labels.setdefault(item.member("label").text(), []).append(box)
    return {label: tuple(boxes) for label, boxes in labels.items()}
