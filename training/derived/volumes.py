"""Load the open training volumes into one canonical frame with one label table.

Canonical axes are S, P, L: slices grow towards the head, rows from anterior to
posterior, columns from the patient's right to the left.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from training.phrases import Lexicon

__all__ = [
    "STRUCTURES",
    "LabelledVolume",
    "known_concepts",
    "load_canonical",
    "load_training_volumes",
    "structure_table",
    "unify_labels",
]


def _label_tables() -> dict[str, dict[int, str]]:
    source = resources.files("training") / "knowledge" / "labels.json"
    raw: dict[str, dict[str, str]] = json.loads(source.read_text(encoding="utf-8"))
    return {
        task: {int(value): name for value, name in table.items()}
        for task, table in raw.items()
    }


LABEL_TABLES = _label_tables()
"""Label value to structure name, for each task of the label source."""

STRUCTURES = tuple(
    sorted(
        {name for table in LABEL_TABLES.values() for name in table.values()}
        | {"pulmonary_artery"}
    )
)
"""Structure names; the unified label value is the position plus one."""


@dataclass(frozen=True, eq=False)
class LabelledVolume:
    """One volume and what is known about it."""

    name: str
    modality: str
    image: NDArray[np.float32]
    """(slices, rows, columns), HU for CT"""
    labels: NDArray[np.uint8]
    """(slices, rows, columns), unified label values, 0 = background"""
    spacing_mm: tuple[float, float, float]
    label_space: frozenset[str]
    """Structures that would have been labelled had they been there."""
    unknown: frozenset[str] = frozenset()
    """Concepts about which the labels say nothing, whatever their members."""


def load_canonical(path: Path) -> tuple[NDArray[Any], tuple[float, float, float]]:
    """Read a NIfTI file into canonical axes and return it with its spacing in mm."""
    image: Any = _open(path)
    data = np.asanyarray(image.dataobj)  # (right-growing, anterior, superior)
    spacing = image.header.get_zooms()[:3]
    canonical = data.transpose(2, 1, 0)[:, ::-1, ::-1]
    return np.ascontiguousarray(canonical), (
        float(spacing[2]),
        float(spacing[1]),
        float(spacing[0]),
    )


def _open(path: Path) -> Any:
    """Open a NIfTI file with its axes turned to right, anterior, superior."""
    library: Any = nibabel
    return library.as_closest_canonical(library.load(path))


def unify_labels(labels: NDArray[Any], table: dict[int, str]) -> NDArray[np.uint8]:
    """Translate a label map of one task into unified label values."""
    lookup = np.zeros(256, dtype=np.uint8)
    for value, name in table.items():
        lookup[value] = STRUCTURES.index(name) + 1
    unified: NDArray[np.uint8] = lookup[labels.astype(np.uint8)]
    return unified


def load_training_volumes(reference: Path) -> tuple[LabelledVolume, ...]:
    """Load the torso CT, the thoracic CT angiogram and the abdominal MR.

    The series ``example_ct_dicom`` is never read here: it is kept for evaluation.
    """
    return _torso(reference), _angiogram(reference), _abdominal_mr(reference)


def _torso(reference: Path) -> LabelledVolume:
    image, spacing = load_canonical(reference / "example_ct.nii.gz")
    labels, _ = load_canonical(reference / "example_seg_fast_force_split.nii.gz")
    labels = unify_labels(labels, LABEL_TABLES["total"])
    better, _ = load_canonical(reference / "example_seg.nii.gz")
    # The crop covers the top slices of the same grid; its labels come from the
    # finer model of the label source.
    labels[-len(better) :] = unify_labels(better, LABEL_TABLES["total"])
    return LabelledVolume(
        name="torso_ct",
        modality="CT",
        image=image.astype(np.float32),
        labels=labels,
        spacing_mm=spacing,
        label_space=frozenset(LABEL_TABLES["total"].values()),
        unknown=frozenset({"thoracic aorta", "heart"}),
    )


def _angiogram(reference: Path) -> LabelledVolume:
    folder = reference / "aorta_report"
    path = folder / "example_ct.nii.gz"
    image, spacing = load_canonical(path)
    whole: Any = _open(path)
    labels = np.zeros(image.shape, dtype=np.uint8)
    left, right = _lungs(image, spacing)
    labels[left] = STRUCTURES.index("lung_left") + 1
    labels[right] = STRUCTURES.index("lung_right") + 1
    heart = reference / "pulmonary_report" / "models"
    vessels = folder / "test_result" / "models"
    for structure, source in (
        ("heart", heart / "heart.nii.gz"),
        ("pulmonary_artery", heart / "pulmonary_artery.nii.gz"),
        ("vertebrae_T12", vessels / "vertebrae_T12.nii.gz"),
        ("aorta", vessels / "aorta.nii.gz"),
    ):
        mask, _ = load_canonical(source)
        part: Any = _open(source)
        start = np.linalg.inv(whole.affine) @ part.affine[:, 3]
        x, y, z = (round(float(value)) for value in start[:3])
        slices, rows, columns = mask.shape
        # Canonical rows and columns run against the file's axes.
        row, column = image.shape[1] - y - rows, image.shape[2] - x - columns
        window = labels[z : z + slices, row : row + rows, column : column + columns]
        window[mask > 0] = STRUCTURES.index(structure) + 1
    return LabelledVolume(
        name="thorax_cta",
        modality="CT",
        image=image.astype(np.float32),
        labels=labels,
        spacing_mm=spacing,
        label_space=frozenset(
            [
                "aorta",
                "heart",
                "pulmonary_artery",
                "vertebrae_T12",
                "lung_left",
                "lung_right",
            ]
        ),
        # The top slices reach the neck, the lowest the upper abdomen.
        unknown=frozenset(
            {"vertebrae", "thoracic spine", "abdominal aorta", "thyroid", "larynx"}
            | {"cervical spine", "tongue", "skull", "teeth", "parotid", "breast"}
        ),
    )


def _lungs(
    image: NDArray[Any], spacing_mm: tuple[float, float, float]
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Find the left and right lung of a thoracic CT: large bodies of air inside."""
    air = image < -500
    pieces, _ = ndimage.label(air)
    border = np.unique(
        np.concatenate(
            [
                *(pieces[:, 0].ravel(), pieces[:, -1].ravel()),
                *(pieces[:, :, 0].ravel(), pieces[:, :, -1].ravel()),
            ]
        )
    )
    air &= ~np.isin(pieces, border)
    core = ndimage.binary_erosion(air, iterations=max(1, round(5 / spacing_mm[1])))
    pieces, _ = ndimage.label(core)
    sizes = np.bincount(pieces.ravel())
    sizes[0] = 0
    first, second = np.argsort(sizes)[-2:]
    centres = ndimage.center_of_mass(core, pieces, [first, second])
    if centres[0][2] > centres[1][2]:
        first, second = second, first  # columns grow towards the patient's left
    reach = round(8 / spacing_mm[1])
    near_right = ndimage.binary_dilation(pieces == first, iterations=reach)
    near_left = ndimage.binary_dilation(pieces == second, iterations=reach)
    return air & near_left & ~near_right, air & near_right & ~near_left


