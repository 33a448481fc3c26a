"""Decode the frames of a segmentation, and paste them onto the images they are of."""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt
from pydicom import Dataset, dcmread
from pydicom.pixels.utils import iter_pixels
from pydicom.uid import ImplicitVRLittleEndian

from dicom_node.imaging.dataset import quiet_reading
from training.errors import DatasetError
from training.readers.dicom_series import PlacedSeries
from training.readers.source import Mask

__all__ = ["Paste", "StoredValues", "load_segment_frame", "load_segment_volume"]


@dataclass(frozen=True)
class Paste:
    """A stored frame and where its pixels go."""

    stored: int
    frame: int
    row: int
    column: int


@dataclass(frozen=True)
class StoredValues:
    """Which stored values belong to a segment."""

    low: int
    high: int
    is_label_map: bool


def load_segment_volume(
    path: Path, placed: PlacedSeries, pastes: tuple[Paste, ...], values: StoredValues
) -> Mask:
    """Return a segment on a volume, (slices, rows, columns) in canonical axes.

    Raises
    ------
    DatasetError
        The frames cannot be decoded.
    """
    series = placed.series
    mask = np.zeros((len(series.frames), series.rows, series.columns), np.bool_)
    for one, frame in _stored(path, pastes, values):
        _paste(mask[one.frame], frame, one.row, one.column)
    return placed.turn_volume(mask)


def load_segment_frame(
    path: Path, placed: PlacedSeries, pastes: tuple[Paste, ...], values: StoredValues
) -> Mask:
    """Return a segment on one frame, (rows, columns), turned as the frame is.

    Raises
    ------
    DatasetError
        The frames cannot be decoded.
    """
    mask = np.zeros((placed.series.rows, placed.series.columns), np.bool_)
    for one, frame in _stored(path, pastes, values):
        _paste(mask, frame, one.row, one.column)
    return placed.turn_frame(mask)


def _paste(target: Mask, frame: Mask, row: int, column: int) -> None:
    """Add a frame whose first pixel lies at (row, column), which may be outside."""
    rows, columns = target.shape
    top, left = max(row, 0), max(column, 0)
    bottom = min(row + frame.shape[0], rows)
    right = min(column + frame.shape[1], columns)
    if top < bottom and left < right:
        target[top:bottom, left:right] |= frame[
            top - row : bottom - row, left - column : right - column
        ]


def _stored(
    path: Path, pastes: Sequence[Paste], values: StoredValues
) -> Iterator[tuple[Paste, Mask]]:
    if values.is_label_map:
        labels = _label_map(path, path.stat().st_mtime_ns)
        for one in pastes:
            yield one, labels[one.stored] == values.low
        return
    indices = [one.stored for one in pastes]
    for one, frame in zip(pastes, _decode(path, indices), strict=True):
        yield one, (frame >= values.low) & (frame <= values.high)


@lru_cache(maxsize=1)
def _label_map(path: Path, _modified_ns: int) -> npt.NDArray[Any]:
    """Decode a label map once for all its segments."""
    return np.stack(_decode(path, None))


def _decode(path: Path, indices: Sequence[int] | None) -> list[npt.NDArray[Any]]:
    try:
        with quiet_reading(), path.open("rb") as file:
            ds = dcmread(file, stop_before_pixels=True, force=True)
            if (
                ds.BitsAllocated == 1
                and not ds.file_meta.TransferSyntaxUID.is_compressed
            ):
                return list(_unpacked(file, ds, indices))
            return list(iter_pixels(path, indices=indices, raw=True))
    except Exception as error:  # broken pixels raise nearly anything in pydicom
        raise DatasetError(
            f"{path.name}: cannot be decoded ({type(error).__name__})"
        ) from error


def _unpacked(
    file: BinaryIO, ds: Dataset, indices: Sequence[int] | None
) -> Iterator[npt.NDArray[np.uint8]]:
    """Read frames of one bit a pixel from a file that stands at its Pixel Data.

    Frames follow each other bit by bit, so one may begin within a byte (PS3.5 8.1.1).
    """
    is_implicit = ds.file_meta.TransferSyntaxUID == ImplicitVRLittleEndian
    header = file.read(8 if is_implicit else 12)
    (length,) = struct.unpack("<L", header[-4:])
    start, size = file.tell(), int(ds.Rows) * int(ds.Columns)
    for index in range(int(ds.NumberOfFrames)) if indices is None else indices:
        first, last = index * size, (index + 1) * size
        if (last + 7) // 8 > length:
            raise ValueError("the pixel data ends before its last frame")
        file.seek(start + first // 8)
        packed = np.frombuffer(file.read((last + 7) // 8 - first // 8), np.uint8)
        bits = np.unpackbits(packed, bitorder="little")[first % 8 :][:size]
        yield bits.reshape(ds.Rows, ds.Columns)
