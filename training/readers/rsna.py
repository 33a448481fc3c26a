"""Read the RSNA Pneumonia Detection Challenge: boxes of lung opacities.

References
----------
Shih et al., Augmenting the National Institutes of Health Chest Radiograph Dataset with
Expert Annotations of Possible Pneumonia, Radiology: AI 2019.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from training.readers.boxes import XYXY, xywh_to_xyxy
from training.readers.images import picture_loader
from training.readers.layout import ImageLayout
from training.readers.source import SourceImage, SourceRegion
from training.readers.tables import Row, read_table
from training.registry import DatasetSpec

__all__ = ["read_rsna"]

_SIDES = ("x", "y", "width", "height")


class _Layout(ImageLayout):
    labels: str = "stage_2_train_labels.csv"
    images: str = "stage_2_train_images"
    suffix: str = ".dcm"
    label: str = "Lung Opacity"
    """What a box shows, in the words of ``stage_2_detailed_class_info.csv``"""
    size: int = 1024
    """Rows and columns of every image"""
    voi: bool = False
    """Apply the DICOM window, see `training.readers.images.load_picture`"""


def read_rsna(root: Path, spec: DatasetSpec) -> Iterator[SourceImage]:
    """Yield every labelled image.

    ``Target`` 0 means that the finding is absent, which the specification's
    ``label_space`` says. ``patientId`` numbers images, not patients, so none is named.

    Raises
    ------
    DatasetError
        See `training.readers.source.Reader`.
    """
    layout = _Layout.of(spec)
    images: dict[str, tuple[int, list[XYXY]]] = {}
    for row in read_table(
        root / layout.labels, required=("patientId", *_SIDES, "Target")
    ):
        box = _box(row, size=layout.size)
        _, boxes = images.setdefault(row.text("patientId"), (row.line, []))
        if box is not None:
            boxes.append(box)
    for image, (line, boxes) in images.items():
        path = root / layout.images / f"{image}{layout.suffix}"
        if layout.find(path, f"{layout.labels}, line {line}") is None:
            continue
        region = SourceRegion(label=layout.label, boxes_xyxy=tuple(boxes))
        yield SourceImage(
            image_id=image,
            load=picture_loader(path, voi=layout.voi),
            regions=(region,) if boxes else (),
            modality=spec.modality,
            body_part=spec.body_part,
        )


def _box(row: Row, *, size: int) -> XYXY | None:
    target = row.integer("Target")
    if target == 0:
        if any(row.number_or_none(name) is not None for name in _SIDES):
            row.fail("Target is 0, and there is a box")
        return None
    if target != 1:
        row.fail("Target is neither 0 nor 1")
    with row.checking():
        return xywh_to_xyxy(
            [row.number(name) for name in _SIDES], rows=size, columns=size
        )
