"""Rules of segmentations: PS3.3 A.51, C.8.20.2, C.8.20.3 and C.7.6.16."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import TypeAlias

import numpy as np
from pydicom import Dataset
from pydicom.pixels.decoders.base import get_decoder

from conformance.rules_common import Violation, items_of, missing

__all__ = ["SEGMENTATION_CLASSES", "check_segmentation"]

_SEGMENTATION = "1.2.840.10008.5.1.4.1.1.66.4"
_LABEL_MAP = "1.2.840.10008.5.1.4.1.1.66.7"

SEGMENTATION_CLASSES = frozenset({_SEGMENTATION, _LABEL_MAP})
"""Segmentation Storage and Label Map Segmentation Storage."""

_TYPE_1 = (
    "SegmentationType",
    "SegmentSequence",
    "ImageType",
    "Rows",
    "Columns",
    "NumberOfFrames",
    "SamplesPerPixel",
    "PhotometricInterpretation",
    "BitsAllocated",
    "BitsStored",
    "PixelData",
    "LossyImageCompression",
    "ContentLabel",
    "SharedFunctionalGroupsSequence",
    "PerFrameFunctionalGroupsSequence",
    "DimensionOrganizationSequence",
    "DimensionIndexSequence",
    "ReferencedSeriesSequence",
)

_SEGMENT_TYPE_1 = (
    "SegmentNumber",
    "SegmentLabel",
    "SegmentAlgorithmType",
    "SegmentedPropertyCategoryCodeSequence",
    "SegmentedPropertyTypeCodeSequence",
)

_SEGMENT_PROMISES = (
    "SegmentDescription",
    "TrackingID",
    "TrackingUID",
    "RecommendedDisplayCIELabValue",
    "SegmentationAlgorithmIdentificationSequence",
)

_Groups: TypeAlias = Mapping[str, Sequence[Dataset]]
"""The functional groups of a frame: the items of each sequence, by its keyword."""

_PLACE = ("PixelMeasuresSequence", "PlaneOrientationSequence", "PlanePositionSequence")
"""Where a frame lies: each of its own, or shared by all."""

_PIXELS = {
    "BINARY": ((1,), _SEGMENTATION),
    "FRACTIONAL": ((8,), _SEGMENTATION),
    "LABELMAP": ((8, 16), _LABEL_MAP),
}
"""Segmentation Type to Bits Allocated and SOP class (PS3.3 C.8.20.2.3)."""


def check_segmentation(ds: Dataset, *, own: bool) -> Iterator[Violation]:
    """Yield the rules of a SEG that a data set breaks; with `own`, our promises."""
    absent = list(missing(ds, _TYPE_1, "data set"))
    yield from absent
    if ds.get("Modality") != "SEG":
        yield Violation("modality", "Modality", "not SEG")
    if absent:  # the rest would only repeat it
        return
    bad_pixels = list(_check_pixels(ds))
    yield from bad_pixels
    yield from _check_fractions(ds)
    yield from _check_segments(ds, own=own)
    frames = list(map(_groups_of, ds.PerFrameFunctionalGroupsSequence))
    yield from _check_references(ds, frames)
    yield from _check_dimensions(ds, frames)
    yield from _check_frames(ds, frames)
    yield from _check_place(ds, frames)
    if own and not bad_pixels:
        yield from _check_contents(ds)


def _check_pixels(ds: Dataset) -> Iterator[Violation]:
    kind = str(ds.SegmentationType)
    if kind not in _PIXELS:
        yield Violation("segmentation-type", "SegmentationType", "not a known type")
        return
    bits, sop_class = _PIXELS[kind]
    if ds.SOPClassUID != sop_class:
        yield Violation("segmentation-type", "SOPClassUID", f"not one of {kind}")
    if ds.BitsAllocated not in bits or ds.BitsStored != ds.BitsAllocated:
        yield Violation("pixels", "BitsAllocated", f"not {bits}")
    if ds.get("HighBit") != ds.BitsStored - 1 or ds.get("PixelRepresentation") != 0:
        yield Violation("pixels", "HighBit", "not unsigned integers")
    if ds.SamplesPerPixel != 1 or ds.PhotometricInterpretation != "MONOCHROME2":
        yield Violation("pixels", "PhotometricInterpretation", "not MONOCHROME2")
    pixels = int(ds.Rows) * int(ds.Columns) * int(ds.NumberOfFrames)
    size = math.ceil(pixels * int(ds.BitsAllocated) / 8)
    meta = getattr(ds, "file_meta", Dataset())
    syntax = meta.get("TransferSyntaxUID")
    is_compressed = syntax is not None and syntax.is_compressed
    if not is_compressed and len(ds.PixelData) != size + size % 2:
        yield Violation("pixels", "PixelData", "not the size that the frames need")


def _check_fractions(ds: Dataset) -> Iterator[Violation]:
    """Yield what is wrong with how fractions are described (PS3.3 C.8.20.2)."""
    if ds.SegmentationType != "FRACTIONAL":
        return
    if ds.get("SegmentationFractionalType") not in {"PROBABILITY", "OCCUPANCY"}:
        yield Violation("fractions", "SegmentationFractionalType", "not a known type")
    if not 1 <= int(ds.get("MaximumFractionalValue") or 0) <= 255:
        yield Violation("fractions", "MaximumFractionalValue", "not from 1 to 255")


def _check_segments(ds: Dataset, *, own: bool) -> Iterator[Violation]:
    numbers = [int(item.get("SegmentNumber", -1)) for item in ds.SegmentSequence]
    if numbers != list(range(1, len(numbers) + 1)):
        yield Violation("segment-numbers", "SegmentSequence", "not 1, 2, 3 ...")
    for index, item in enumerate(ds.SegmentSequence, start=1):
        where = f"SegmentSequence[{index}]"
        yield from missing(item, _SEGMENT_TYPE_1, where)
        if item.get("SegmentAlgorithmType") != "MANUAL":
            yield from missing(item, ("SegmentAlgorithmName",), where)
        if ("TrackingID" in item) != ("TrackingUID" in item):
            yield Violation("tracking", where, "Tracking ID and UID come together")
        if own:
            yield from missing(item, _SEGMENT_PROMISES, where)
    uids = [item.get("TrackingUID") for item in ds.SegmentSequence]
    if own and len(set(uids)) != len(uids):
        yield Violation("tracking", "SegmentSequence", "a Tracking UID twice")


def _groups_of(frame: Dataset) -> _Groups:
    return {one.keyword: one.value for one in frame if one.VR == "SQ"}


def _check_references(ds: Dataset, frames: Sequence[_Groups]) -> Iterator[Violation]:
    """Yield frames whose source is not among the referenced instances (C.12.2)."""
    named = set()
    for series in ds.ReferencedSeriesSequence:
        yield from missing(
            series,
            ("SeriesInstanceUID", "ReferencedInstanceSequence"),
            "ReferencedSeriesSequence",
        )
        for item in items_of(series, "ReferencedInstanceSequence"):
            named.add(item.get("ReferencedSOPInstanceUID"))
    known: dict[int, list[bool]] = {}  # frames may share what they are derived from
    for number, groups in enumerate(frames, start=1):
        derivations = groups.get("DerivationImageSequence", ())
        if id(derivations) not in known:
            known[id(derivations)] = [
                item.get("ReferencedSOPInstanceUID") in named
                for derivation in derivations
                for item in items_of(derivation, "SourceImageSequence")
            ]
        where, are_named = f"frame {number}", known[id(derivations)]
        if not are_named:
            yield Violation("frame-source", where, "refers to no source image")
        for is_named in are_named:
            if not is_named:
                yield Violation("frame-source", where, "refers to an unnamed instance")


def _check_dimensions(ds: Dataset, frames: Sequence[_Groups]) -> Iterator[Violation]:
    """Yield what is wrong with the dimensions (PS3.3 C.7.6.17)."""
    organizations = {
        item.get("DimensionOrganizationUID")
        for item in ds.DimensionOrganizationSequence
    }
    for item in ds.DimensionIndexSequence:
        if item.get("DimensionOrganizationUID") not in organizations:
            yield Violation("dimensions", "DimensionIndexSequence", "no organization")
    seen, dimensions = set(), len(ds.DimensionIndexSequence)
    for number, groups in enumerate(frames, start=1):
        where = f"frame {number}"
        content = groups.get("FrameContentSequence")
        values = content[0].get("DimensionIndexValues") if content else None
        if values is None:
            yield Violation("dimensions", where, "no Dimension Index Values")
            continue
        key = (values,) if isinstance(values, int) else tuple(values)
        if len(key) != dimensions:
            yield Violation("dimensions", where, "not one value for each dimension")
        if key in seen:
            yield Violation("dimensions", where, "the same values as another frame")
        seen.add(key)


def _check_frames(ds: Dataset, frames: Sequence[_Groups]) -> Iterator[Violation]:
    """Yield frames without a segment, and segments without a frame."""
    if len(frames) != int(ds.NumberOfFrames):
        yield Violation("frames", "NumberOfFrames", "not the number of items")
    if ds.SegmentationType == "LABELMAP":
        return
    numbers = {int(item.get("SegmentNumber", -1)) for item in ds.SegmentSequence}
    shared = items_of(
        ds.SharedFunctionalGroupsSequence[0], "SegmentIdentificationSequence"
    )
    used = set()
    for index, groups in enumerate(frames, start=1):
        items = groups.get("SegmentIdentificationSequence") or shared
        number = int(items[0].get("ReferencedSegmentNumber", -1)) if items else -1
        if number not in numbers:
            yield Violation("frame-segment", f"frame {index}", "is of no segment")
        used.add(number)
    for number in sorted(numbers - used):
        yield Violation("segment-frames", f"segment {number}", "has no frame")


def _check_place(ds: Dataset, frames: Sequence[_Groups]) -> Iterator[Violation]:
    """Yield functional groups that are no use, or a danger, one without the other.

    A position without an orientation ends some readers' whole process.
    """
    if "FrameOfReferenceUID" in ds and "PositionReferenceIndicator" not in ds:
        yield Violation("type-2", "data set", "PositionReferenceIndicator is absent")
    shared = _groups_of(ds.SharedFunctionalGroupsSequence[0])
    needed = [keyword for keyword in _PLACE if not shared.get(keyword)]
    for index, groups in enumerate(frames, start=1):
        for keyword in needed:
            if not groups.get(keyword):
                yield Violation("place", f"frame {index}", f"no {keyword}")


def _check_contents(ds: Dataset) -> Iterator[Violation]:
    """Yield frames with no pixel, and label map values that no segment has."""
    frames, size = int(ds.NumberOfFrames), int(ds.Rows) * int(ds.Columns)
    data = _native_pixels(ds)
    if data is None:
        yield Violation("pixels", "PixelData", "cannot be decoded")
        return
    if ds.SegmentationType == "LABELMAP":
        dtype = "<u2" if ds.BitsAllocated == 16 else "u1"
        labels = np.frombuffer(data, dtype, count=frames * size).reshape(frames, size)
        filled = labels.any(axis=1)
        known = {int(item.SegmentNumber) for item in ds.SegmentSequence}
        used = set(np.unique(labels).tolist()) - {0}
        if used != known:
            yield Violation("labels", "PixelData", "not the segments that there are")
    elif ds.SegmentationType == "FRACTIONAL":
        shares = np.frombuffer(data, np.uint8, count=frames * size)
        if shares.max() > int(ds.MaximumFractionalValue):
            yield Violation("fractions", "PixelData", "above the maximum")
        filled = shares.reshape(frames, size).any(axis=1)
    elif size % 8 == 0:
        rows = np.frombuffer(data, np.uint8, count=frames * size // 8)
        filled = rows.reshape(frames, size // 8).any(axis=1)
    else:
        bits = np.unpackbits(np.frombuffer(data, np.uint8), bitorder="little")
        filled = bits[: frames * size].reshape(frames, size).any(axis=1)
    for index in np.flatnonzero(~filled).tolist():
        yield Violation("empty-frame", f"frame {index + 1}", "has no pixel")


def _native_pixels(ds: Dataset) -> bytes | None:
    """Return the pixels of all frames as they are without compression.

    RLE is unpacked by a decoder that is no machine code: what a file claims to hold
    cannot end the process.
    """
    if not ds.file_meta.TransferSyntaxUID.is_compressed:
        return bytes(ds.PixelData)
    try:
        decoder = get_decoder(ds.file_meta.TransferSyntaxUID)
        return b"".join(
            bytes(frame)
            for frame, _ in decoder.iter_buffer(ds, decoding_plugin="pydicom")
        )
    except (ValueError, RuntimeError, NotImplementedError, AttributeError, EOFError):
        return None
