"""Read TotalSegmentator: a folder for each scan, one binary NIfTI for each structure.

::

    meta.csv                        image_id;age;gender;...;study_type;split
    s0001/ct.nii.gz                 (or mri.nii.gz)
    s0001/segmentations/liver.nii.gz

References
----------
Wasserthal et al., TotalSegmentator: robust segmentation of 104 anatomic structures in
CT images. Radiology: Artificial Intelligence 5 (2023).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from fnmatch import fnmatchcase
from functools import partial
from pathlib import Path

from pydantic import Field

from training.errors import DatasetError
from training.readers.label_maps import label_mask, side_of
from training.readers.layout import Layout, official_split
from training.readers.source import Mask, SourceImage, SourceRegion
from training.readers.tables import Row, read_table
from training.readers.volume_files import case_name, find_volume
from training.readers.volumes import VolumeFile, load_picture, open_volume
from training.registry import DatasetSpec

__all__ = ["TotalSegmentatorLayout", "read_totalsegmentator"]

_IMAGES = {"ct": "CT", "mri": "MR"}
"""File of the scan, without its ending, to DICOM Modality."""

_BODY_PARTS = {
    "head": r"head|brain|schaedel|skull",
    "neck": r"neck|hals",
    "chest": r"thorax|chest|lung",
    "abdomen": r"abdomen",
    "pelvis": r"pelvis|becken",
}
"""Part of the body to the words of ``study_type`` that mean it."""


class TotalSegmentatorLayout(Layout):
    """Options of the reader."""

    meta: str = "meta.csv"
    folder: str = "segmentations"
    exclude: tuple[str, ...] = ()
    """Structures that are not read: the face, which is blurred"""
    composites: dict[str, tuple[str, ...]] = Field(default_factory=dict)
    """Labels of their own to the structures that they are made of. One is read where
    all its parts have a file; a trailing * stands for any ending"""


def read_totalsegmentator(root: Path, spec: DatasetSpec) -> Iterator[SourceImage]:
    """Yield every scan below `root`, in the order of its name.

    A structure without a file says nothing; a file without a voxel says that the
    structure is not in the scan.

    Raises
    ------
    DatasetError
        The table is missing, a scan is not in it, or a folder holds no scan.
    """
    layout = TotalSegmentatorLayout.of(spec)
    rows = {
        row.text("image_id"): row
        for row in read_table(
            root / layout.meta, required=("image_id", "split"), delimiter=";"
        )
    }
    for folder in sorted(path for path in root.iterdir() if path.is_dir()):
        if folder.name.startswith(".") or not (folder / layout.folder).is_dir():
            continue
        if folder.name not in rows:
            raise DatasetError(f"{layout.meta}: has no line for {folder.name}")
        yield _scan(folder, spec, layout=layout, row=rows[folder.name])


def _scan(
    folder: Path, spec: DatasetSpec, *, layout: TotalSegmentatorLayout, row: Row
) -> SourceImage:
    image, modality = _open_image(folder)
    files = {
        case_name(path): path
        for path in sorted((folder / layout.folder).glob("[!.]*.nii*"))
        if case_name(path) not in layout.exclude
    }
    parts: dict[str, tuple[Path, ...]] = {
        label: (path,) for label, path in files.items()
    }
    for label, names in layout.composites.items():
        found = [_matching(files, name) for name in names]
        if all(found):
            parts[label] = tuple(path for paths in found for path in paths)
    regions = [
        SourceRegion(
            label=label,
            mask=partial(_union_mask, paths, image),
            laterality=side_of(label),
        )
        for label, paths in parts.items()
    ]
    study = row.cell("study_type") if "study_type" in row else ""
    return SourceImage(
        image_id=folder.name,
        load=partial(load_picture, image),
        regions=tuple(regions),
        modality=modality,
        body_part=_body_part(study) or spec.body_part,
        patient_id=folder.name,
        split=official_split(row.cell("split")),
        label_space=tuple(spec.phrase_of(region.label) for region in regions),
    )


def _open_image(folder: Path) -> tuple[VolumeFile, str]:
    for name, modality in _IMAGES.items():
        path = find_volume(folder, name)
        if path is not None:
            return open_volume(path), modality
    raise DatasetError(f"{folder.name}: holds neither ct.nii.gz nor mri.nii.gz")


def _matching(files: dict[str, Path], name: str) -> tuple[Path, ...]:
    return tuple(path for label, path in files.items() if fnmatchcase(label, name))


def _union_mask(paths: tuple[Path, ...], image: VolumeFile) -> Mask:
    union: Mask | None = None
    for path in paths:
        mask = label_mask(open_volume(path), (1,), image=image, known=(1,))()
        union = mask if union is None else union | mask
    if union is None:
        raise DatasetError("a structure without a file has no mask")
    return union


def _body_part(study_type: str) -> str | None:
    """Return the part of the body that a study is of; None: several, or unknown."""
    found = [
        part
        for part, words in _BODY_PARTS.items()
        if re.search(words, study_type, re.IGNORECASE)
    ]
    return found[0] if len(found) == 1 else None
