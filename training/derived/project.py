"""Shine through a CT: line integrals and path lengths along the rays of one pose.

The idea of making radiographs with labels out of labelled CT is that of PAXRay [1]_.

References
----------
.. [1] C. Seibold et al., "Detailed annotations of chest X-rays via CT projection for
   report understanding", BMVC 2022.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage
from torch import Tensor
from torch.nn import functional

from training.derived.thorax import RayVolume

__all__ = ["Pose", "Projection", "draw_pose", "project"]

FloatArray = NDArray[np.float32]

_AIR_HU = -1000.0
_SOFT_LIMIT = 1.1
"""Density above which a voxel counts as bone, relative to water."""
_HEART_REACH_MM = 60.0
"""Distance over which the change of the heart's size fades."""
_SPAN_MM = 40.0
"""How far the first and the last slice are repeated beyond the volume's ends."""


@dataclass(frozen=True, eq=False)
class Pose:
    """How patient, tube and detector stand to each other, and the patient's build."""

    view: str
    """``frontal`` (rays along P) or ``lateral`` (rays along L)"""
    angles_deg: tuple[float, float, float]
    """Rotation about the axes S, P and L"""
    scale: tuple[float, float, float]
    """Size of the patient along S, P and L"""
    divergence: float
    """One over the distance from the tube to the patient's middle in mm. Positive:
    the tube stands behind the patient (lateral: on the left), and what is there is
    drawn larger; 0: parallel rays"""
    heart_scale: float
    """Size of the heart and what surrounds it"""
    bend: NDArray[np.float64]
    """(3, 4, 4, 4) displacements in mm on a coarse grid"""


@dataclass(frozen=True, eq=False)
class Projection:
    """What the rays of one picture met, rows from head to feet.

    In a frontal view columns grow towards the patient's left; in a lateral one from
    the front to the back.
    """

    soft_mm: FloatArray
    """(rows, columns): water that would weaken the ray as much as its soft part"""
    bone_mm: FloatArray
    """(rows, columns): the same of what is denser than soft tissue"""
    paths_mm: FloatArray
    """(structures, rows, columns): length of the ray inside each structure"""
    enclosed_mm: FloatArray
    """(rows, columns): length inside the chest cavity but in no lung; zero without
    lungs"""
    structures: tuple[str, ...]
    pixel_mm: float


def draw_pose(rng: np.random.Generator, *, view: str) -> Pose:
    """Draw a pose: slightly turned and tilted, at a usual distance of the tube."""
    distance = rng.uniform(1000.0, 1900.0)
    # Standing patients have the tube behind (PA), lying ones in front.
    side = 1.0 if rng.random() < 0.7 else -1.0
    size = rng.normal(0.0, 0.08)
    scale = np.exp(size + rng.normal(0.0, (0.10, 0.06, 0.06)))
    angles = rng.normal(0.0, (6.0, 2.0, 4.0))
    return Pose(
        view=view,
        angles_deg=(float(angles[0]), float(angles[1]), float(angles[2])),
        scale=(float(scale[0]), float(scale[1]), float(scale[2])),
        divergence=float(side / distance) if rng.random() < 0.85 else 0.0,
        heart_scale=float(np.exp(rng.normal(0.0, 0.10))),
        bend=rng.normal(0.0, rng.uniform(0.0, 7.0), (3, 4, 4, 4)),
    )


def project(volume: RayVolume, pose: Pose) -> Projection:
    """Cast the rays of `pose` through `volume` and add up what they meet."""
    points = _sample_points(volume, pose)
    # Beyond the volume grid_sample reads zeros: zero has to be air.
    share = _read((volume.image.clip(_AIR_HU, 3000.0) + 1000.0) / 1000.0, points)
    labels = _read(volume.labels, points, nearest=True)
    axis = 1 if pose.view == "frontal" else 2
    soft = np.minimum(share, _SOFT_LIMIT)
    paths = [(labels == value + 1).sum(axis) for value in range(len(volume.structures))]
    enclosed = np.zeros_like(paths[0])
    if volume.chest is not None:
        lungs = [volume.structures.index(f"lung_{s}") + 1 for s in ("left", "right")]
        inside = _read(volume.chest, points, nearest=True) > 0
        enclosed = (inside & ~np.isin(labels, lungs)).sum(axis)

    def seen(values: NDArray[Any]) -> FloatArray:
        flipped = np.asarray(values, dtype=np.float32)[..., ::-1, :]  # head first
        return np.ascontiguousarray(flipped) * volume.spacing_mm

    return Projection(
        soft_mm=seen(soft.sum(axis)),
        bone_mm=seen((share - soft).sum(axis)),
        paths_mm=seen(np.stack(paths)),
        enclosed_mm=seen(enclosed),
        structures=volume.structures,
        pixel_mm=volume.spacing_mm,
    )