def _abdominal_mr(reference: Path) -> LabelledVolume:
    image, spacing = load_canonical(reference / "example_mr_sm.nii.gz")
    labels, _ = load_canonical(reference / "example_seg_mr.nii.gz")
    return LabelledVolume(
        name="abdomen_mr",
        modality="MR",
        image=image.astype(np.float32),
        labels=unify_labels(labels, LABEL_TABLES["total_mr"]),
        spacing_mm=spacing,
        label_space=frozenset(LABEL_TABLES["total_mr"].values()),
        unknown=frozenset({"thoracic aorta"}),
    )


def structure_table(lexicon: Lexicon) -> NDArray[np.bool_]:
    """Return (concepts, structures + 1): True where a label belongs to a concept."""
    table = np.zeros((len(lexicon.concepts), len(STRUCTURES) + 1), dtype=np.bool_)
    for row, concept in enumerate(lexicon.concepts):
        for member in concept.members:
            table[row, STRUCTURES.index(member) + 1] = True
    return table


def known_concepts(volume: LabelledVolume, lexicon: Lexicon) -> NDArray[np.bool_]:
    """Return (concepts,): True where the volume knows the region of a concept.

    A concept of another body region is known to be absent everywhere.
    """
    return np.array(
        [
            concept.name not in volume.unknown
            and (
                concept.kind == "absent"
                or any(member in volume.label_space for member in concept.members)
            )
            for concept in lexicon.concepts
        ]
    )
