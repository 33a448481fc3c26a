"""Prepare the CT volumes that radiographs are projected from: lungs whole, blood grey.

The thoracic volume is an angiogram. A radiograph is taken without contrast medium, so
the bright blood is painted in the grey of blood before any ray is cast.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from training.derived.volumes import STRUCTURES, LabelledVolume

__all__ = ["RayVolume", "pelvis_rays", "thorax_rays"]

FloatArray = NDArray[np.float32]
BoolArray = NDArray[np.bool_]

_BLOOD_HU = 45.0
"""Unenhanced blood."""
_NOISE_HU = 30.0
"""Most that the pixels of painted blood differ from it."""
_INFLOW_HU = 700.0
"""Above it a body of 6 mm and more is undiluted contrast medium."""
_APEX = 0.5
"""Above this share of the height, air beside a lung is lung: no bowel gas is there."""


@dataclass(frozen=True, eq=False)
class RayVolume:
    """A patient on a cubic grid, ready to be shone through."""

    name: str
    image: FloatArray
    """(slices, rows, columns) in HU, canonical axes"""
    labels: NDArray[np.uint8]
    """(slices, rows, columns): value v means ``structures[v - 1]``"""
    structures: tuple[str, ...]
    chest: BoolArray | None
    """(slices, rows, columns): what the lungs enclose, slice by slice, themselves
    included; None: the volume has no lungs to outline"""
    spacing_mm: float
    heart_zyx: tuple[float, float, float] | None = None
    """Centre of the heart in voxels, where it is known"""


def thorax_rays(volume: LabelledVolume, *, spacing_mm: float = 2.0) -> RayVolume:
    """Return the thoracic angiogram without its contrast medium.

    Structures: both lungs with their vessels, the heart, the aorta and the airway.
    """
    left, right, airway = _air(volume)
    heart, aorta = _named(volume, "heart"), _named(volume, "aorta")
    vessels = heart | aorta | _named(volume, "pulmonary_artery")
    image = volume.image.copy()
    near = ndimage.binary_dilation(vessels, iterations=round(9 / volume.spacing_mm[1]))
    bright = (near | left | right) & (image > 80) & ~_bone(volume)
    bright |= _inflow(image)
    # Contrast medium is set to blood; the noise of the pixels is kept, but not the
    # step between a thin vessel and the lung round it.
    noise = image - ndimage.median_filter(image, 3)
    image[bright] = _BLOOD_HU + noise[bright].clip(-_NOISE_HU, _NOISE_HU)
    # The abdominal aorta casts no outline.
    lung_area = (left | right).sum(axis=(1, 2))
    aorta[: int((lung_area > 0.3 * lung_area.max()).argmax())] = False
    labels = np.zeros(image.shape, dtype=np.uint8)
    for value, mask in enumerate((left, right, aorta, airway, heart), start=1):
        labels[mask] = value
    names = ("lung_left", "lung_right", "aorta", "trachea", "heart")
    zoom = np.array(volume.spacing_mm) / spacing_mm
    z, y, x = np.array(ndimage.center_of_mass(heart)) * zoom
    return _on_cubes(
        RayVolume(
            name="thorax",
            image=image,
            labels=labels,
            structures=names,
            chest=_enclosed(left | right),
            spacing_mm=spacing_mm,
            heart_zyx=(float(z), float(y), float(x)),
        ),
        volume.spacing_mm,
    )


def pelvis_rays(volume: LabelledVolume, *, spacing_mm: float = 3.0) -> RayVolume:
    """Return the torso CT with the bones that an abdominal radiograph shows."""
    names = tuple(
        name
        for name in STRUCTURES
        if name.startswith(("hip_", "femur_", "sacrum"))
        or name in {"vertebrae_L1", "vertebrae_L2", "vertebrae_L3"}
        or name in {"vertebrae_L4", "vertebrae_L5", "vertebrae_T12"}
    )
    labels = np.zeros(volume.labels.shape, dtype=np.uint8)
    for value, name in enumerate(names, start=1):
        labels[_named(volume, name)] = value
    labels[_named(volume, "vertebrae_S1")] = names.index("sacrum") + 1
    return _on_cubes(
        RayVolume("torso", volume.image, labels, names, None, spacing_mm),
        volume.spacing_mm,
    )


def _named(volume: LabelledVolume, structure: str) -> BoolArray:
    mask: BoolArray = volume.labels == STRUCTURES.index(structure) + 1
    return mask


def _air(volume: LabelledVolume) -> tuple[BoolArray, BoolArray, BoolArray]:
    """Return the left lung, the right lung (vessels filled in) and the airway."""
    left, right = _named(volume, "lung_left"), _named(volume, "lung_right")
    air = volume.image < -500
    loose = air & ~ndimage.binary_dilation(left | right, iterations=2)
    pieces, _ = ndimage.label(loose)
    edge = {*np.unique(pieces[:, 0]), *np.unique(pieces[:, -1])}
    edge |= {*np.unique(pieces[:, :, 0]), *np.unique(pieces[:, :, -1])}
    sizes = np.bincount(pieces.ravel())
    sizes[list(edge | {0})] = 0
    airway = pieces == int(sizes.argmax())
    # Trachea and main bronchi have an outline on a radiograph; what follows has none.
    airway = ndimage.binary_opening(airway, iterations=3)
    closed = ndimage.binary_dilation(airway, iterations=3)
    lungs = []
    for lung in (left, right):
        filled = ndimage.binary_closing(lung, iterations=4) & ~closed
        filled |= lung
        high = round(_APEX * len(air))
        tip = ndimage.binary_dilation(filled[high:], iterations=4) & air[high:]
        filled[high:] |= tip & ~closed[high:]
        lungs.append(filled & (volume.labels != STRUCTURES.index("heart") + 1))
    return lungs[0], lungs[1] & ~lungs[0], airway


def _bone(volume: LabelledVolume) -> BoolArray:
    """Find bone: bright, and not connected with the heart's contrast medium."""
    bright = volume.image > 180
    vessels = _named(volume, "heart") | _named(volume, "aorta")
    bright &= ~ndimage.binary_dilation(vessels, iterations=2)
    pieces, _ = ndimage.label(ndimage.binary_opening(bright))
    sizes = np.bincount(pieces.ravel())
    sizes[0] = 0
    bone: BoolArray = ndimage.binary_dilation(pieces == int(sizes.argmax()))
    return bone


