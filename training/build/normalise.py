"""Bring pictures to what is stored: 8 or 16 bits, a known scale, a bounded side."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from training.build.settings import BuildSettings
from training.errors import DatasetError
from training.layout import Neighbour, PictureInfo
from training.readers.source import Picture

__all__ = [
    "check_picture",
    "describe_picture",
    "encode_plane",
    "neighbours_of",
    "shrink_mask",
    "store_plane",
    "stored_shape",
]

_HU_ZERO = 32768
"""Stored value of 0 HU: every signed 16 bit value has its place (DeepLesion's way)."""


def check_picture(picture: Picture) -> Picture:
    """Return the picture with finite values only.

    Raises
    ------
    DatasetError
        It is empty, of an unknown shape or kind, or has no finite value.
    """
    pixels = picture.pixels
    is_rgb = not picture.is_volume and pixels.ndim == 3 and pixels.shape[-1] == 3
    if not is_rgb and pixels.ndim != (3 if picture.is_volume else 2):
        raise DatasetError("a picture of an unknown shape")
    if not pixels.size or pixels.dtype.kind not in "uifb":
        raise DatasetError("a picture without values")
    if is_rgb and pixels.dtype != np.uint8:
        raise DatasetError("a colour picture of more than 8 bits")
    if pixels.dtype.kind == "f":
        finite = np.isfinite(pixels)
        if not finite.any():
            raise DatasetError("a picture without values")
        if not finite.all():
            pixels = np.where(finite, pixels, pixels[finite].min())
    elif pixels.dtype.kind == "b":
        pixels = pixels.astype(np.uint8)
    return Picture(pixels, picture.spacing_mm, picture.is_volume)


def stored_shape(rows: int, columns: int, *, long_side: int) -> tuple[int, int]:
    """Return (rows, columns) under the cap, in the same proportion."""
    factor = min(1.0, long_side / max(rows, columns))
    return max(1, round(rows * factor)), max(1, round(columns * factor))


def describe_picture(
    picture: Picture, *, modality: str, settings: BuildSettings
) -> PictureInfo:
    """Choose how the values of an image or volume are stored.

    Integers of CT and of all that fits 16 bits come back exactly. Other values are
    spread evenly over the range of the type; the error is half of ``scale``.
    """
    pixels = picture.pixels
    axes = pixels.shape[1:] if picture.is_volume else pixels.shape[:2]
    size = (int(axes[0]), int(axes[1]))
    low, high = (float(value) for value in np.percentile(pixels, (1.0, 99.5)))
    if pixels.ndim == 3 and not picture.is_volume:
        return PictureInfo(1.0, 0.0, "rgb", low, high, size)
    is_ct = modality == "CT" and pixels.dtype != np.uint8
    units = "HU" if is_ct else "relative"
    scale, intercept = _scale(pixels, is_ct=is_ct, bits=_bits(modality, settings))
    return PictureInfo(scale, intercept, units, low, high, size)


def _bits(modality: str, settings: BuildSettings) -> int:
    return 8 if modality in settings.eight_bit else 16


def _scale(pixels: NDArray[Any], *, is_ct: bool, bits: int) -> tuple[float, float]:
    """Return (scale, intercept)."""
    if pixels.dtype == np.uint8:
        return 1.0, 0.0
    least, most = float(pixels.min()), float(pixels.max())
    is_whole = pixels.dtype.kind in "ui" or bool((pixels == np.rint(pixels)).all())
    if is_ct and is_whole and least >= -_HU_ZERO and most < _HU_ZERO:
        return 1.0, -float(_HU_ZERO)
    top = float((1 << bits) - 1)
    if is_whole and least >= 0 and most <= top:
        return 1.0, 0.0
    if is_whole and most - least <= top:
        return 1.0, least
    if bits == 8:
        least, most = (float(v) for v in np.percentile(pixels, (0.1, 99.9)))
    return max(most - least, 1e-6) / top, least


def store_plane(
    plane: NDArray[Any], info: PictureInfo, *, settings: BuildSettings, modality: str
) -> NDArray[Any]:
    """Return what is stored of a plane: uint8 or uint16, shrunk to the cap."""
    rows, columns = plane.shape[:2]
    shape = stored_shape(rows, columns, long_side=settings.long_side)
    if info.units == "rgb":
        return _shrink_rgb(plane, shape)
    values = plane.astype(np.float64)
    if shape != (rows, columns):
        values = _shrink(values.astype(np.float32), shape).astype(np.float64)
    stored = np.rint((values - info.intercept) / info.scale)
    wide = info.units == "HU" or (
        plane.dtype != np.uint8 and _bits(modality, settings) == 16
    )
    kind = np.uint16 if wide else np.uint8
    return np.clip(stored, 0, np.iinfo(kind).max).astype(kind)


def shrink_mask(mask: NDArray[np.bool_], shape: tuple[int, int]) -> NDArray[np.bool_]:
    """Return a mask on the stored grid: pixels that it covers by half at least.

    What is too thin for that keeps the pixels it covers most.
    """
    if mask.shape == shape:
        return mask
    cover = _shrink(mask.astype(np.float32), shape)
    half = cover >= 0.5
    most = float(cover.max())
    return half if half.any() or most <= 0 else cover >= 0.999 * most


def _shrink(values: NDArray[np.float32], shape: tuple[int, int]) -> NDArray[np.float32]:
    picture = Image.fromarray(values)
    resized = picture.resize((shape[1], shape[0]), Image.Resampling.BOX)
    return np.asarray(resized, dtype=np.float32)


def _shrink_rgb(plane: NDArray[Any], shape: tuple[int, int]) -> NDArray[np.uint8]:
    if plane.shape[:2] == shape:
        return plane.astype(np.uint8, copy=False)
    picture = Image.fromarray(np.ascontiguousarray(plane))
    resized = picture.resize((shape[1], shape[0]), Image.Resampling.BOX)
    return np.asarray(resized, dtype=np.uint8)


def encode_plane(stored: NDArray[Any], *, jpeg_quality: int = 0) -> bytes:
    """Encode as PNG, or a colour picture as JPEG where a quality is given."""
    stream = io.BytesIO()
    picture = Image.fromarray(np.ascontiguousarray(stored))
    if jpeg_quality and stored.ndim == 3:
        picture.save(stream, "JPEG", quality=jpeg_quality, subsampling=0)
    else:
        picture.save(stream, "PNG", compress_level=6)
    return stream.getvalue()


def neighbours_of(
    index: int,
    slices: int,
    *,
    spacing_mm: float | None,
    settings: BuildSettings,
) -> tuple[Neighbour, ...]:
    """Choose the slices that are stored beside slice `index`.

    The nearest to each of ``neighbours_mm``; without a spacing the next ones in order.
    """
    found = []
    for wanted in settings.neighbours_mm:
        if spacing_mm:
            offset = round(wanted / spacing_mm)
        else:
            same = [mm for mm in settings.neighbours_mm if mm * wanted > 0]
            nearer = sum(abs(mm) < abs(wanted) for mm in same) + 1
            offset = nearer if wanted > 0 else -nearer
        other = min(max(index + offset, 0), slices - 1)
        mm = (other - index) * spacing_mm if spacing_mm else wanted
        found.append(Neighbour(other - index, mm))
    return tuple(found)
