"""Cast rays once and keep the pictures: a bank of projections on disk.

A pose takes a second to project and a millisecond to read back; drawing a radiograph
from the bank varies what the tube, the film and the crop do to it.
"""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from training.derived.project import Projection, draw_pose, project
from training.derived.thorax import RayVolume

__all__ = ["BankPlan", "ProjectionBank", "load_bank", "outline"]

BoolArray = NDArray[np.bool_]

_VERSION = 2
"""Raised when a picture of the same plan changes; old banks are then left alone."""
_GRAIN = 16.0
"""Stored steps per mm of water."""
_SHORTEST_MM = 8.0
"""A structure shows where the ray runs this far through it."""
_CRUMB = 0.15
"""Pieces smaller than this share of the largest are dropped."""
_DOMINANCE = {"frontal": 1.2, "lateral": 0.5}
"""A lung shows where its path is so many times that through heart, mediastinum and
abdomen. In a frontal view this is where a radiologist draws the outline: not behind
the heart and not in the recesses below the diaphragm. In a lateral view lung is seen
through the heart."""


@dataclass(frozen=True)
class BankPlan:
    """What a bank holds; equal plans give equal banks."""

    volume: str
    view: str
    count: int
    seed: int


@dataclass(frozen=True, eq=False)
class ProjectionBank:
    """Pictures of one volume and view, head first."""

    soft: NDArray[np.uint16]
    """(pictures, rows, columns) in sixteenths of a mm of water"""
    bone: NDArray[np.uint16]
    """(pictures, rows, columns), the same for what is denser"""
    masks: NDArray[np.uint16]
    """(pictures, rows, columns): bit i is set where ``structures[i]`` shows"""
    structures: tuple[str, ...]
    pixel_mm: float

    def __len__(self) -> int:
        """Return the number of pictures."""
        return len(self.soft)

    def read(self, number: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Return soft and bone water lengths of one picture in mm."""
        soft = self.soft[number].astype(np.float32) / _GRAIN
        return soft, self.bone[number].astype(np.float32) / _GRAIN

    def mask(self, number: int, structure: int) -> BoolArray:
        """Return (rows, columns): where one structure shows on one picture."""
        bits: BoolArray = (self.masks[number] >> structure) & 1 > 0
        return bits


def load_bank(
    plan: BankPlan, volume: Callable[[], RayVolume], *, folder: Path
) -> ProjectionBank:
    """Read the bank of `plan` from `folder`; project it first if it is not there.

    Parameters
    ----------
    volume
        Called only when there is something to project.
    """
    text = json.dumps({**asdict(plan), "version": _VERSION}, sort_keys=True)
    digest = hashlib.sha256(text.encode()).hexdigest()[:12]
    path = folder / f"projections-{plan.volume}-{plan.view}-{digest}.npz"
    if path.exists():
        return _read(path)
    bank = _build(plan, volume())
    _write(bank, path)
    return bank


def outline(projection: Projection, *, view: str) -> list[BoolArray]:
    """Return where each structure shows, in the order of ``projection.structures``.

    A lung shows where it dominates its ray (see ``_DOMINANCE``), the others where the
    path is long enough. Of two lungs the one with the longer path has the pixel; in a
    lateral view they are one structure, ``lungs``.
    """
    names, paths = projection.structures, projection.paths_mm
    masks = list(paths > _SHORTEST_MM)
    if "lung_left" in names:
        left, right = names.index("lung_left"), names.index("lung_right")
        needed = np.maximum(_SHORTEST_MM, _DOMINANCE[view] * projection.enclosed_mm)
        both = paths[left] + paths[right] > needed
        longer = paths[left] > paths[right]
        masks[left] = both if view == "lateral" else both & longer
        masks[right] = np.zeros_like(both) if view == "lateral" else both & ~longer
    return [_tidy(mask) for mask in masks]


def _tidy(mask: BoolArray) -> BoolArray:
    """Close small holes and drop crumbs."""
    mask = ndimage.binary_opening(ndimage.binary_closing(mask, iterations=2))
    pieces, count = ndimage.label(mask)
    if not count:
        return mask
    sizes = np.bincount(pieces.ravel())
    sizes[0] = 0
    kept: BoolArray = ndimage.binary_fill_holes(
        (sizes >= _CRUMB * sizes.max())[pieces] & mask
    )
    return kept


def _build(plan: BankPlan, volume: RayVolume) -> ProjectionBank:
    soft: list[NDArray[np.uint16]] = []
    bone: list[NDArray[np.uint16]] = []
    masks: list[NDArray[np.uint16]] = []
    for number in range(plan.count):
        rng = np.random.default_rng((plan.seed, number))
        shot = project(volume, draw_pose(rng, view=plan.view))
        bits = np.zeros(shot.soft_mm.shape, dtype=np.uint16)
        for bit, mask in enumerate(outline(shot, view=plan.view)):
            bits |= mask.astype(np.uint16) << bit
        masks.append(bits)
        for kept, values in ((soft, shot.soft_mm), (bone, shot.bone_mm)):
            kept.append((values * _GRAIN).clip(0, 65535).astype(np.uint16))
    names = volume.structures
    if plan.view == "lateral":
        names = tuple("lungs" if name == "lung_left" else name for name in names)
    return ProjectionBank(
        soft=np.stack(soft),
        bone=np.stack(bone),
        masks=np.stack(masks),
        structures=names,
        pixel_mm=volume.spacing_mm,
    )


def _write(bank: ProjectionBank, path: Path) -> None:
    """Write whole or not at all: another process may look for the same file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, suffix=".npz")
    try:
        with os.fdopen(handle, "wb") as stream:
            np.savez_compressed(
                stream,
                soft=bank.soft,
                bone=bank.bone,
                masks=bank.masks,
                structures=np.array(bank.structures),
                pixel_mm=np.array(bank.pixel_mm),
            )
        Path(name).replace(path)
    finally:
        Path(name).unlink(missing_ok=True)


def _read(path: Path) -> ProjectionBank:
    with np.load(path, allow_pickle=False) as file:
        stored: dict[str, Any] = dict(file)
    return ProjectionBank(
        soft=stored["soft"],
        bone=stored["bone"],
        masks=stored["masks"],
        structures=tuple(str(name) for name in stored["structures"]),
        pixel_mm=float(stored["pixel_mm"]),
    )
