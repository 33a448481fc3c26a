"""Read what the headers say about each frame: place, size, kind.

Nothing here decodes pixels. Whatever a header claims is checked before it is
believed; what cannot be believed becomes a reason why an instance is left out.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from pydicom import Dataset
from pydicom.uid import UID

from conformance.rules_common import items_of
from dicom_node.errors import ImagingError, NotAnImageError
from dicom_node.header import read_header
from dicom_node.imaging.dataset import (
    quiet_reading,
    read_dataset,
    unsigned_short,
    value_of,
    values_of,
)
from dicom_node.imaging.geometry import Orientation, is_plane
from dicom_node.imaging.sop_classes import (
    IMAGE_CLASSES,
    LEFT_OUT_CLASSES,
    VIDEO_TRANSFER_SYNTAXES,
)
from dicom_node.records import FrameReference, StoredInstance

__all__ = ["FrameHeader", "ImageHeader", "read_image_header"]

_MAX_FRAMES = 65_536
"""More frames than any image has; each costs a record."""

_MAX_ASPECT = 100
"""More than any pixel is longer than wide; beyond it a picture would be a line."""

_TELLING_APART = (
    "TemporalPositionIdentifier",
    "EchoTime",
    "EchoNumbers",
    "DiffusionBValue",
    "DiffusionGradientOrientation",
    "TriggerTime",
    "InversionTime",
    "FlipAngle",
    "StackID",
    "AcquisitionNumber",
    "ImageType",
    "ConvolutionKernel",
    "AcquisitionTime",
    "ContentTime",
)
"""What may tell frames at the same place apart, the surest first."""

_TAGS = (
    *_TELLING_APART,
    "Modality",
    "SeriesDescription",
    "BodyPartExamined",
    "AnatomicRegionSequence",
    "StudyInstanceUID",
    "InstanceNumber",
    "FrameOfReferenceUID",
    "ImagePositionPatient",
    "ImageOrientationPatient",
    "PixelSpacing",
    "ImagerPixelSpacing",
    "NominalScannedPixelSpacing",
    "PixelAspectRatio",
    "SpacingBetweenSlices",
    "SliceThickness",
    "Rows",
    "Columns",
    "SamplesPerPixel",
    "PhotometricInterpretation",
    "NumberOfFrames",
    "BitsAllocated",
    "SharedFunctionalGroupsSequence",
    "PerFrameFunctionalGroupsSequence",
)

_MACRO_VALUES = (
    ("FrameContentSequence", "TemporalPositionIndex"),
    ("FrameContentSequence", "StackID"),
    ("FrameContentSequence", "FrameAcquisitionNumber"),
    ("MREchoSequence", "EffectiveEchoTime"),
    ("MRDiffusionSequence", "DiffusionBValue"),
    ("CardiacSynchronizationSequence", "NominalCardiacTriggerDelayTime"),
    ("MRImageFrameTypeSequence", "FrameType"),
    ("CTImageFrameTypeSequence", "FrameType"),
)
"""The same for functional groups (PS3.3 C.7.6.16)."""

_MODALITY_OF_CLASS = {
    "CT Image Storage": "CT",
    "MR Image Storage": "MR",
    "Ultrasound Image Storage": "US",
    "Computed Radiography Image Storage": "CR",
}


_NO_ITEM = Dataset()


@dataclass(frozen=True, slots=True)
class FrameHeader:
    """One frame: its reference and, where the header has them, place and size.

    ``telling_apart`` holds values, in the same order for every frame of an
    instance, that may differ between frames at the same place.
    """

    reference: FrameReference
    instance_number: int
    orientation: Orientation | None
    pixel_spacing_mm: tuple[float, float] | None
    slice_distance_mm: float
    telling_apart: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ImageHeader:
    """What the frames of one instance share."""

    study_instance_uid: str
    series_instance_uid: str
    series_description: str
    modality: str
    body_part: str | None
    image_type: tuple[str, ...]
    frame_of_reference_uid: str | None
    rows: int
    columns: int
    is_colour: bool
    pixel_aspect_ratio: tuple[int, int] | None
    frames: tuple[FrameHeader, ...]


def read_image_header(instance: StoredInstance) -> ImageHeader:
    """Read the header of an image.

    Raises
    ------
    NotAnImageError
        The instance is of a kind that nobody expects to be processed as images.
    ImagingError
        It looks like an image and cannot be used; the message says why.

    """
    try:
        with quiet_reading():
            ds = read_dataset(instance.path, specific_tags=_TAGS)
            return _parse(ds, instance)
    except ImagingError:
        raise
    except OSError as error:
        raise ImagingError("the file cannot be read") from error
    except Exception as error:  # hostile bytes raise nearly anything in pydicom
        if instance.sop_class_uid not in IMAGE_CLASSES:
            raise NotAnImageError from error
        msg = f"the header cannot be read ({type(error).__name__})"
        raise ImagingError(msg) from error


def _parse(ds: Dataset, instance: StoredInstance) -> ImageHeader:
    sop_class = UID(instance.sop_class_uid)
    looks_like_image = "Rows" in ds and "Columns" in ds and "BitsAllocated" in ds
    if sop_class in LEFT_OUT_CLASSES:
        raise ImagingError(LEFT_OUT_CLASSES[sop_class])
    if sop_class not in IMAGE_CLASSES and (
        _is_standard(sop_class) or not looks_like_image
    ):
        raise NotAnImageError
    if instance.transfer_syntax_uid in VIDEO_TRANSFER_SYNTAXES:
        raise ImagingError("encapsulated video is not processed")
    if not looks_like_image:
        raise ImagingError("the image has no Rows, Columns or Bits Allocated")
    rows, columns = unsigned_short(ds, "Rows"), unsigned_short(ds, "Columns")
    study_uid = _text(ds, "StudyInstanceUID")
    series_uid = instance.series_instance_uid
    if not (study_uid and series_uid):
        header = read_header(instance.path)
        study_uid, series_uid = header.study_instance_uid, header.series_instance_uid
    return ImageHeader(
        study_instance_uid=study_uid,
        series_instance_uid=series_uid,
        series_description=_text(ds, "SeriesDescription"),
        modality=_text(ds, "Modality") or _MODALITY_OF_CLASS.get(sop_class.name, "OT"),
        body_part=_body_part(ds),
        image_type=tuple(str(part) for part in values_of(ds, "ImageType")),
        frame_of_reference_uid=_text(ds, "FrameOfReferenceUID") or None,
        rows=rows,
        columns=columns,
        is_colour=_is_colour(ds),
        pixel_aspect_ratio=_pixel_aspect_ratio(ds),
        frames=tuple(_frames(ds, instance)),
    )


def _is_standard(sop_class: UID) -> bool:
    return sop_class.startswith("1.2.840.10008.") and sop_class.name != sop_class


def _body_part(ds: Dataset) -> str | None:
    if body_part := _text(ds, "BodyPartExamined"):
        return body_part
    regions = [
        *items_of(ds, "AnatomicRegionSequence"),
        *(
            region
            for group in items_of(ds, "SharedFunctionalGroupsSequence")
            for anatomy in items_of(group, "FrameAnatomySequence")
            for region in items_of(anatomy, "AnatomicRegionSequence")
        ),
    ]
    return next((_text(one, "CodeMeaning") for one in regions), "").upper() or None


def _is_colour(ds: Dataset) -> bool:
    photometric = _text(ds, "PhotometricInterpretation").upper()
    return photometric == "PALETTE COLOR" or ds.get("SamplesPerPixel", 1) != 1


def _frames(ds: Dataset, instance: StoredInstance) -> Iterator[FrameHeader]:
    count = _integer(value_of(ds, "NumberOfFrames")) or 1
    shared = _first_item(ds, "SharedFunctionalGroupsSequence")
    per_frame = items_of(ds, "PerFrameFunctionalGroupsSequence")
    if not 1 <= count <= _MAX_FRAMES:
        msg = f"Number of Frames is not a number from 1 to {_MAX_FRAMES}"
        raise ImagingError(msg)
    if per_frame and len(per_frame) != count:
        raise ImagingError("functional groups do not match Number of Frames")
    number = _integer(value_of(ds, "InstanceNumber")) or 0
    plain = () if per_frame else tuple(_joined(ds, key) for key in _TELLING_APART)
    has_one_place = count == 1 or bool(per_frame)
    for index in range(count):
        group = per_frame[index] if per_frame else _NO_ITEM
        groups = (group, shared) if per_frame else ()
        position = _floats(
            _find(groups, "PlanePositionSequence", "ImagePositionPatient", ds), 3
        )
        orientation = _floats(
            _find(groups, "PlaneOrientationSequence", "ImageOrientationPatient", ds), 6
        )
        # One position for many frames (a cine loop) is no place for each of them.
        if not has_one_place or position is None:
            position, orientation = None, None
        if orientation is not None and not is_plane(_six(orientation)):
            position, orientation = None, None
        yield FrameHeader(
            reference=FrameReference(
                sop_instance_uid=instance.sop_instance_uid,
                sop_class_uid=instance.sop_class_uid,
                frame_number=index + 1,
                path=instance.path,
                position_lps=_three(position) if position else None,
                number_of_frames=count,
            ),
            instance_number=number,
            orientation=_six(orientation) if orientation else None,
            pixel_spacing_mm=_pixel_spacing(ds, groups),
            slice_distance_mm=_slice_distance(ds, groups),
            telling_apart=_telling_apart(group) if per_frame else plain,
        )


def _telling_apart(group: Dataset) -> tuple[str, ...]:
    content = _first_item(group, "FrameContentSequence")
    named = (
        _joined(_first_item(group, macro), keyword) for macro, keyword in _MACRO_VALUES
    )
    # Whatever else varies has a dimension of its own (PS3.3 C.7.6.17).
    return (
        *named,
        *(str(value) for value in values_of(content, "DimensionIndexValues")),
    )


def _pixel_spacing(
    ds: Dataset, groups: tuple[Dataset, ...]
) -> tuple[float, float] | None:
    candidates = (
        _find(groups, "PixelMeasuresSequence", "PixelSpacing", ds),
        value_of(ds, "ImagerPixelSpacing"),
        value_of(ds, "NominalScannedPixelSpacing"),
    )
    for candidate in candidates:
        spacing = _floats(candidate, 2)
        if spacing is not None and min(spacing) > 0:
            return spacing[0], spacing[1]
    return None


def _pixel_aspect_ratio(ds: Dataset) -> tuple[int, int] | None:
    """Read the vertical and the horizontal size of a pixel, PS3.3 C.7.6.3.1.7."""
    ratio = _floats(value_of(ds, "PixelAspectRatio"), 2)
    if ratio is None or min(ratio) < 1 or max(ratio) > _MAX_ASPECT * min(ratio):
        return None
    return int(ratio[0]), int(ratio[1])


def _slice_distance(ds: Dataset, groups: tuple[Dataset, ...]) -> float:
    for keyword in ("SliceThickness", "SpacingBetweenSlices"):
        value = _floats(_find(groups, "PixelMeasuresSequence", keyword, ds), 1)
        if value is not None and value[0] > 0:
            return value[0]
    return 1.0


def _find(groups: tuple[Dataset, ...], macro: str, keyword: str, ds: Dataset) -> Any:
    for group in groups:
        for item in items_of(group, macro):
            if keyword in item:
                return item[keyword].value
    return value_of(ds, keyword)


def _first_item(ds: Dataset, keyword: str) -> Dataset:
    return next(iter(items_of(ds, keyword)), _NO_ITEM)


def _text(ds: Dataset, keyword: str) -> str:
    value = value_of(ds, keyword)
    return "" if value is None else str(value).strip(" \0")


def _joined(ds: Dataset, keyword: str) -> str:
    return "\\".join(str(value) for value in values_of(ds, keyword))


def _integer(value: Any) -> int | None:
    try:
        return int(value)
    except (TypeError, ValueError):
        return None


def _floats(value: Any, count: int) -> tuple[float, ...] | None:
    try:
        values = value if hasattr(value, "__iter__") else [value]
        numbers = tuple(float(one) for one in values)
    except (TypeError, ValueError):
        return None
    if len(numbers) != count or not all(map(math.isfinite, numbers)):
        return None
    return numbers


def _three(values: tuple[float, ...]) -> tuple[float, float, float]:
    return values[0], values[1], values[2]


def _six(values: tuple[float, ...]) -> Orientation:
    return values[0], values[1], values[2], values[3], values[4], values[5]
