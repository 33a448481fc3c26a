"""Regions read back from the written SEG objects, as runs of set pixels."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pydicom
from pydicom import Dataset

from dicom_node.corrections.runs import runs_of_mask
from dicom_node.errors import ObjectError

__all__ = ["SegmentFrame", "read_segments"]


@dataclass(frozen=True, slots=True)
class SegmentFrame:
    """A segment on one frame of the source."""

    sop_instance_uid: str
    frame_number: int
    """From 1."""
    runs: tuple[int, ...]


def read_segments(path: Path) -> dict[int, list[SegmentFrame]]:
    """Return the frames of every segment of a SEG, by segment number.

    Parameters
    ----------
    path : pathlib.Path
        A SEG of type BINARY or LABELMAP that this node wrote.

    Raises
    ------
    ObjectError
        It cannot be read.

    References
    ----------
    PS3.3 C.8.20.2, C.7.6.16.2.6

    """
    try:
        ds = pydicom.dcmread(path)
        found: defaultdict[int, list[SegmentFrame]] = defaultdict(list)
        for item in ds.SegmentSequence:
            found[int(item.SegmentNumber)] = []
        groups = ds.PerFrameFunctionalGroupsSequence
        for group, pixels in zip(groups, _frames(ds), strict=True):
            source = group.DerivationImageSequence[0].SourceImageSequence[0]
            place = (
                str(source.ReferencedSOPInstanceUID),
                int(source.get("ReferencedFrameNumber", 1)),
            )
            for number, mask in _masks(ds, group, pixels):
                found[number].append(SegmentFrame(*place, tuple(runs_of_mask(mask))))
    except (OSError, ValueError, AttributeError, KeyError, IndexError) as error:
        msg = "the segmentation cannot be read"
        raise ObjectError(msg) from error
    return dict(found)


def _frames(ds: Dataset) -> Iterator[npt.NDArray[Any]]:
    """Yield frames one by one: all of them as bytes may fill the memory."""
    rows, columns = int(ds.Rows), int(ds.Columns)
    count = int(ds.NumberOfFrames)
    if ds.file_meta.TransferSyntaxUID.is_encapsulated:
        # RLE Lossless, of the node's own making, and by Python alone: a compiled
        # decoder may end the process over a damaged file.
        ds.pixel_array_options(decoding_plugin="pydicom")
        yield from np.asarray(ds.pixel_array).reshape(count, rows, columns)
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


def _masks(
    ds: Dataset, group: Dataset, pixels: npt.NDArray[Any]
) -> Iterator[tuple[int, npt.NDArray[np.bool_]]]:
    if ds.SegmentationType == "LABELMAP":
        for number in np.unique(pixels[pixels > 0]).tolist():
            yield number, pixels == number
    else:
        item = group.SegmentIdentificationSequence[0]
        # Of probabilities, what is at least as likely as not.
        least = max(1, (int(ds.get("MaximumFractionalValue", 1)) + 1) // 2)
        yield int(item.ReferencedSegmentNumber), pixels >= least
