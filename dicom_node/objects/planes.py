"""The frames of a SEG: which there are, where they lie, what they refer to, their bits.

highdicom builds frames from one array over all segments and planes; with many
phrases that array does not fit in memory, and it refuses sources without a frame
of reference that have more than one frame. Here frames are made one by one from the
cropped masks, in the grid of the source.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import chain
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
from pydicom import Dataset

from conformance.rules_common import items_of
from dicom_node.errors import ObjectError
from dicom_node.objects.files import PixelStream
from dicom_node.objects.frame_items import orientation_item
from dicom_node.objects.sources import (
    UNREADABLE,
    FrameGeometry,
    SourceHeaders,
    decimal_string,
    frame_geometry,
    number_of,
)

if TYPE_CHECKING:
    from dicom_node.records import ImageSeries, Mask, Region

__all__ = [
    "Grid",
    "Plane",
    "filled_frames",
    "make_grid",
    "pack_bits",
    "pack_fractions",
    "pack_labels",
    "planes_of",
    "shared_groups",
]

_UNIT_ORIENTATION = ("1", "0", "0", "0", "1", "0")


@dataclass(frozen=True, eq=False)
class Grid:
    """The source's grid as functional groups describe it.

    Where the source has no place in the patient, ``is_placed`` is False and the
    geometry is that of the pixel grid itself: rows and columns as axes, frames one
    spacing apart. Viewers need it to draw anything; no frame of reference is
    claimed for it, so it relates to nothing but the source (PS3.3 A.51.5: these
    functional groups may be present without one).
    """

    series: ImageSeries
    geometry: tuple[FrameGeometry, ...]
    is_placed: bool
    slice_thickness_mm: str | None
    lossy_compression: tuple[tuple[float, ...], tuple[str, ...]] | None
    """Ratios and methods of lossy compression of the first frame; None: lossless,
    or the source does not say."""
    viewing_rank: tuple[int, ...]
    """For each frame: its place in the order of Instance Number and Frame Number,
    in which viewers keep a series."""

    def copy_lossy_compression(self, ds: Dataset) -> None:
        """Say of a SEG what is true of its source (PS3.3 C.7.6.1.1.5)."""
        if self.lossy_compression is not None:
            ratios, methods = self.lossy_compression
            ds.LossyImageCompression = "01"
            ds.LossyImageCompressionRatio = [decimal_string(one) for one in ratios]
            ds.LossyImageCompressionMethod = list(methods)

    @cached_property
    def shared_orientation(self) -> tuple[str, ...] | None:
        """Return the orientation of every frame, None where they differ."""
        first = self.geometry[0].orientation
        if all(one.orientation == first for one in self.geometry):
            return first
        return None


@dataclass(frozen=True, eq=False)
class Plane:
    """One frame of a segmentation: a segment (from 1) on a frame of the series."""

    segment_number: int
    frame_index: int
    mask: npt.NDArray[np.bool_]
    """Cropped, shape ``(rows, columns)``."""
    row: int
    column: int
    probability: npt.NDArray[np.uint8] | None = None
    """Of each pixel, 255 for certain, cropped as the mask; None: not known."""


def make_grid(series: ImageSeries, headers: SourceHeaders) -> Grid:
    """Read the grid of a series from its headers.

    Raises
    ------
    ObjectError
        A source instance cannot be read.

    """
    found = frame_geometry(series, headers)
    first = headers.geometry(series.frames[0].path)
    geometry = found or tuple(
        FrameGeometry(("0", "0", decimal_string(index)), _UNIT_ORIENTATION)
        for index in range(len(series.frames))
    )
    instance_numbers = [
        _instance_number(headers.geometry(frame.path)) for frame in series.frames
    ]
    viewed = sorted(
        range(len(series.frames)),
        key=lambda k: (instance_numbers[k], series.frames[k].frame_number),
    )
    ranks = {index: rank for rank, index in enumerate(viewed)}
    return Grid(
        series=series,
        geometry=geometry,
        is_placed=found is not None,
        slice_thickness_mm=_slice_thickness(first),
        lossy_compression=_lossy_compression(first),
        viewing_rank=tuple(ranks[index] for index in range(len(viewed))),
    )


def filled_frames(region: Region, series: ImageSeries) -> tuple[int, ...]:
    """Return the frames of the series where a region's mask is not empty, in order.

    Raises
    ------
    ObjectError
        The mask leaves the grid or is empty.

    """
    shape, origin = region.mask.shape, region.mask_origin
    limits = (len(series.frames), series.rows, series.columns)
    ends = tuple(start + size for start, size in zip(origin, shape, strict=True))
    if min(origin) < 0 or any(
        end > limit for end, limit in zip(ends, limits, strict=True)
    ):
        msg = f"a mask ends at {ends} and its series has {limits} frames, rows, columns"
        raise ObjectError(msg, tracking_uid=region.tracking_uid)
    frames = [index for index, one in enumerate(region.mask, origin[0]) if one.any()]
    if not frames:
        msg = "a region has an empty mask"
        raise ObjectError(msg, tracking_uid=region.tracking_uid)
    return tuple(frames)


def planes_of(
    region: Region, frames: Sequence[int], *, segment_number: int
) -> Iterator[Plane]:
    """Yield the frames of one segment: those of `filled_frames`."""
    first, row, column = region.mask_origin
    mask: Mask = region.mask.astype(bool, copy=False)
    shares = region.probability
    for frame in frames:
        yield Plane(
            segment_number,
            frame,
            mask[frame - first],
            row,
            column,
            None if shares is None else shares[frame - first],
        )


def shared_groups(grid: Grid) -> Dataset:
    """Return the shared functional groups that every frame has (C.7.6.16.2)."""
    measures = Dataset()
    rows_mm, columns_mm = grid.series.pixel_spacing_mm or (1.0, 1.0)
    measures.PixelSpacing = [decimal_string(rows_mm), decimal_string(columns_mm)]
    affine = grid.series.affine_lps
    spacing = None if affine is None else float(np.linalg.norm(affine[:3, 0]))
    thickness = grid.slice_thickness_mm or decimal_string(spacing or 1.0)
    measures.SliceThickness = thickness
    if not grid.is_placed:
        measures.SpacingBetweenSlices = "1"
    elif spacing is not None and len(grid.series.frames) > 1:
        measures.SpacingBetweenSlices = decimal_string(spacing)
    groups = Dataset()
    groups.PixelMeasuresSequence = [measures]
    if (orientation := grid.shared_orientation) is not None:
        groups.PlaneOrientationSequence = [orientation_item(orientation)]
    return groups


def pack_bits(planes: Sequence[Plane], rows: int, columns: int) -> PixelStream:
    """Pack frames as one stream of bits, lowest first (PS3.5 8.1.1).

    Frames follow each other without a gap, so a frame may begin inside a byte;
    eight frames always end on one.
    """
    size = (len(planes) * rows * columns + 7) // 8
    packed = _packed_windows if columns % 8 == 0 else _packed_groups
    return _stream("OB", size, packed(planes, rows, columns))


def pack_labels(
    planes: Sequence[Plane], rows: int, columns: int, dtype: type[np.unsignedinteger]
) -> tuple[list[int], PixelStream]:
    """Draw segment numbers frame by frame; return the frame indices and the pixels."""
    by_frame: dict[int, list[Plane]] = {}
    for plane in planes:
        by_frame.setdefault(plane.frame_index, []).append(plane)
    frames = sorted(by_frame)
    kind = np.dtype(dtype).newbyteorder("<")

    def pieces() -> Iterator[bytes]:
        for index in frames:
            labels = np.zeros((rows, columns), kind)
            for plane in by_frame[index]:
                _paint(labels, plane, plane.segment_number)
            yield labels.tobytes()

    size = len(frames) * rows * columns * kind.itemsize
    return frames, _stream("OB" if kind.itemsize == 1 else "OW", size, pieces())


def pack_fractions(planes: Sequence[Plane], rows: int, columns: int) -> PixelStream:
    """Draw probabilities frame by frame, one byte a pixel (PS3.3 C.8.20.2.3).

    Raises
    ------
    ObjectError
        A plane has no probabilities.

    """
    drawn = []
    for plane in planes:
        if plane.probability is None:
            raise ObjectError("a region has no probabilities")
        drawn.append((plane, plane.probability))

    def pieces() -> Iterator[bytes]:
        for plane, probability in drawn:
            frame = np.zeros((rows, columns), np.uint8)
            height, width = probability.shape
            window = frame[plane.row : plane.row + height]
            window[:, plane.column : plane.column + width] = probability
            yield frame.tobytes()

    return _stream("OB", len(drawn) * rows * columns, pieces())


def _packed_windows(
    planes: Sequence[Plane], rows: int, columns: int
) -> Iterator[bytes]:
    """Yield frames whose rows end on bytes: only what holds something is packed."""
    for plane in planes:
        height, width = plane.mask.shape
        first = plane.column // 8
        end = (plane.column + width + 7) // 8
        begin = plane.column - 8 * first
        window = np.zeros((height, 8 * (end - first)), np.bool_)
        window[:, begin : begin + width] = plane.mask
        frame = np.zeros((rows, columns // 8), np.uint8)
        frame[plane.row : plane.row + height, first:end] = np.packbits(
            window, axis=1, bitorder="little"
        )
        yield frame.tobytes()


def _packed_groups(planes: Sequence[Plane], rows: int, columns: int) -> Iterator[bytes]:
    for start in range(0, len(planes), 8):
        group = planes[start : start + 8]
        bits = np.zeros((len(group), rows, columns), np.uint8)
        for target, plane in zip(bits, group, strict=True):
            _paint(target, plane, 1)
        yield np.packbits(bits, bitorder="little").tobytes()


def _stream(vr: str, size: int, pieces: Iterator[bytes]) -> PixelStream:
    padding = [b"\0"] * (size % 2)  # PS3.5 7.1.1: even length
    return PixelStream(vr, size + len(padding), chain(pieces, padding))


def _paint(target: npt.NDArray[np.unsignedinteger], plane: Plane, value: int) -> None:
    rows, columns = plane.mask.shape
    window = target[plane.row : plane.row + rows, plane.column : plane.column + columns]
    window[plane.mask] = value


def _instance_number(header: Dataset) -> int:
    return int(number_of(header, "InstanceNumber") or 0)


def _slice_thickness(header: Dataset) -> str | None:
    places = [header]
    for groups in items_of(header, "SharedFunctionalGroupsSequence"):
        places += items_of(groups, "PixelMeasuresSequence")
    for place in places:
        number = number_of(place, "SliceThickness")
        if number is not None and number > 0:
            return decimal_string(number)
    return None


def _lossy_compression(
    header: Dataset,
) -> tuple[tuple[float, ...], tuple[str, ...]] | None:
    try:
        if header.get("LossyImageCompression") != "01":
            return None
        ratios = header.get("LossyImageCompressionRatio")
        methods = header.get("LossyImageCompressionMethod")
        if ratios in (None, "") or methods in (None, ""):
            return None
        ratios = [ratios] if isinstance(ratios, float | int) else list(ratios)
        methods = [methods] if isinstance(methods, str) else list(methods)
        return tuple(float(one) for one in ratios), tuple(str(m) for m in methods)
    except UNREADABLE:
        return None
