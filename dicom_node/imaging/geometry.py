"""Where pixels lie in the patient: planes, normals and affines."""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from dicom_node.errors import GeometryError

__all__ = [
    "Affine",
    "Orientation",
    "Points",
    "grid_affine",
    "is_plane",
    "slice_normal",
    "voxel_spacing_mm",
]

Affine: TypeAlias = npt.NDArray[np.float64]
"""4 x 4 matrix from ``(frame, row, column)`` indices to LPS millimetres."""

Orientation: TypeAlias = tuple[float, float, float, float, float, float]
"""Image Orientation (Patient): direction of a row, then of a column."""

Points: TypeAlias = npt.NDArray[np.float64]
"""Points in three dimensions, shape ``(n, 3)``."""

_COSINE_TOLERANCE = 1e-2
"""How far direction cosines may be from unit length and right angles: headers
carry them with four digits and more."""

_SPACING_TOLERANCE = 0.05
"""How far a slice may lie from its place in an even stack, in slice distances."""

_SHEAR_TOLERANCE = 0.5
"""How far a slice may be shifted within its plane, in pixels: beyond half a pixel
the columns of voxels no longer run along the normal."""


def is_plane(orientation: Orientation) -> bool:
    """Tell whether direction cosines are two perpendicular unit vectors."""
    row, column = _axes(orientation)
    errors = (row @ row - 1, column @ column - 1, row @ column)
    return bool(np.isfinite(errors).all() and np.abs(errors).max() < _COSINE_TOLERANCE)


def slice_normal(orientation: Orientation) -> npt.NDArray[np.float64]:
    """Return the unit normal of a plane, the row's direction x the column's."""
    row, column = _axes(orientation)
    normal = np.cross(row, column)
    return normal / np.linalg.norm(normal)


def grid_affine(
    positions_lps: Points,
    orientation: Orientation,
    *,
    pixel_spacing_mm: tuple[float, float],
    slice_distance_mm: float = 1.0,
) -> Affine:
    """Return the affine of slices that form an orthogonal, even grid.

    Parameters
    ----------
    positions_lps : numpy.ndarray
        Image Position (Patient) of each slice, shape ``(n, 3)`` in mm, sorted along
        the normal.
    orientation : tuple of float
        What the slices share.
    pixel_spacing_mm : tuple of float
        Between rows, between columns.
    slice_distance_mm : float
        Spacing along the normal of a single slice; unused for more.

    Raises
    ------
    GeometryError
        The slices coincide, are unevenly spaced or sheared.

    References
    ----------
    PS3.3 C.7.6.2.1.1

    """
    row, column = _axes(orientation)
    normal = slice_normal(orientation)
    distances = positions_lps @ normal
    spacing = slice_distance_mm
    if len(positions_lps) > 1:
        spacing = float(distances[-1] - distances[0]) / (len(distances) - 1)
        if spacing <= 0:
            raise GeometryError("slices lie at the same place")
        even = distances[0] + spacing * np.arange(len(distances))
        if np.abs(distances - even).max() > _SPACING_TOLERANCE * spacing:
            raise GeometryError("slices are unevenly spaced")
        lateral = positions_lps - np.outer(distances, normal)
        drift = np.linalg.norm(lateral - lateral[0], axis=1).max()
        if drift > _SHEAR_TOLERANCE * min(pixel_spacing_mm):
            raise GeometryError("slices are shifted within their plane")
    affine = np.eye(4)
    affine[:3, 0] = normal * spacing
    affine[:3, 1] = column * pixel_spacing_mm[0]
    affine[:3, 2] = row * pixel_spacing_mm[1]
    affine[:3, 3] = positions_lps[0]
    return affine


def voxel_spacing_mm(affine_lps: Affine) -> tuple[float, float, float]:
    """Return the distances between frames, rows and columns."""
    lengths = np.linalg.norm(affine_lps[:3, :3], axis=0)
    return float(lengths[0]), float(lengths[1]), float(lengths[2])


def _axes(
    orientation: Orientation,
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    cosines = np.asarray(orientation, np.float64)
    return cosines[:3], cosines[3:]
