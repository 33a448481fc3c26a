"""Read volumes and label maps that lie in two folders, paired by their names (BTCV).

::

    img/img0001.nii.gz      label/label0001.nii.gz
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from training.errors import DatasetError
from training.readers.label_maps import label_mask, side_of
from training.readers.layout import Layout
from training.readers.source import SourceImage, SourceRegion
from training.readers.volume_files import VOLUME_ENDINGS, case_name
from training.readers.volumes import load_picture, open_volume
from training.registry import DatasetSpec

__all__ = ["PairedLayout", "read_paired_volumes"]


class PairedLayout(Layout):
    """Options of the reader."""

    images: str
    """Folder of the images"""
    image_name: str = r"(.+)"
    """Regular expression of an image's whole name without its ending; the first group
    is the case"""
    label_name: str
    """Path of a case's label map without its ending"""
    labels: dict[int, str]
    """Value to label"""
    exhaustive: bool = True
    """Whether every label was looked for in every case"""


def read_paired_volumes(root: Path, spec: DatasetSpec) -> Iterator[SourceImage]:
    """Yield every image of the folder, in the order of the names.

    Raises
    ------
    DatasetError
        The folder is missing or empty, or an image has no label map.
    """
    layout = PairedLayout.of(spec)
    paths = [
        path
        for path in sorted((root / layout.images).glob("[!.]*"))
        if path.name.lower().endswith(VOLUME_ENDINGS)
    ]
    if not paths:
        raise DatasetError(f"{layout.images}: holds no volume")
    for path in paths:
        match = re.fullmatch(layout.image_name, case_name(path))
        if match is None:
            raise DatasetError(f"{path.name}: is not named as {layout.image_name} says")
        yield _image(root, spec, layout=layout, path=path, case=match[1])


def _image(
    root: Path, spec: DatasetSpec, *, layout: PairedLayout, path: Path, case: str
) -> SourceImage:
    base = layout.label_name.format(case=case)
    found = [
        root / f"{base}{ending}"
        for ending in VOLUME_ENDINGS
        if (root / f"{base}{ending}").is_file()
    ]
    if not found:
        raise DatasetError(f"{path.name}: its label map {base} is not there")
    image, labels = open_volume(path), open_volume(found[0])
    regions = tuple(
        SourceRegion(
            label=label,
            mask=label_mask(labels, (value,), image=image, known=layout.labels),
            laterality=side_of(label),
        )
        for value, label in sorted(layout.labels.items())
    )
    return SourceImage(
        image_id=case_name(path),
        load=partial(load_picture, image),
        regions=regions,
        modality=spec.modality,
        body_part=spec.body_part,
        patient_id=case,
        label_space=tuple(spec.phrase_of(region.label) for region in regions)
        if layout.exhaustive
        else None,
    )
