"""Read NIH ChestX-ray8 and ChestX-ray14: boxes of eight findings.

References
----------
Wang et al., ChestX-ray8: Hospital-scale Chest X-ray Database and Benchmarks,
CVPR 2017.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from training.errors import DatasetError
from training.readers.boxes import XYXY, xywh_to_xyxy
from training.readers.images import picture_loader
from training.readers.layout import ImageLayout, Split
from training.readers.source import SourceImage, SourceRegion
from training.readers.tables import Row, read_lines, read_table
from training.registry import DatasetSpec

__all__ = ["read_chestxray"]

_SPELLINGS = {"Infiltrate": "Infiltration"}
"""The box list's word to that of the label list."""

_NOTHING = "No Finding"


class _Layout(ImageLayout):
    boxes: str = "BBox_List_2017.csv"
    entries: str = "Data_Entry_2017_v2020.csv"
    train_list: str = "train_val_list.txt"
    test_list: str = "test_list.txt"
    folders: tuple[str, ...] = ("images", "images_*/images")
    """Where the pictures lie: unpacked together, or archive by archive"""
    size: int = 1024
    """Rows and columns of the pictures that the boxes are drawn on"""
    images_without_boxes: bool = False
    """Also yield the images whose findings nobody drew. Their labels come from report
    texts: a finding that is named there is ignored, the others are absent."""


def read_chestxray(root: Path, spec: DatasetSpec) -> Iterator[SourceImage]:
    """Yield the images with boxes, in the order of ``Data_Entry``.

    A finding of the image's label list without a box is ignored: it is there, nobody
    says where.

    Raises
    ------
    DatasetError
        See `training.readers.source.Reader`.
    """
    layout = _Layout.of(spec)
    drawn = _read_boxes(root / layout.boxes, size=layout.size)
    splits = _read_splits(root, layout)
    folders = [path for name in layout.folders for path in sorted(root.glob(name))]
    for row in read_table(
        root / layout.entries,
        required=("Image Index", "Finding Labels", "Patient ID", "View Position"),
    ):
        name = row.text("Image Index")
        boxes = drawn.pop(name, {})
        if not boxes and not layout.images_without_boxes:
            continue
        candidates = [folder / name for folder in folders] or [root / name]
        there = next((path for path in candidates if path.is_file()), candidates[0])
        path = layout.find(there, row.place)
        if path is None:
            continue
        yield SourceImage(
            image_id=Path(name).stem,
            load=picture_loader(path),
            regions=_regions(boxes, named=_named(row)),
            modality=spec.modality,
            body_part=spec.body_part,
            view=row.cell("View Position") or None,
            patient_id=row.text("Patient ID"),
            split=splits.get(name),
        )
    if drawn:
        raise DatasetError(
            f"{layout.boxes}: {len(drawn)} images are not in {layout.entries}"
        )


def _regions(
    boxes: dict[str, list[XYXY]], *, named: list[str]
) -> tuple[SourceRegion, ...]:
    regions = [
        SourceRegion(label=label, boxes_xyxy=tuple(found))
        for label, found in boxes.items()
    ]
    regions += [
        SourceRegion(label=label, ignore=True) for label in named if label not in boxes
    ]
    return tuple(regions)


def _named(row: Row) -> list[str]:
    labels = [label.strip() for label in row.text("Finding Labels").split("|")]
    return [_SPELLINGS.get(label, label) for label in labels if label != _NOTHING]


def _read_boxes(path: Path, *, size: int) -> dict[str, dict[str, list[XYXY]]]:
    # The header names one cell "Bbox [x,y,w,h]" and so takes four: places count.
    images: dict[str, dict[str, list[XYXY]]] = {}
    for row in read_table(path):
        label = row.text(1)
        values = tuple(row.number(place) for place in range(2, 6))
        with row.checking():
            box = xywh_to_xyxy(values, rows=size, columns=size)
        labels = images.setdefault(row.text(0), {})
        labels.setdefault(_SPELLINGS.get(label, label), []).append(box)
    return images


def _read_splits(root: Path, layout: _Layout) -> dict[str, Split]:
    splits: dict[str, Split] = {}
    lists: tuple[tuple[str, Split], ...] = (
        (layout.train_list, "train"),
        (layout.test_list, "test"),
    )
    for name, split in lists:
        # The lists came later than the pictures: an old copy has none.
        if (root / name).is_file():
            splits.update(dict.fromkeys(read_lines(root / name), split))
    return splits
