"""Tiny labelled volumes on disk, and the specification of a dataset of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import numpy.typing as npt

from training.registry import DatasetSpec, Licence

__all__ = ["SPACING_MM", "make_spec", "volume", "write_nifti"]

SPACING_MM = (4.0, 0.8, 0.5)
"""Between canonical slices, rows and columns."""


def volume(seed: int = 0, shape: tuple[int, ...] = (3, 4, 5)) -> npt.NDArray[np.int16]:
    """Draw a volume that no flip or turn maps onto itself."""
    drawn = np.random.default_rng(seed).integers(-1000, 1000, shape)
    return drawn.astype(np.int16)


def write_nifti(
    path: Path,
    canonical: npt.NDArray[Any],
    *,
    axes: str = "LPS",
    channels: str = "last",
    shift_mm: float = 0.0,
) -> Path:
    """Write canonical (slices, rows, columns) voxels with stored axes as named.

    Parameters
    ----------
    path : pathlib.Path
        Folders are made.
    canonical : numpy.ndarray
        Three axes, or a first one of channels before them.
    axes : str
        Towards what the stored axes grow.
    channels : str
        Whether channels are stored first or last.
    shift_mm : float
        Moves the volume to the right.

    """
    spatial = canonical if canonical.ndim == 3 else canonical[0]
    plain = np.diag([SPACING_MM[2], SPACING_MM[1], SPACING_MM[0], 1.0])
    plain[:3, 3] = (20 + shift_mm, -30, 40)
    library: Any = nibabel.orientations
    turn = library.ornt_transform(
        library.axcodes2ornt("RAS"), library.axcodes2ornt(axes)
    )
    ras = [
        np.asarray(one.transpose(2, 1, 0)[::-1, ::-1])
        for one in (canonical if canonical.ndim == 4 else [canonical])
    ]
    affine = plain @ library.inv_ornt_aff(turn, spatial.shape[::-1])
    stored = [library.apply_orientation(one, turn) for one in ras]
    array = stored[0]
    if canonical.ndim == 4:
        array = np.stack(stored, axis=0 if channels == "first" else -1)
    path.parent.mkdir(parents=True, exist_ok=True)
    nibabel.save(nibabel.Nifti1Image(np.ascontiguousarray(array), affine), path)
    return path


def make_spec(reader: str, **changes: Any) -> DatasetSpec:
    """Describe a dataset of the tests."""
    values: dict[str, Any] = {
        "id": "demo",
        "title": "Demo",
        "reader": reader,
        "modality": "CT",
        "tier": "manual",
        "licence": Licence(
            id="CC0-1.0",
            commercial=True,
            redistribute=True,
            derivatives=True,
            attribution="nobody",
        ),
    }
    return DatasetSpec(**{**values, **changes})
