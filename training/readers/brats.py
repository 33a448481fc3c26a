"""Read BraTS: four sequences and one label map a case, under old names and new ones.

::

    BraTS-GLI-00000-000/BraTS-GLI-00000-000-{t1n,t1c,t2w,t2f,seg}.nii.gz     (2023)
    BraTS2021_00000/BraTS2021_00000_{t1,t1ce,t2,flair,seg}.nii.gz            (before)

The label map holds the necrotic core (1), oedema (2) and the enhancing tumour: 3 in
2023, 4 before. Users ask for the composites, so they are regions of their own: the
whole tumour is all three, the tumour core is what is no oedema.

References
----------
Menze et al., The multimodal brain tumor image segmentation benchmark. IEEE Transactions
on Medical Imaging 34 (2015).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path

from training.errors import DatasetError
from training.readers.label_maps import label_mask
from training.readers.layout import Layout
from training.readers.source import SourceImage, SourceRegion
from training.readers.volume_files import find_volume
from training.readers.volumes import VolumeFile, load_picture, open_volume
from training.registry import DatasetSpec

__all__ = ["BratsLayout", "read_brats"]

_SEQUENCES = {"t1": "T1", "t1c": "T1CE", "t2": "T2", "flair": "FLAIR"}
"""Our key of a sequence to what the picture's view is called."""

_NAMES: Mapping[str, Mapping[str, str]] = {
    "-": {"t1": "t1n", "t1c": "t1c", "t2": "t2w", "flair": "t2f"},
    "_": {"t1": "t1", "t1c": "t1ce", "t2": "t2", "flair": "flair"},
}
"""Mark before the ending, which tells 2023 from before, to the names of sequences."""

_ENHANCING = {"-": 3, "_": 4}
"""Value of the enhancing tumour."""


class BratsLayout(Layout):
    """Options of the reader."""

    sequences: tuple[str, ...] = tuple(_SEQUENCES)
    """Which of t1, t1c, t2 and flair to read"""
    enhancing: int | None = None
    """Value of the enhancing tumour; None: as the names of the files say"""


def read_brats(root: Path, spec: DatasetSpec) -> Iterator[SourceImage]:
    """Yield every sequence of every case below `root`.

    Raises
    ------
    DatasetError
        A folder lacks a sequence or its label map.
    """
    layout = BratsLayout.of(spec)
    unknown = set(layout.sequences) - set(_SEQUENCES)
    if unknown:
        raise DatasetError(f"{spec.id}: there is no sequence {min(unknown)}")
    folders = [path for path in sorted(root.rglob("[!.]*")) if path.is_dir()]
    cases = [(path, mark) for path in folders if (mark := _mark(path)) is not None]
    if not cases:
        raise DatasetError(f"{root.name}: holds no case of BraTS")
    for folder, mark in cases:
        yield from _case(folder, spec, layout=layout, mark=mark)


def _mark(folder: Path) -> str | None:
    """Return what stands between case and sequence; None: the folder is no case."""
    for mark, names in _NAMES.items():
        for name in (*names.values(), "seg"):
            if find_volume(folder, f"{folder.name}{mark}{name}") is not None:
                return mark
    return None


def _case(
    folder: Path, spec: DatasetSpec, *, layout: BratsLayout, mark: str
) -> Iterator[SourceImage]:
    labels = open_volume(_file(folder, mark, "seg"))
    enhancing = layout.enhancing or _ENHANCING[mark]
    for key in layout.sequences:
        image = open_volume(_file(folder, mark, _NAMES[mark][key]))
        regions = tuple(_regions(labels, image, enhancing))
        yield SourceImage(
            image_id=f"{folder.name}/{key}",
            load=partial(load_picture, image),
            regions=regions,
            modality="MR",
            body_part=spec.body_part or "brain",
            view=_SEQUENCES[key],
            patient_id=_patient(folder.name),
            study_id=folder.name,
            label_space=tuple(spec.phrase_of(region.label) for region in regions),
        )


def _file(folder: Path, mark: str, name: str) -> Path:
    path = find_volume(folder, f"{folder.name}{mark}{name}")
    if path is None:
        raise DatasetError(f"{folder.name}: {folder.name}{mark}{name} is not there")
    return path


def _regions(
    labels: VolumeFile, image: VolumeFile, enhancing: int
) -> Iterator[SourceRegion]:
    parts = {
        "NCR": (1,),
        "ED": (2,),
        "ET": (enhancing,),
        "TC": (1, enhancing),
        "WT": (1, 2, enhancing),
    }
    for label, values in parts.items():
        # A 4 in files named as in 2023 means that they are not what they seem.
        mask = label_mask(labels, values, image=image, known=parts["WT"])
        yield SourceRegion(label=label, mask=mask)


def _patient(case: str) -> str:
    """Return the case without the number of the visit, which 2023 has at its end."""
    match = re.fullmatch(r"(BraTS-\w+-\d+)-\d+", case)
    return match[1] if match else case
