"""Read the series that no training ever sees: a real CT from DICOM, and its labels."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import nibabel
import numpy as np
import pydicom
from numpy.typing import NDArray

from model.records import ImageStack
from training.derived.elsewhere import absent_from
from training.derived.volumes import (
    LABEL_TABLES,
    load_canonical,
    structure_table,
    unify_labels,
)
from training.phrases import Concept, Lexicon

__all__ = ["HeldOut", "load_held_out"]

_UNCLEAR = frozenset(
    {"lungs", "left lung", "right lung", "left lower lobe", "right lower lobe"}
    | {"thoracic aorta", "abdominal aorta"}
)
"""No verdict: thin lung recesses are in the picture but not in the labels, and the
labels do not tell the two parts of the aorta apart."""


@dataclass(frozen=True, eq=False)
class HeldOut:
    """The evaluation series."""

    stack: ImageStack
    labels: NDArray[np.uint8]
    """Unified label values on the stack's grid"""

    def region(self, concept: Concept, lexicon: Lexicon) -> NDArray[np.bool_]:
        """Return the labelled region of a concept."""
        row = lexicon.concepts.index(concept)
        region: NDArray[np.bool_] = structure_table(lexicon)[row][self.labels]
        return region

    def judged(self, lexicon: Lexicon) -> tuple[list[Concept], list[Concept]]:
        """Return the concepts that are surely present and surely absent here."""
        total = frozenset(LABEL_TABLES["total"].values()) | absent_from("torso")
        present, absent = [], []
        for concept in lexicon.concepts:
            labelled = any(member in total for member in concept.members)
            if concept.name in _UNCLEAR or not (labelled or concept.kind == "absent"):
                continue
            if self.region(concept, lexicon).any():
                present.append(concept)
            else:
                absent.append(concept)
        return present, absent


def load_held_out(reference: Path) -> HeldOut:
    """Load ``example_ct_dicom`` as a canonical stack, with its labels.

    Raises
    ------
    ValueError
        Image and labels do not lie on the same grid.
    """
    files = sorted((reference / "example_ct_dicom").iterdir())
    slices = [pydicom.dcmread(file) for file in files]
    slices.sort(key=lambda ds: float(ds.ImagePositionPatient[2]))
    first, last = slices[0], slices[-1]
    step = (
        float(last.ImagePositionPatient[2]) - float(first.ImagePositionPatient[2])
    ) / (len(slices) - 1)
    pixels = np.stack(
        [
            ds.pixel_array * float(ds.RescaleSlope) + float(ds.RescaleIntercept)
            for ds in slices
        ]
    ).astype(np.float32)
    path = reference / "example_seg_dicom.nii.gz"
    labels, spacing = load_canonical(path)
    _compare_grids(first, path, shape=labels.shape, expected=pixels.shape)
    if abs(spacing[0] - step) > 1e-3:
        raise ValueError(f"labels every {spacing[0]} mm, slices every {step} mm")
    return HeldOut(
        stack=ImageStack(
            pixels=pixels,
            spacing_mm=(
                step,
                float(first.PixelSpacing[0]),
                float(first.PixelSpacing[1]),
            ),
            modality=str(first.Modality),
            body_part=first.get("BodyPartExamined"),
            is_volume=True,
        ),
        labels=unify_labels(labels, LABEL_TABLES["total"]),
    )


def _compare_grids(
    first: pydicom.Dataset,
    path: Path,
    *,
    shape: tuple[int, ...],
    expected: tuple[int, ...],
) -> None:
    """Check that the lowest slice starts where the labels start."""
    if shape != expected:
        raise ValueError(f"labels have shape {shape}, pictures {expected}")
    if [float(v) for v in first.ImageOrientationPatient] != [1, 0, 0, 0, 1, 0]:
        raise ValueError("the series is not axial")
    library = nibabel
    affine = library.load(path).affine  # type: ignore[attr-defined]
    corners = np.array(
        [affine @ [i, j, 0, 1] for i in (0, shape[2] - 1) for j in (0, shape[1] - 1)]
    )
    # DICOM's x and y run to the left and back, NIfTI's to the right and front.
    corner = np.array([(-corners[:, 0]).min(), (-corners[:, 1]).min(), affine[2, 3]])
    position = np.array([float(v) for v in first.ImagePositionPatient])
    if np.abs(corner - position).max() > 0.1:
        raise ValueError(f"labels start at {corner}, pictures at {position}")
