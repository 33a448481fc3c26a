"""Read NIfTI, MetaImage and NRRD volumes in canonical axes S, P, L, one at a time."""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import numpy.typing as npt
import SimpleITK
from nibabel import orientations

from training.errors import DatasetError
from training.readers.source import Picture

__all__ = [
    "VOLUME_ENDINGS",
    "VolumeFile",
    "case_name",
    "check_same_grid",
    "find_volume",
    "load_picture",
    "open_volume",
    "place_of",
    "read_plane",
]

VOLUME_ENDINGS = (".nii.gz", ".nii", ".mhd", ".mha", ".nrrd", ".nhdr")
"""What a volume's file name ends with; NIfTI is read by nibabel, the rest by ITK."""

_GRID_TOLERANCE = 0.05
"""How far corners of image and labels may lie apart, in voxels: headers are written
with single precision, and a shift that matters is half a voxel."""

_UNREADABLE = (
    OSError,
    EOFError,
    ValueError,
    TypeError,
    KeyError,
    RuntimeError,
    zlib.error,
    nibabel.filebasedimages.ImageFileError,
    nibabel.spatialimages.HeaderDataError,
)
"""What the two libraries raise for a file that is cut, mislabelled or no volume."""


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

    def turn(self, stored: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """Turn a stored array (spatial axes only) to canonical axes, as a view."""
        axes, steps = self.canonical_turn
        return stored.transpose(axes)[tuple(slice(None, None, step) for step in steps)]

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
            stored = self._stored(index)
        except _UNREADABLE as error:
            raise _unreadable(self.path, error) from error
        if stored.ndim != 3 or stored.dtype.kind not in "biuf":
            raise DatasetError(
                f"{place_of(self.path)}: does not hold numbers in three axes"
            )
        return np.ascontiguousarray(self.turn(stored))

    def _stored(self, index: int) -> npt.NDArray[Any]:
        if not _is_nifti(self.path):
            return _itk_array(self.path, self.shape, index)
        library: Any = nibabel
        proxy: Any = library.load(self.path, keep_file_open=True).dataobj
        at: list[Any] = [slice(None)] * len(proxy.shape)
        at[3:] = [0] * (len(at) - 3)
        if len(self.shape) == 4:
            at = [index, *at[:3]] if self.channels_first else [*at[:3], index]
        # Plane after plane, forwards through the file: NIfTI scales to double
        # precision, and four axes do not fit into memory as one.
        last = 3 if self.channels_first else 2
        planes = []
        for place in range(proxy.shape[last] if len(proxy.shape) > last else 1):
            if len(at) > last:
                at[last] = place
            plane = np.asarray(proxy[tuple(at)])
            is_double = plane.dtype == np.float64
            planes.append(plane.astype(np.float32) if is_double else plane)
        return np.stack(planes, axis=-1)


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
        shape, affine = _nifti_header(path) if _is_nifti(path) else _itk_header(path)
    except _UNREADABLE as error:
        raise _unreadable(path, error) from error
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
    axes, steps = volume.canonical_turn
    turned = volume.read(0)[tuple(slice(None, None, step) for step in steps)]
    stored = turned.transpose(np.argsort(axes))  # (columns, rows, planes)
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


def place_of(path: Path) -> str:
    """Name a file by its folder and itself, for messages: many share a name."""
    return "/".join(path.parts[-2:])


def case_name(path: Path) -> str:
    """Return a file's name without the ending of a volume."""
    for ending in VOLUME_ENDINGS:
        if path.name.lower().endswith(ending):
            return path.name[: -len(ending)]
    return path.stem


def find_volume(folder: Path, name: str) -> Path | None:
    """Return the volume of that name in a folder, whatever its ending; None: none."""
    for ending in VOLUME_ENDINGS:
        path = folder / f"{name}{ending}"
        if path.is_file():
            return path
    return None


def _is_nifti(path: Path) -> bool:
    return path.name.lower().endswith((".nii", ".nii.gz"))


def _nifti_header(path: Path) -> tuple[tuple[int, ...], npt.NDArray[np.float64]]:
    library: Any = nibabel
    image: Any = library.load(path)
    shape = tuple(int(size) for size in image.shape)
    while len(shape) > 3 and shape[-1] == 1:
        shape = shape[:-1]
    return shape + (1,) * (3 - len(shape)), np.asarray(image.affine, np.float64)


def _itk_header(path: Path) -> tuple[tuple[int, ...], npt.NDArray[np.float64]]:
    library: Any = SimpleITK
    reader = library.ImageFileReader()
    reader.SetFileName(str(path))
    reader.ReadImageInformation()
    size = reader.GetSize()
    directions = np.array(reader.GetDirection()).reshape(len(size), len(size))
    affine = np.eye(4)
    count = min(len(size), 3)
    columns = directions[:count, :count] * np.array(reader.GetSpacing()[:count])
    affine[:count, :count] = columns
    affine[:count, 3] = reader.GetOrigin()[:count]
    affine[:2] *= -1  # ITK counts to the left and to the back, NIfTI does not
    shape = tuple(int(one) for one in size) + (1,) * (3 - len(size))
    components = int(reader.GetNumberOfComponents())
    return (shape if components == 1 else (*shape, components)), affine


def _itk_array(path: Path, shape: tuple[int, ...], index: int) -> npt.NDArray[Any]:
    """Return the (i, j, k) axes of a file that ITK gives as (k, j, i)."""
    library: Any = SimpleITK
    image = library.ReadImage(str(path))
    array: npt.NDArray[Any] = library.GetArrayFromImage(image)
    if image.GetNumberOfComponentsPerPixel() > 1:
        array = array[..., index]  # components come last
    elif len(shape) == 4:
        array = array[index]  # a fourth axis comes first
    return array.T.reshape(shape[:3])


def _unreadable(path: Path, error: Exception) -> DatasetError:
    return DatasetError(f"{place_of(path)}: cannot be read ({type(error).__name__})")
