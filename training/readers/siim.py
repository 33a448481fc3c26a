"""Read the SIIM-ACR Pneumothorax Segmentation challenge: run-length masks.

References
----------
SIIM-ACR Pneumothorax Segmentation, Kaggle 2019, ``mask_functions.py`` of the data.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

import numpy as np

from training.readers.images import picture_loader
from training.readers.layout import ImageLayout
from training.readers.source import Mask, SourceImage, SourceRegion
from training.readers.tables import Row, read_table
from training.registry import DatasetSpec

__all__ = ["decode_relative_runs", "read_siim"]

_NOTHING = "-1"


class _Layout(ImageLayout):
    table: str = "train-rle.csv"
    images: str = "dicom-images-train"
    """Folder; the images lie two folders further down, one series each"""
    suffix: str = ".dcm"
    label: str = "Pneumothorax"
    size: int = 1024
    """Rows and columns of every image"""
    voi: bool = False
    """Apply the DICOM window, see `training.readers.images.load_picture`"""


def read_siim(root: Path, spec: DatasetSpec) -> Iterator[SourceImage]:
    """Yield every image of the table.

    ``-1`` means that the finding is absent, which the specification's ``label_space``
    says. Several rows of one image are parts of one mask.

    Raises
    ------
    DatasetError
        See `training.readers.source.Reader`.
    """
    layout = _Layout.of(spec)
    images: dict[str, tuple[int, list[tuple[int, ...]]]] = {}
    for row in read_table(root / layout.table, required=("ImageId", "EncodedPixels")):
        runs = _runs(row, size=layout.size)
        _, parts = images.setdefault(row.text("ImageId"), (row.line, []))
        if runs:
            parts.append(runs)
    folder = root / layout.images
    paths = {path.stem: path for path in folder.rglob(f"*{layout.suffix}")}
    for image, (line, parts) in images.items():
        path = paths.get(image, folder / f"{image}{layout.suffix}")
        if layout.find(path, f"{layout.table}, line {line}") is None:
            continue
        mask = partial(decode_relative_runs, tuple(parts), size=layout.size)
        yield SourceImage(
            image_id=image,
            load=picture_loader(path, voi=layout.voi),
            regions=(SourceRegion(label=layout.label, mask=mask),) if parts else (),
            modality=spec.modality,
            body_part=spec.body_part,
        )


def decode_relative_runs(parts: Sequence[Sequence[int]], *, size: int) -> Mask:
    """Paint runs into a square mask.

    Parameters
    ----------
    parts
        Each: offset, length, offset, length, ... in column-major order, where an
        offset counts from the end of the run before, the first one from the start.
    size
        Rows and columns.
    """
    flat = np.zeros(size * size, dtype=np.bool_)
    for runs in parts:
        at = 0
        for offset, length in zip(runs[::2], runs[1::2], strict=True):
            at += offset
            flat[at : at + length] = True
            at += length
    return np.ascontiguousarray(flat.reshape(size, size).T)


def _runs(row: Row, *, size: int) -> tuple[int, ...]:
    text = row.text("EncodedPixels")
    if text == _NOTHING:
        return ()
    try:
        runs = tuple(int(part) for part in text.split())
    except ValueError:
        row.fail("EncodedPixels are not whole numbers")
    if len(runs) % 2 or min(runs) < 0:
        row.fail("EncodedPixels are not pairs of offset and length")
    if sum(runs) > size * size:
        row.fail(f"EncodedPixels reach out of a picture of {size} x {size}")
    return runs
