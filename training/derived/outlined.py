"""Read the upper abdomen of the thoracic CT angiogram with outlines of our own.

The label source leaves the abdominal organs of this patient unlabelled. Liver and
stomach are drawn by hand on every eighth slice and interpolated, the spleen is grown
from its arterial enhancement, and vertebrae, ribs, cord and back muscles are what
version 1 of the bundled checkpoint found, cut to bone where they are bone. One
person drew them, no radiologist; the tier is ``fused``.
"""

from __future__ import annotations

from importlib import resources
from pathlib import Path

import numpy as np

from training.derived.volumes import (
    LABEL_TABLES,
    LabelledVolume,
    load_canonical,
    unify_labels,
)

__all__ = ["load_upper_abdomen"]

_UNCLEAR = frozenset(
    {"T11", "left lower lobe", "right lower lobe", "thoracic aorta"}
    | {"abdominal aorta", "costal cartilage", "lungs", "left lung", "right lung"}
)
"""Concepts that these outlines cannot judge: every thoracic vertebra but T12 carries
one label, every rib too, and lobes are not told apart."""


def load_upper_abdomen(reference: Path) -> LabelledVolume:
    """Load 27 slices of 1.5 mm in the late arterial phase.

    Parameters
    ----------
    reference
        Folder of the TotalSegmentator reference files.
    """
    image, spacing = load_canonical(reference / "aorta_report" / "example_ct.nii.gz")
    file = resources.files("training.derived") / "outlines" / "upper_abdomen_cta.npz"
    with file.open("rb") as stream, np.load(stream, allow_pickle=False) as stored:
        labels, first = stored["labels"], int(stored["first"])
    table = LABEL_TABLES["total"]
    return LabelledVolume(
        name="upper_abdomen_cta",
        modality="CT",
        image=image[first : first + len(labels)].astype(np.float32),
        labels=unify_labels(labels, table),
        spacing_mm=spacing,
        label_space=frozenset(table[int(value)] for value in np.unique(labels) if value)
        - {"heart"},
        unknown=_UNCLEAR,
    )
