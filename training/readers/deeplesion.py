"""Read DeepLesion: key slices of CT with boxes round the lesions that were measured.

::

    DL_info.csv
    Images_png/000001_01_01/109.png       Hounsfield units + 32768, 16 bit

What was not measured is not marked: an unmarked lesion is no negative.

References
----------
Yan et al., DeepLesion: automated mining of large-scale lesion annotations and
universal lesion detection with deep learning. Journal of Medical Imaging 5 (2018).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np

from training.errors import DatasetError
from training.readers.boxes import XYXY, xyxy_within
from training.readers.images import load_picture
from training.readers.layout import ImageLayout, Split
from training.readers.source import Picture, SourceImage, SourceRegion
from training.readers.tables import Row, read_table
from training.registry import DatasetSpec

__all__ = ["DeepLesionLayout", "read_deeplesion"]

_OFFSET_HU = 32768
"""Added to Hounsfield units before they were stored."""

_COARSE_TYPES = {
    -1: "lesion",
    1: "bone lesion",
    2: "abdominal lesion",
    3: "mediastinal lesion",
    4: "liver lesion",
    5: "lung lesion",
    6: "kidney lesion",
    7: "soft tissue lesion",
    8: "pelvic lesion",
}
"""Coarse_lesion_type; -1 is unknown, as it is for everything to train on."""

_SPLITS: dict[int, Split] = {1: "train", 2: "val", 3: "test"}

_COLUMNS = (
    "File_name",
    "Patient_index",
    "Study_index",
    "Series_ID",
    "Bounding_boxes",
    "Coarse_lesion_type",
    "Possibly_noisy",
    "Spacing_mm_px_",
    "Image_size",
    "Train_Val_Test",
)


class DeepLesionLayout(ImageLayout):
    """Options of the reader."""

    table: str = "DL_info.csv"
    images: str = "Images_png"


def read_deeplesion(root: Path, spec: DatasetSpec) -> Iterator[SourceImage]:
    """Yield every key slice, with all lesions that lines of the table give it.

    Raises
    ------
    DatasetError
        A line says something impossible, or its image is missing.
    """
    layout = DeepLesionLayout.of(spec)
    lines: dict[str, list[Row]] = {}
    for row in read_table(root / layout.table, required=_COLUMNS):
        lines.setdefault(row.text("File_name"), []).append(row)
    for name in sorted(lines):
        rows = lines[name]
        first = rows[0]
        folder, _, file = name.rpartition("_")
        where = f"{layout.table}, line {first.line}"
        path = layout.find(root / layout.images / folder / file, where)
        if path is None:
            continue
        spacing = _numbers(first, "Spacing_mm_px_", 3)
        split = _SPLITS.get(first.integer("Train_Val_Test"))
        if split is None:
            first.fail("Train_Val_Test is none of 1, 2 and 3")
        yield SourceImage(
            image_id=name.removesuffix(".png"),
            load=partial(_load, path, (0.0, spacing[1], spacing[0])),
            regions=tuple(region for row in rows for region in _regions(row)),
            modality=spec.modality,
            body_part=spec.body_part,
            patient_id=first.text("Patient_index"),
            study_id=f"{first.text('Patient_index')}_{first.text('Study_index')}",
            split=split,
        )


def _regions(row: Row) -> Iterator[SourceRegion]:
    kind = row.integer("Coarse_lesion_type")
    if kind not in _COARSE_TYPES:
        row.fail("Coarse_lesion_type is not known")
    columns, rows = _numbers(row, "Image_size", 2)
    values = _floats(row, "Bounding_boxes")
    if not values or len(values) % 4:
        row.fail("Bounding_boxes are not four numbers each")
    boxes: list[XYXY] = []
    for start in range(0, len(values), 4):
        box = values[start : start + 4]
        try:
            boxes.append(xyxy_within(box, rows=rows, columns=columns))
        except ValueError as error:
            row.fail(str(error))
    for one in boxes:
        yield SourceRegion(
            label=_COARSE_TYPES[kind],
            boxes_xyxy=(one,),
            ignore=row.integer("Possibly_noisy") != 0,
            complete=False,
        )


def _load(path: Path, spacing_mm: tuple[float, float, float]) -> Picture:
    picture = load_picture(path)
    if picture.pixels.ndim != 2 or picture.pixels.dtype.itemsize < 2:
        raise DatasetError(f"{path.parent.name}/{path.name}: is not a 16-bit picture")
    hounsfield = picture.pixels.astype(np.float32) - _OFFSET_HU
    return replace(picture, pixels=hounsfield, spacing_mm=spacing_mm)


def _floats(row: Row, column: str) -> list[float]:
    """Return the numbers of a cell; several stand in quotes, with commas between."""
    try:
        return [float(part) for part in row.text(column).split(",")]
    except ValueError:
        row.fail(f"{column} are not numbers")


def _numbers(row: Row, column: str, count: int) -> list[float]:
    found = _floats(row, column)
    if len(found) != count or not all(np.isfinite(found)) or min(found) <= 0:
        row.fail(f"{column} are not {count} numbers above 0")
    return found
