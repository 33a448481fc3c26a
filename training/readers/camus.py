"""Read CAMUS: apical echocardiograms with the left heart outlined, NIfTI or MetaImage.

::

    database_nifti/patient0001/patient0001_2CH_ED.nii.gz, ..._ED_gt.nii.gz
                               patient0001_4CH_half_sequence.nii.gz, ..._gt.nii.gz
    training/patient0001/patient0001_2CH_ED.mhd, .raw                  (old release)

Pixels are two to three times as wide as high, and a picture has no place in the
patient: it is taken as stored.

References
----------
Leclerc et al., Deep learning for segmentation using an open large-scale dataset in 2D
echocardiography. IEEE Transactions on Medical Imaging 38 (2019).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from training.errors import DatasetError
from training.readers.label_maps import label_mask
from training.readers.layout import Layout, Split
from training.readers.source import SourceImage, SourceRegion
from training.readers.tables import read_lines
from training.readers.volume_files import VOLUME_ENDINGS, case_name, find_volume
from training.readers.volumes import load_picture, open_volume
from training.registry import DatasetSpec

__all__ = ["CamusLayout", "read_camus"]

_LABELS = {
    1: "left ventricle cavity",
    2: "left ventricle myocardium",
    3: "left atrium",
}
"""Values of the label map."""

_NAME = re.compile(r"(patient\d+)_(2CH|4CH)_(ED|ES|half_sequence)")
"""Patient, view and moment: end of diastole, of systole, or the beats between."""

_SPLITS: dict[Split, str] = {
    "train": "subgroup_training.txt",
    "val": "subgroup_validation.txt",
    "test": "subgroup_testing.txt",
}
"""Lists of patients."""


class CamusLayout(Layout):
    """Options of the reader."""

    sequences: bool = False
    """Whether to read every frame of the half sequences instead of their two ends"""
    splits: str | None = None
    """Folder of the lists of patients, below the root; None: not used"""


def read_camus(root: Path, spec: DatasetSpec) -> Iterator[SourceImage]:
    """Yield every outlined picture below `root`.

    Raises
    ------
    DatasetError
        A picture has no label map, or of another size; a list of patients is missing.
    """
    layout = CamusLayout.of(spec)
    splits = _official_splits(root, layout)
    found = [
        (path, match)
        for path in sorted(root.rglob("patient*"))
        if path.name.lower().endswith(VOLUME_ENDINGS)
        and (match := _NAME.fullmatch(case_name(path))) is not None
        and (match[3] == "half_sequence") == layout.sequences
    ]
    if not found:
        raise DatasetError(f"{root.name}: holds no picture of CAMUS")
    for path, match in found:
        yield from _pictures(path, match, spec=spec, split=splits.get(match[1]))


def _pictures(
    path: Path, match: re.Match[str], *, spec: DatasetSpec, split: Split | None
) -> Iterator[SourceImage]:
    name = case_name(path)
    outlined = find_volume(path.parent, f"{name}_gt")
    if outlined is None:
        raise DatasetError(f"{path.name}: {name}_gt is not there")
    image, labels = open_volume(path), open_volume(outlined)
    frames = image.spatial_shape[2]
    for frame in range(frames):
        yield SourceImage(
            image_id=name if frames == 1 else f"{name}/{frame}",
            load=partial(load_picture, image, channel=frame, single=True),
            regions=tuple(
                SourceRegion(
                    label=label,
                    mask=label_mask(
                        labels, (value,), image=image, plane=frame, known=_LABELS
                    ),
                )
                for value, label in _LABELS.items()
            ),
            modality="US",
            body_part=spec.body_part or "heart",
            view=match[2],
            patient_id=match[1],
            study_id=f"{match[1]}_{match[2]}",
            split=split,
            label_space=tuple(spec.phrase_of(label) for label in _LABELS.values()),
        )


def _official_splits(root: Path, layout: CamusLayout) -> dict[str, Split]:
    if layout.splits is None:
        return {}
    return {
        patient: split
        for split, name in _SPLITS.items()
        for patient in read_lines(root / layout.splits / name)
    }
