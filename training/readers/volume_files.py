"""Open volume files of three families: headers, and planes one after the other."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import numpy.typing as npt
import SimpleITK

from training.errors import DatasetError

__all__ = [
    "UNREADABLE",
    "VOLUME_ENDINGS",
    "case_name",
    "find_volume",
    "place_of",
    "read_header",
    "read_planes",
    "unreadable",
]

VOLUME_ENDINGS = (".nii.gz", ".nii", ".mhd", ".mha", ".nrrd", ".nhdr")
"""What a volume's file name ends with; NIfTI is read by nibabel, the rest by ITK."""

UNREADABLE = (
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


def read_header(path: Path) -> tuple[tuple[int, ...], npt.NDArray[np.float64]]:
    """Return the stored shape and the affine from its first three axes to RAS mm.

    Raises
    ------
    Exception
        One of `UNREADABLE`.
    """
    return _nifti_header(path) if _is_nifti(path) else _itk_header(path)


def read_planes(
    path: Path, shape: tuple[int, ...], *, index: int, channels_first: bool
) -> Iterator[npt.NDArray[Any]]:
    """Yield the planes across the last spatial axis of one channel.

    Parameters
    ----------
    path : pathlib.Path
    shape : tuple of int
        As stored, three axes or four.
    index : int
        Of the channel; 0 where there is no such axis.
    channels_first : bool
        Whether the channels are the first of four axes.

    Raises
    ------
    Exception
        One of `UNREADABLE`.
    """
    if _is_nifti(path):
        return _nifti_planes(path, shape, index=index, channels_first=channels_first)
    return _itk_planes(path, shape, index=index)


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


def unreadable(path: Path, error: Exception) -> DatasetError:
    """Say that a file cannot be read, without what is in it."""
    return DatasetError(f"{place_of(path)}: cannot be read ({type(error).__name__})")


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


def _nifti_planes(
    path: Path, shape: tuple[int, ...], *, index: int, channels_first: bool
) -> Iterator[npt.NDArray[Any]]:
    """Yield the planes of a channel, forwards through the file.

    NIfTI scales to double precision, and files of four axes do not fit into memory:
    plane by plane, no more is held than what is asked for.
    """
    library: Any = nibabel
    proxy: Any = library.load(path, keep_file_open=True).dataobj
    at: list[Any] = [slice(None)] * len(proxy.shape)
    at[3:] = [0] * (len(at) - 3)
    if len(shape) == 4:
        at = [index, *at[:3]] if channels_first else [*at[:3], index]
    last = 3 if channels_first else 2
    for place in range(shape[2 + channels_first]):
        if len(at) > last:
            at[last] = place
        plane = np.asarray(proxy[tuple(at)])
        is_double = plane.dtype == np.float64
        yield plane.astype(np.float32) if is_double else plane


def _itk_planes(
    path: Path, shape: tuple[int, ...], *, index: int
) -> Iterator[npt.NDArray[Any]]:
    """Yield the planes of a channel, as (i, j) where ITK gives (k, j, i)."""
    library: Any = SimpleITK
    image = library.ReadImage(str(path))
    array: npt.NDArray[Any] = library.GetArrayViewFromImage(image)
    if image.GetNumberOfComponentsPerPixel() > 1:
        array = array[..., index]  # components come last
    elif len(shape) == 4:
        array = array[index]  # a fourth axis comes first
    stored = array.T.reshape(shape[:3])
    for place in range(shape[2]):
        yield stored[:, :, place]
