"""Compare the surfaces of regions in millimetres."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from training.evaluation.metrics.definition import Definition

__all__ = ["SURFACE_DEFINITIONS", "TOLERANCE_MM", "surface_dice"]

TOLERANCE_MM = 1.0
"""How far a surface may lie off and still be right; SAT's choice."""

SURFACE_DEFINITIONS = (
    Definition(
        "NSD",
        "Mean over the present outlined phrases of the share of both regions' boundary "
        f"voxels that lie within {TOLERANCE_MM:g} mm of the other boundary, with the "
        "real spacing of each stack; a miss counts 0.",
        reference="S. Nikolov et al., arXiv 1809.04430; voxel form of MONAI",
    ),
)


def surface_dice(
    found: NDArray[np.bool_],
    truth: NDArray[np.bool_],
    *,
    spacing_mm: Sequence[float],
    tolerance_mm: float = TOLERANCE_MM,
) -> float:
    """Return the normalised surface Dice (NSD); 1 when both masks are empty.

    A boundary voxel is one of the mask with a face neighbour outside it; beyond the
    picture is outside.

    Parameters
    ----------
    found, truth
        Of the same shape, in two or three dimensions. A single slice is best given in
        two: in three, all of its voxels touch the outside.
    spacing_mm
        Distance of voxel centres along each axis, positive.

    Raises
    ------
    ValueError
        Shapes differ, or a spacing is no distance.
    """
    if found.shape != truth.shape or len(spacing_mm) != found.ndim:
        raise ValueError(f"shapes {found.shape}, {truth.shape}, spacing {spacing_mm}")
    if not all(step > 0 for step in spacing_mm):
        raise ValueError(f"spacing {tuple(spacing_mm)} mm is no distance")
    if not found.any() or not truth.any():
        return float(found.any() == truth.any())
    part = ndimage.find_objects((found | truth).astype(np.uint8))[0]
    first, second = _boundary(found[part]), _boundary(truth[part])
    to_second = ndimage.distance_transform_edt(~second, sampling=spacing_mm)
    to_first = ndimage.distance_transform_edt(~first, sampling=spacing_mm)
    near = int((to_second[first] <= tolerance_mm).sum())
    near += int((to_first[second] <= tolerance_mm).sum())
    return near / (int(first.sum()) + int(second.sum()))


def _boundary(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    edge: NDArray[np.bool_] = mask & ~ndimage.binary_erosion(mask)
    return edge