def _read(values: NDArray[Any], points: Tensor, *, nearest: bool = False) -> FloatArray:
    """Read a volume at points in [-1, 1]; (slices, rows, columns) of the ray grid."""
    found = functional.grid_sample(
        torch.from_numpy(np.ascontiguousarray(values, dtype=np.float32))[None, None],
        points,
        mode="nearest" if nearest else "bilinear",
        padding_mode="zeros",
        align_corners=True,
    )
    return np.asarray(found[0, 0].numpy(), dtype=np.float32)


def _sample_points(volume: RayVolume, pose: Pose) -> Tensor:
    """Return where in the volume each sample of each ray lies.

    Returns
    -------
    (1, slices, rows, columns, 3) in [-1, 1], x first, as ``grid_sample`` reads it.
    The map is smooth: it is computed on a coarse lattice and interpolated.
    """
    step = volume.spacing_mm
    size = np.array(volume.image.shape)
    full = size + np.array([2 * round(_SPAN_MM / step), 0, 0])
    coarse = np.maximum(2, full // 8)
    axes = [
        np.linspace(-(n - 1) / 2, (n - 1) / 2, m) * step
        for n, m in zip(full, coarse, strict=True)
    ]
    grid = np.stack(np.meshgrid(*axes, indexing="ij"))  # (3, z, y, x) in mm
    depth, across = (grid[1], 2) if pose.view == "frontal" else (grid[2], 1)
    spread = 1.0 / (1.0 + pose.divergence * depth)
    grid[0] *= spread
    grid[across] *= spread
    points = np.tensordot(_rotation(pose), grid, axes=1)
    points /= np.array(pose.scale)[:, None, None, None]
    zoom = (1, *(m / n for m, n in zip(coarse, pose.bend.shape[1:], strict=True)))
    points = points + ndimage.zoom(pose.bend, zoom, order=1, mode="nearest")
    points = _around_heart(points, volume, pose)
    points = points / step / ((size - 1) / 2)[:, None, None, None]
    lattice = torch.from_numpy(points[::-1].astype(np.float32).copy())[None]
    fine = functional.interpolate(
        lattice, size=tuple(int(n) for n in full), mode="trilinear", align_corners=True
    )
    fine[:, 2] = fine[:, 2].clamp(-1.0, 1.0)  # the last slices repeat
    return fine.permute(0, 2, 3, 4, 1)


def _rotation(pose: Pose) -> NDArray[np.float64]:
    matrix = np.eye(3)
    for axis, angle in enumerate(np.deg2rad(pose.angles_deg)):
        a, b = (i for i in range(3) if i != axis)
        turn = np.eye(3)
        turn[a, a] = turn[b, b] = np.cos(angle)
        turn[a, b], turn[b, a] = -np.sin(angle), np.sin(angle)
        matrix = matrix @ turn
    return matrix


def _around_heart(
    points: NDArray[np.float64], volume: RayVolume, pose: Pose
) -> NDArray[np.float64]:
    """Blow up or shrink the heart in its place."""
    if volume.heart_zyx is None:
        return points
    offset = np.array(volume.heart_zyx) - (np.array(volume.image.shape) - 1) / 2
    centre = (offset * volume.spacing_mm)[:, None, None, None]
    away = points - centre
    near = np.exp(-(away**2).sum(axis=0) / (2 * _HEART_REACH_MM**2))
    return np.asarray(centre + away * (1.0 + (1.0 / pose.heart_scale - 1.0) * near))
