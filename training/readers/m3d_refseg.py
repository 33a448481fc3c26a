"""Read M3D-RefSeg: CT volumes, and for each value of a label map the words of it.

::

    s0001/ct.nii.gz, mask.nii.gz, text.json     {"1": "Round hypodense lesion ..."}

References
----------
Bai et al., M3D: advancing 3D medical image analysis with multi-modal large language
models. arXiv 2404.00578 (2024).
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path

from training.errors import DatasetError
from training.readers.jsonfile import read_json
from training.readers.label_maps import label_mask
from training.readers.layout import Layout
from training.readers.source import SourceImage, SourceRegion
from training.readers.volumes import load_picture, open_volume
from training.registry import DatasetSpec

__all__ = ["read_m3d_refseg"]


def read_m3d_refseg(root: Path, spec: DatasetSpec) -> Iterator[SourceImage]:
    """Yield every volume below `root`. What no text describes says nothing.

    Raises
    ------
    DatasetError
        A folder lacks its texts or its label map, or a text has no number.
    """
    Layout.of(spec)
    volumes = sorted(root.glob("*/ct.nii.gz"))
    if not volumes:
        raise DatasetError(f"{root.name}: holds no */ct.nii.gz")
    for path in volumes:
        folder = path.parent
        image = open_volume(path)
        labels = open_volume(folder / "mask.nii.gz")
        regions = []
        for key, node in read_json(folder / "text.json").members():
            if not key.isdecimal() or int(key) < 1:
                node.fail("the text belongs to no number of the label map")
            mask = label_mask(labels, (int(key),), image=image)
            text = node.text().strip()
            regions.append(
                SourceRegion(label=text, phrase=text, mask=mask, complete=False)
            )
        yield SourceImage(
            image_id=folder.name,
            load=partial(load_picture, image),
            regions=tuple(regions),
            modality=spec.modality,
            body_part=spec.body_part,
            patient_id=folder.name,
        )
