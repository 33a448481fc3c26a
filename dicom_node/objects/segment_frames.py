"""The frames of a SEG, one by one, and the segments on them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
from pydicom import Dataset
from pydicom.pixels.utils import iter_pixels

__all__ = ["frames_of", "masks_of"]


def frames_of(ds: Dataset) -> Iterator[npt.NDArray[Any]]:
    """Yield frames one by one: all of them as bytes may fill the memory."""
    rows, columns = int(ds.Rows), int(ds.Columns)
    count = int(ds.NumberOfFrames)
    if ds.file_meta.TransferSyntaxUID.is_encapsulated:
        # RLE Lossless, of the node's own making, and by Python alone: a compiled
        # decoder may end the process over a damaged file.
        for frame in iter_pixels(ds, decoding_plugin="pydicom"):
            yield frame.reshape(rows, columns)
        return
    size = rows * columns
    data = np.frombuffer(ds.PixelData, np.uint8)
    if ds.BitsAllocated == 1:
        # Frames follow each other without a gap (PS3.5 8.1.1).
        for index in range(count):
            begin, end = index * size, (index + 1) * size
            packed = data[begin // 8 : (end + 7) // 8]
            bits = np.unpackbits(packed, bitorder="little")
            offset = begin % 8
            yield bits[offset : offset + size].reshape(rows, columns)
        return
    kind = np.dtype("<u2" if ds.BitsAllocated == 16 else "u1")
    labels = np.frombuffer(ds.PixelData, kind, count=count * size)
    yield from labels.reshape(count, rows, columns)


def masks_of(
    ds: Dataset, group: Dataset, pixels: npt.NDArray[Any]
) -> Iterator[tuple[int, npt.NDArray[np.bool_]]]:
    """Yield number and mask of each segment of a frame (PS3.3 C.8.20.2).

    Parameters
    ----------
    ds : pydicom.Dataset
        The SEG.
    group : pydicom.Dataset
        The frame's functional groups.
    pixels : numpy.ndarray
        The frame, shape ``(rows, columns)``.

    """
    if ds.SegmentationType == "LABELMAP":
        for number in np.unique(pixels[pixels > 0]).tolist():
            yield number, pixels == number
    else:
        item = group.SegmentIdentificationSequence[0]
        # Of probabilities, what is at least as likely as not.
        least = max(1, (int(ds.get("MaximumFractionalValue", 1)) + 1) // 2)
        yield int(item.ReferencedSegmentNumber), pixels >= least