def _inflow(image: FloatArray) -> BoolArray:
    """Find the veins that the contrast medium came through: thick and very bright."""
    core = ndimage.binary_erosion(image > _INFLOW_HU, iterations=2)
    inflow: BoolArray = ndimage.binary_dilation(core, iterations=5) & (image > 150)
    return inflow


def _enclosed(lungs: BoolArray) -> BoolArray:
    """Find what the lungs surround, themselves included, and what lies below them."""

    def between(mask: BoolArray, axis: int) -> BoolArray:
        first = np.maximum.accumulate(mask, axis=axis)
        last = np.flip(np.maximum.accumulate(np.flip(mask, axis), axis=axis), axis)
        return np.asarray(first & last)

    # What lies under a lung is abdomen: the lungs' recesses run down behind it.
    above = np.flip(np.maximum.accumulate(np.flip(lungs, 0), axis=0), 0)
    return between(lungs, 2) | between(lungs, 1) | above


def _on_cubes(volume: RayVolume, spacing_mm: tuple[float, float, float]) -> RayVolume:
    """Resample to cubic voxels of ``volume.spacing_mm``."""
    zoom = [step / volume.spacing_mm for step in spacing_mm]
    if max(abs(z - 1) for z in zoom) < 1e-6:
        return volume
    chest = volume.chest
    return RayVolume(
        volume.name,
        ndimage.zoom(volume.image, zoom, order=1),
        ndimage.zoom(volume.labels, zoom, order=0),
        volume.structures,
        None if chest is None else ndimage.zoom(chest, zoom, order=0),
        volume.spacing_mm,
        volume.heart_zyx,
    )
