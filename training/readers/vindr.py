"""Read VinDr-CXR: three radiologists' boxes on every training radiograph.

References
----------
Nguyen et al., VinDr-CXR: An open dataset of chest X-rays with radiologist's
annotations, Scientific Data 2022; PhysioNet ``vindr-cxr`` and the Kaggle competition
``vinbigdata-chest-xray-abnormalities-detection``.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from training.readers.boxes import XYXY, xyxy_within
from training.readers.images import picture_loader
from training.readers.layout import ImageLayout, official_split
from training.readers.source import SourceImage, SourceRegion
from training.readers.tables import Row, read_table
from training.registry import DatasetSpec

__all__ = ["read_vindr"]

_NOTHING = "No finding"

_CORNERS = ("x_min", "y_min", "x_max", "y_max")


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    table: str
    images: str
    """Folder"""
    split: str | None = None


class _Layout(ImageLayout):
    parts: tuple[_Part, ...]
    suffix: str = ".dicom"
    ignored: tuple[str, ...] = ("Other lesion",)
    """Labels that say too little to be asked for"""
    voi: bool = False
    """Apply the DICOM window, see `training.readers.images.load_picture`"""


def read_vindr(root: Path, spec: DatasetSpec) -> Iterator[SourceImage]:
    """Yield every image of the tables.

    A region is what one reader drew of one finding, so that the build can fuse the
    readers; a reader who read the image and did not draw what another drew says that
    it is absent. In an image without boxes all findings of the specification's
    ``label_space`` are absent.

    Raises
    ------
    DatasetError
        See `training.readers.source.Reader`.
    """
    layout = _Layout.of(spec)
    for part in layout.parts:
        split = official_split(part.split)
        for image, rows in _by_image(root / part.table).items():
            where = rows[0].place
            path = layout.find(root / part.images / f"{image}{layout.suffix}", where)
            if path is None:
                continue
            yield SourceImage(
                image_id=image,
                load=picture_loader(path, voi=layout.voi),
                regions=_regions(rows, ignored=layout.ignored),
                modality=spec.modality,
                body_part=spec.body_part,
                split=split,
            )


def _by_image(path: Path) -> dict[str, list[Row]]:
    images: dict[str, list[Row]] = {}
    for row in read_table(path, required=("image_id", "class_name", *_CORNERS)):
        images.setdefault(row.text("image_id"), []).append(row)
    return images


def _regions(rows: list[Row], *, ignored: tuple[str, ...]) -> tuple[SourceRegion, ...]:
    readers: dict[str | None, None] = {}
    drawn: dict[str, dict[str | None, list[XYXY]]] = {}
    for row in rows:
        label = row.text("class_name")
        # Kaggle writes rad_id, PhysioNet rad_ID; the test set's readers agreed on one
        # answer, and its table names none.
        reader = row.text("rad_id") if "rad_id" in row else None
        readers[reader] = None
        box = _box(row, expected=label.casefold() != _NOTHING.casefold())
        if box is not None:
            drawn.setdefault(label, {}).setdefault(reader, []).append(box)
    return tuple(
        SourceRegion(
            label=label,
            reader=reader,
            status="present" if reader in found else "absent",
            boxes_xyxy=tuple(dict.fromkeys(found.get(reader, ()))),
            ignore=label in ignored,
        )
        for label, found in drawn.items()
        for reader in readers
    )


def _box(row: Row, *, expected: bool) -> XYXY | None:
    if not expected:
        if any(row.number_or_none(name) is not None for name in _CORNERS):
            row.fail(f"{_NOTHING} has a box")
        return None
    with row.checking():
        return xyxy_within([row.number(name) for name in _CORNERS])
