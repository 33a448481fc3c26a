"""Read NIfTI, MetaImage and NRRD volumes in canonical axes S, P, L, one at a time."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from nibabel import orientations

from training.errors import DatasetError
from training.readers.source import Picture
from training.readers.volume_files import (
    UNREADABLE,
    place_of,
    read_header,
    read_planes,
    unreadable,
)

__all__ = [
    "VolumeFile",
    "check_same_grid",
    "load_picture",
    "open_volume",
    "read_plane",
]

_GRID_TOLERANCE = 0.05
"""How far corners of image and labels may lie apart, in voxels: headers are written
with single precision, and a shift that matters is half a voxel."""


@dataclass(frozen=True, eq=False)
class VolumeFile:
    """A volume's header: how its array lies in the patient.

    Parameters
    ----------
    path : pathlib.Path
    shape : tuple of int
        Of the stored array: three spatial axes and, of a file with channels, a fourth
        before or after them.
    affine_ras : numpy.ndarray
        4 x 4, from the indices of the spatial axes to RAS millimetres.
    channels_first : bool
        Whether the channels are the first axis; else they are the last.
    """

    path: Path
    shape: tuple[int, ...]
    affine_ras: npt.NDArray[np.float64]
    channels_first: bool = False

    @property
    def channels(self) -> int | None:
        """How many channels the file holds; None where it has no such axis."""
        if len(self.shape) == 3:
            return None
        return self.shape[0] if self.channels_first else self.shape[3]

    @property
    def spatial_shape(self) -> tuple[int, int, int]:
        """The stored spatial axes without the channels."""
        offset = int(self.channels_first and len(self.shape) == 4)
        i, j, k = self.shape[offset : offset + 3]
        return i, j, k

    @cached_property
    def canonical_turn(self) -> tuple[tuple[int, int, int], tuple[int, int, int]]:
        """The stored axis of each canonical axis, and the step along it."""
        library: Any = orientations
        found = library.io_orientation(self.affine_ras)  # (3, 2): RAS axis, sign
        if not np.isfinite(found).all():
            raise DatasetError(
                f"{place_of(self.path)}: its affine does not span the space"
            )
        by_ras = {int(ras): (axis, int(sign)) for axis, (ras, sign) in enumerate(found)}
        # Canonical S, P, L are RAS axis 2, and axes 1 and 0 backwards.
        pairs = [by_ras[2], by_ras[1], by_ras[0]]
        signs = [sign * way for (_, sign), way in zip(pairs, (1, -1, -1), strict=True)]
        axes = [axis for axis, _ in pairs]
        return (axes[0], axes[1], axes[2]), (signs[0], signs[1], signs[2])

    @property
    def canonical_shape(self) -> tuple[int, int, int]:
        """Slices, rows and columns."""
        slices, rows, columns = (
            self.spatial_shape[axis] for axis in self.canonical_turn[0]
        )
        return slices, rows, columns

    @property
    def spacing_mm(self) -> tuple[float, float, float]:
        """Between slices, rows and columns of the canonical volume."""
        lengths = np.linalg.norm(self.affine_ras[:3, :3], axis=0)
        slices, rows, columns = (
            float(lengths[axis]) for axis in self.canonical_turn[0]
        )
        return slices, rows, columns

    def read(self, channel: int | None = None) -> npt.NDArray[Any]:
        """Load one volume as (slices, rows, columns), values as the file scales them.

        Parameters
        ----------
        channel : int, optional
            Which one of a file with channels; of a file with a single channel or
            none it may be 0 or None.

        Raises
        ------
        DatasetError
            The file cannot be read, or has no such channel.
        """
        count = self.channels
        index = 0 if channel is None and count in {None, 1} else channel
        if index is None or not 0 <= index < (count or 1):
            raise DatasetError(
                f"{place_of(self.path)}: has {count} channels, asked for {index}"
            )
        try:
            return self._filled(index)
        except UNREADABLE as error:
            raise unreadable(self.path, error) from error

    def _filled(self, index: int) -> npt.NDArray[Any]:
        """Write stored planes where they belong in a canonical array."""
        canonical: npt.NDArray[Any] | None = None
        planes = read_planes(
            self.path, self.shape, index=index, channels_first=self.channels_first
        )
        for place, plane in enumerate(planes):
            if canonical is None:
                if plane.dtype.kind not in "biuf":
                    raise TypeError("holds no numbers")
                canonical = np.empty(self.canonical_shape, plane.dtype)
                stored = self.unturned(canonical)
            stored[:, :, place] = plane
        if canonical is None:
            raise ValueError("holds no plane")
        return canonical

    def unturned(self, canonical: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """Show a canonical array with the stored axes, as a view."""
        axes, steps = self.canonical_turn
        view = canonical[tuple(slice(None, None, step) for step in steps)]
        return view.transpose(np.argsort(axes))


def open_volume(path: Path, *, channels_first: bool = False) -> VolumeFile:
    """Read the header of a volume.

    Parameters
    ----------
    path : pathlib.Path
        Ends as one of `VOLUME_ENDINGS`. Two-dimensional files count as one slice.
    channels_first : bool
        Whether the first of four axes is the channel (ReXGroundingCT).

    Raises
    ------
    DatasetError
        There is no such file, or it holds no volume.
    """
    if not path.is_file():
        raise DatasetError(f"{place_of(path)}: there is no such file")
    try:
        shape, affine = read_header(path)
    except UNREADABLE as error:
        raise unreadable(path, error) from error
    if len(shape) not in {3, 4} or min(shape) < 1:
        raise DatasetError(f"{place_of(path)}: has shape {shape}, not a volume's")
    if not np.isfinite(affine).all():
        raise DatasetError(f"{place_of(path)}: its affine is not finite")
    return VolumeFile(path, shape, affine, channels_first and len(shape) == 4)


def load_picture(
    volume: VolumeFile, *, channel: int | None = None, single: bool = False
) -> Picture:
    """Load a volume as a `Picture`.

    Parameters
    ----------
    volume : VolumeFile
    channel : int, optional
        As for `VolumeFile.read`.
    single : bool
        Whether the file is a stack of pictures without a place in the patient
        (ultrasound): its plane `channel` is taken as stored, first axis to the
        right, second downwards.
    """
    if not single:
        return Picture(volume.read(channel), volume.spacing_mm, is_volume=True)
    lengths = np.linalg.norm(volume.affine_ras[:3, :3], axis=0)
    spacing = (0.0, float(lengths[1]), float(lengths[0]))
    return Picture(read_plane(volume, channel or 0), spacing, is_volume=False)


def read_plane(volume: VolumeFile, index: int) -> npt.NDArray[Any]:
    """Return one plane (rows, columns) as stored: no turn, no flip."""
    count = volume.spatial_shape[2]
    if not 0 <= index < count:
        raise DatasetError(
            f"{place_of(volume.path)}: has {count} planes, asked for {index}"
        )
    # The canonical turn is undone: a fan of ultrasound has no right or left.
    stored = volume.unturned(volume.read(0))  # (columns, rows, planes)
    return np.ascontiguousarray(stored[:, :, index].T)  # (rows, columns)


def check_same_grid(image: VolumeFile, labels: VolumeFile) -> None:
    """Compare the grids of an image and its labels.

    Raises
    ------
    DatasetError
        Shapes differ, or a corner lies elsewhere in the patient.
    """
    if image.spatial_shape != labels.spatial_shape:
        raise DatasetError(
            f"{place_of(labels.path)}: has shape {labels.spatial_shape}, its image "
            f"{image.path.name} {image.spatial_shape}"
        )
    corners = np.array(np.meshgrid(*((0, n - 1) for n in image.spatial_shape)))
    corners = np.vstack([corners.reshape(3, -1), np.ones(8)])  # (4, 8)
    apart = (image.affine_ras - labels.affine_ras) @ corners
    limit = _GRID_TOLERANCE * min(image.spacing_mm)
    distance = float(np.linalg.norm(apart[:3], axis=0).max())
    if distance > limit:
        raise DatasetError(
            f"{place_of(labels.path)}: lies {distance:.2f} mm away from its image "
            f"{image.path.name}"
        )
