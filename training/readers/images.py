"""Load single pictures and masks: photographs, scanned films and DICOM images."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError
from pydicom.pixels.processing import apply_modality_lut, apply_voi_lut

from dicom_node.errors import NodeError
from dicom_node.imaging.dataset import quiet_reading, read_dataset
from dicom_node.imaging.decode import check_pixels, decode_frames
from training.errors import DatasetError
from training.readers.source import Mask, Picture

__all__ = [
    "image_size",
    "load_mask",
    "load_picture",
    "mask_loader",
    "picture_loader",
]

_DICOM_SUFFIXES = {".dcm", ".dicom", ".dic", ".ima"}

_MAX_PIXELS_BYTES = 1 << 30
"""Largest decoded picture; a mammogram takes 50 MB."""

_SPACINGS = ("PixelSpacing", "ImagerPixelSpacing", "NominalScannedPixelSpacing")
"""The patient's plane first, then the detector's, as the node does."""


def picture_loader(path: Path, *, voi: bool = False) -> partial[Picture]:
    """Return what loads a picture later; it can be pickled for worker processes."""
    return partial(load_picture, path, voi=voi)


def mask_loader(
    path: Path,
    *,
    image: Path | None = None,
    between: tuple[float, float] = (1.0, float("inf")),
) -> partial[Mask]:
    """Return what loads a mask later, see `load_mask`."""
    return partial(load_mask, path, image=image, between=between)


def load_picture(path: Path, *, voi: bool = False) -> Picture:
    """Load one picture.

    Parameters
    ----------
    path
        PNG, JPEG, TIFF, BMP or a DICOM image of one frame, told apart by its suffix.
    voi
        Apply the window or the VOI LUT of a DICOM image. The node does not, so what
        is learned for it should not either.

    Returns
    -------
    Grey pictures as (rows, columns) in stored units, of DICOM in modality units and
    in the sense of MONOCHROME2; colour as (rows, columns, 3) uint8. A picture stored
    as RGB with three equal channels is grey: DICOM stores the same picture so.
    Orientation marks of cameras are not obeyed, since masks are drawn on the pixels
    as stored.

    Raises
    ------
    DatasetError
        The file is missing or is no such picture.
    """
    if path.suffix.lower() in _DICOM_SUFFIXES:
        return _load_dicom(path, voi=voi)
    return Picture(pixels=_grey(_load_stored(path)), spacing_mm=None, is_volume=False)


def image_size(path: Path) -> tuple[int, int]:
    """Read (rows, columns) from a picture's header, without its pixels.

    Raises
    ------
    DatasetError
        The file is missing or is no picture.
    """
    if path.suffix.lower() not in _DICOM_SUFFIXES:
        try:
            with Image.open(path) as image:
                return image.height, image.width
        except (OSError, ValueError, Image.DecompressionBombError) as error:
            raise _refusal(path, error) from error
    try:
        with quiet_reading():
            ds = pydicom.dcmread(
                path, stop_before_pixels=True, specific_tags=["Rows", "Columns"]
            )
        return int(ds.Rows), int(ds.Columns)
    except Exception as error:
        # pydicom raises anything on broken files: this is the door.
        raise _refusal(path, error) from error


def load_mask(
    path: Path,
    *,
    image: Path | None = None,
    between: tuple[float, float] = (1.0, float("inf")),
) -> Mask:
    """Load the pixels of a picture whose level lies between two, both included.

    Parameters
    ----------
    path
        The brightest channel of a colour picture counts; transparency does not.
    image
        The picture that the mask is drawn on.
    between
        Lowest and highest level. JPEG blurs a mask's border: ask for 128 and above.

    Raises
    ------
    DatasetError
        The file is no picture, or not of the size of `image`.
    """
    stored = _load_stored(path)
    levels = stored.max(axis=2) if stored.ndim == 3 else stored
    if image is not None and (size := image_size(image)) != levels.shape:
        rows, columns = levels.shape
        raise DatasetError(
            f"{path.name} is {rows} x {columns}, its image {size[0]} x {size[1]}"
        )
    low, high = between
    return np.asarray((levels >= low) & (levels <= high), dtype=np.bool_)


def _load_stored(path: Path) -> NDArray[Any]:
    """Return (rows, columns) or (rows, columns, 3) as stored, palettes looked up."""
    try:
        with Image.open(path) as image:
            if image.mode in {"L", "I", "F", "RGB"} or image.mode.startswith("I;16"):
                stored = np.asarray(image)
                return stored.astype(stored.dtype.newbyteorder("="), copy=False)
            if image.mode == "1":
                return np.asarray(image.convert("L"))
            if image.mode == "LA":
                return np.asarray(image.getchannel("L"))
            return np.asarray(image.convert("RGB"))
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise _refusal(path, error) from error


def _grey(pixels: NDArray[Any]) -> NDArray[Any]:
    if pixels.ndim == 2:
        return pixels
    first = pixels[..., :1]
    return pixels[..., 0].copy() if (pixels == first).all() else pixels


def _load_dicom(path: Path, *, voi: bool) -> Picture:
    try:
        with quiet_reading():
            ds = read_dataset(path)
            check_pixels(ds, max_pixels_bytes=_MAX_PIXELS_BYTES)
            windowed = voi and ds.SamplesPerPixel == 1
            pixels: NDArray[Any] = (
                _presented(ds) if windowed else next(iter(decode_frames(ds, [1])))
            )
            spacing = _spacing(ds)
    except Exception as error:
        # pydicom raises anything on broken files: this is the door.
        raise _refusal(path, error) from error
    return Picture(pixels=pixels, spacing_mm=spacing, is_volume=False)


def _presented(ds: pydicom.Dataset) -> NDArray[np.float32]:
    """Return what a viewer shows first: PS3.3 C.11.2, then C.7.6.3.1.2."""
    values = apply_voi_lut(apply_modality_lut(ds.pixel_array, ds), ds)
    values = np.asarray(values, dtype=np.float32)
    if ds.PhotometricInterpretation == "MONOCHROME1":
        values = values.min() + values.max() - values
    return values


def _spacing(ds: pydicom.Dataset) -> tuple[float, float, float] | None:
    for keyword in _SPACINGS:
        value = ds.get(keyword)
        try:
            rows, columns = (float(part) for part in value or ())
        except (TypeError, ValueError):
            continue
        if rows > 0 and columns > 0 and np.isfinite([rows, columns]).all():
            return 0.0, rows, columns
    return None


def _refusal(path: Path, error: Exception) -> DatasetError:
    if isinstance(error, FileNotFoundError):
        return DatasetError(f"{path.name} is not there")
    # Only our own messages are known to quote no element of the data set.
    reason = str(error) if isinstance(error, NodeError) else type(error).__name__
    if isinstance(error, UnidentifiedImageError):
        reason = "not a picture"
    return DatasetError(f"{path.name} cannot be read: {reason}")
