"""Segmentations: the regions of one series, one segment for each (PS3.3 A.51)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING

import highdicom as hd
import numpy as np
from highdicom.seg import SegmentAlgorithmTypeValues as AlgorithmType
from pydicom import Dataset
from pydicom.encaps import encapsulate, encapsulate_extended
from pydicom.pixels.encoders.base import get_encoder
from pydicom.pixels.utils import as_pixel_options
from pydicom.sr.codedict import codes
from pydicom.uid import (
    CTImageStorage,
    ExplicitVRLittleEndian,
    RLELossless,
)

from conformance.rules_seg import SEGMENTATION_CLASSES
from dicom_node import __version__
from dicom_node.identity import MANUFACTURER, MODEL_NAME
from dicom_node.objects.arrange import Group, Part, arrange
from dicom_node.objects.common import (
    Making,
    add_coding_schemes,
    clean_text,
    coded,
    display_colour,
    laterality_code,
    long_string,
)
from dicom_node.objects.files import Frames
from dicom_node.objects.frame_items import FrameItems
from dicom_node.objects.planes import (
    Grid,
    Plane,
    filled_frames,
    make_grid,
    pack_bits,
    pack_fractions,
    pack_labels,
    planes_of,
    shared_groups,
)
from dicom_node.objects.profiles import SegmentationEncoding
from dicom_node.objects.references import related_series
from dicom_node.objects.sources import SourceHeaders
from dicom_node.objects.sr_review import person_name
from dicom_node.objects.study_module import copy_study_modules

if TYPE_CHECKING:
    from dicom_node.records import ImageSeries

__all__ = ["MAXIMUM_FRACTION", "Segmentation", "make_segmentations"]

MAXIMUM_FRACTION = 255
"""Maximum Fractional Value (0062,000E): what a certain pixel holds."""

_ANATOMICAL_STRUCTURE = "91723000"
"""Segmented Property Category (CID 7150) of organs: their side modifies the type."""


@dataclass(frozen=True, eq=False)
class Segmentation:
    """A SEG in memory, and which segment each region became."""

    dataset: Dataset
    """All of it but its `frames`."""
    frames: Frames
    segments: dict[str, int]
    """Tracking UID of a region to its segment number."""


def make_segmentations(
    making: Making, headers: SourceHeaders | None = None
) -> Iterator[Segmentation]:
    """Make the SEGs of a result, series by series; none where nothing was found.

    A series gets one SEG, unless its regions cannot share one (`arrange`). Each SEG
    is a series of its own: of a series with several, OHIF 3.13 loads one.

    Parameters
    ----------
    making : Making
        The result.
    headers : SourceHeaders, optional
        Headers that may have been read; they are read as they are needed.

    Raises
    ------
    ObjectError
        A mask does not fit its series, or a source instance cannot be read.

    """
    headers = headers or SourceHeaders()
    parts: dict[tuple[str, int], list[Part]] = {}
    placed: dict[tuple[str, int], ImageSeries] = {}
    for index, series, region in making.placed_regions():
        if region.tracking_uid in making.without_segment:
            continue
        key = (series.series_instance_uid, series.stack_number)
        placed[key] = series
        part = Part(
            index,
            making.result.phrases[index].phrase,
            region,
            filled_frames(region, series),
        )
        parts.setdefault(key, []).append(part)
    series_number = making.first_series_number
    for key, series in placed.items():
        grid = make_grid(series, headers)
        for number, group in enumerate(
            arrange(parts[key], grid, making.profile), start=1
        ):
            series_number += 1
            yield _make_segmentation(
                making, grid, group, series_number=series_number, part_number=number
            )


def _make_segmentation(
    making: Making,
    grid: Grid,
    group: Group,
    *,
    series_number: int,
    part_number: int,
) -> Segmentation:
    series, review = grid.series, making.review
    encoding, parts = group.encoding, group.parts
    what = "regions" if review is None else "redrawn regions"
    name = (
        series.series_instance_uid,
        str(series.stack_number),
        str(part_number),
    )
    descriptions = [
        _segment_description(making, part, number)
        for number, part in enumerate(parts, start=1)
    ]
    ds: Dataset = hd.seg.Segmentation(
        source_images=[_template(making, series)],
        pixel_array=np.zeros((1, 1, 8, len(parts)), np.uint8),
        segmentation_type=encoding.value,
        segment_descriptions=descriptions,
        fractional_type=hd.seg.SegmentationFractionalTypeValues.PROBABILITY,
        max_fractional_value=MAXIMUM_FRACTION,
        series_instance_uid=making.uid("seg-series", *name),
        series_number=series_number,
        sop_instance_uid=making.uid("seg", *name),
        instance_number=1,
        manufacturer=MANUFACTURER,
        manufacturer_model_name=MODEL_NAME,
        software_versions=__version__,
        device_serial_number=making.result.model_sha256[:16] or "unknown",
        content_label="REPORT_PHRASES",
        content_description="Regions of report phrases"
        if review is None
        else "Regions of report phrases, redrawn by a person",
        transfer_syntax_uid=ExplicitVRLittleEndian,
        omit_empty_frames=False,
        series_description=making.series_description(
            what if part_number == 1 else f"{what}, part {part_number}"
        ),
    )
    if review is not None and len(review.people) == 1:
        ds.ContentCreatorName = person_name(review.people[0])
    planes = [
        plane
        for number, part in enumerate(parts, start=1)
        for plane in planes_of(part.region, part.frames, segment_number=number)
    ]
    # highdicom makes every module but this one: its frames are objects in memory, one
    # data set for each small sequence, and its pixels one array over all segments.
    del ds.PerFrameFunctionalGroupsSequence, ds.PixelData
    ds.Rows, ds.Columns = series.rows, series.columns
    ds.SharedFunctionalGroupsSequence = [shared_groups(grid)]
    if encoding is SegmentationEncoding.LABELMAP:
        frames = _fill_label_map(ds, planes, grid)
    else:
        frames = _fill_segments(ds, planes, grid)
        ds.SegmentsOverlap = "YES" if group.has_overlap else "NO"
    if making.profile.is_compressed and ds.BitsAllocated > 1:
        frames = _compress(ds, frames)
    _set_dimensions(ds, making.uid("seg-dimensions", *name))
    _refer_to_source(ds, making, grid)
    making.stamp(ds)
    texts = [str(item.SegmentLabel) for item in descriptions]
    texts += [str(item.get("SegmentDescription", "")) for item in descriptions]
    texts += [part.phrase.finding.type.meaning for part in parts]
    copy_study_modules(making.source, ds, texts)
    ds.StudyInstanceUID = making.result.study_instance_uid
    add_coding_schemes(ds)
    return Segmentation(
        ds,
        frames,
        {part.region.tracking_uid: n for n, part in enumerate(parts, start=1)},
    )


def _template(making: Making, series: ImageSeries) -> Dataset:
    """Return a source image with nothing unusual in it.

    The builder takes modules from it; what is particular to the source is put in
    afterwards, so that no weird header stops the builder.
    """
    ds = Dataset()
    ds.SOPClassUID = CTImageStorage
    ds.SOPInstanceUID = series.frames[0].sop_instance_uid
    ds.StudyInstanceUID = making.result.study_instance_uid
    ds.SeriesInstanceUID = series.series_instance_uid
    ds.FrameOfReferenceUID = series.frame_of_reference_uid or making.uid("template")
    ds.PositionReferenceIndicator = ""
    for keyword in ("PatientID", "PatientName", "PatientBirthDate", "PatientSex"):
        setattr(ds, keyword, "")
    for keyword in ("AccessionNumber", "StudyID", "ReferringPhysicianName"):
        setattr(ds, keyword, "")
    ds.StudyDate = ds.StudyTime = None
    ds.Modality = long_string(series.modality, 16) or "OT"
    ds.Rows, ds.Columns = 1, 8
    ds.PixelSpacing = ["1", "1"]
    ds.SliceThickness = "1"
    ds.ImageOrientationPatient = ["1", "0", "0", "0", "1", "0"]
    ds.ImagePositionPatient = ["0", "0", "0"]
    return ds


def _segment_description(
    making: Making, part: Part, number: int
) -> hd.seg.SegmentDescription:
    phrase, finding = part.phrase, part.phrase.finding
    item = hd.seg.SegmentDescription(
        segment_number=number,
        segment_label=long_string(phrase.text) or f"Phrase {part.index + 1}",
        segmented_property_category=coded(finding.category),
        segmented_property_type=coded(finding.type),
        # Who redraws begins with what the machine drew: user assistance (C.8.20.2.2).
        algorithm_type=AlgorithmType.AUTOMATIC
        if making.review is None
        else AlgorithmType.SEMIAUTOMATIC,
        algorithm_identification=hd.AlgorithmIdentificationSequence(
            name=making.algorithm_name,
            family=codes.cid7162.ArtificialIntelligence,
            version=making.algorithm_version,
            source=MANUFACTURER,
            parameters={
                "model_sha256": making.result.model_sha256,
                "configuration_sha256": making.result.configuration_sha256,
            },
        ),
        tracking_uid=part.region.tracking_uid,
        tracking_id=making.tracking_id(part.region),
        anatomic_regions=None if finding.site is None else [coded(finding.site)],
        display_color=display_colour(part.index),
    )
    item.SegmentDescription = clean_text(phrase.text)[:1024]
    if phrase.laterality is not None:
        side = laterality_code(phrase.laterality)
        if finding.site is None or finding.category.value == _ANATOMICAL_STRUCTURE:
            type_item = item.SegmentedPropertyTypeCodeSequence[0]
            type_item.SegmentedPropertyTypeModifierCodeSequence = [side]
        else:
            region_item = item.AnatomicRegionSequence[0]
            region_item.AnatomicRegionModifierSequence = [side]
    return item


def _fill_segments(ds: Dataset, planes: Sequence[Plane], grid: Grid) -> Frames:
    frames = sorted({plane.frame_index for plane in planes})
    ranks = {index: rank for rank, index in enumerate(frames, start=1)}
    items = FrameItems(grid)
    ds.NumberOfFrames = len(planes)
    pack = pack_bits if ds.BitsAllocated == 1 else pack_fractions
    return Frames(
        [
            items.encode(
                plane.frame_index,
                position_index=ranks[plane.frame_index],
                segment_number=plane.segment_number,
            )
            for plane in planes
        ],
        pack(planes, ds.Rows, ds.Columns),
    )


def _fill_label_map(ds: Dataset, planes: Sequence[Plane], grid: Grid) -> Frames:
    # OHIF takes the first item for segment 1, so a Background item shifts every
    # colour by one; the standard does not ask for one.
    ds.SegmentSequence = [item for item in ds.SegmentSequence if item.SegmentNumber]
    wide = len(ds.SegmentSequence) > 255
    ds.BitsAllocated = ds.BitsStored = 16 if wide else 8
    ds.HighBit = ds.BitsStored - 1
    frames, pixels = pack_labels(
        planes, ds.Rows, ds.Columns, np.uint16 if wide else np.uint8
    )
    items = FrameItems(grid)
    ds.NumberOfFrames = len(frames)
    return Frames(
        [
            items.encode(index, position_index=rank, segment_number=None)
            for rank, index in enumerate(frames, start=1)
        ],
        pixels,
    )


def _compress(ds: Dataset, frames: Frames) -> Frames:
    """Put the frames into the data set by RLE Lossless, each one fragment in its table.

    They are encoded one by one as they are drawn, so that memory never holds all of
    them plain. A table that four bytes cannot hold becomes the extended one (PS3.5
    A.4).
    """
    if frames.pixels is None:
        return frames
    encoder = get_encoder(RLELossless)
    options = as_pixel_options(ds, number_of_frames=1)
    drawn = islice(frames.pixels.pieces, int(ds.NumberOfFrames))  # padding comes after
    encoded = [
        encoder.encode(piece, encoding_plugin="pylibjpeg", **options) for piece in drawn
    ]
    last_offset = sum(len(one) + 8 for one in encoded[:-1])
    if last_offset < 1 << 32:
        ds.PixelData = encapsulate(encoded)
    else:
        data, ds.ExtendedOffsetTable, lengths = encapsulate_extended(encoded)
        ds.PixelData, ds.ExtendedOffsetTableLengths = data, lengths
    ds["PixelData"].VR = "OB"
    ds["PixelData"].is_undefined_length = True  # PS3.5 A.4
    ds.file_meta.TransferSyntaxUID = RLELossless
    return Frames(frames.groups, None)


def _set_dimensions(ds: Dataset, uid: str) -> None:
    """Replace the builder's random UID, and drop a claim that our frames may break."""
    for item in ds.DimensionOrganizationSequence:
        item.DimensionOrganizationUID = uid
    for item in ds.DimensionIndexSequence:
        item.DimensionOrganizationUID = uid
    if "DimensionOrganizationType" in ds:
        del ds.DimensionOrganizationType


def _refer_to_source(ds: Dataset, making: Making, grid: Grid) -> None:
    series = grid.series
    references = []
    for frame in {one.sop_instance_uid: one for one in series.frames}.values():
        item = Dataset()
        item.ReferencedSOPClassUID = frame.sop_class_uid
        item.ReferencedSOPInstanceUID = frame.sop_instance_uid
        references.append(item)
    referenced = Dataset()
    referenced.SeriesInstanceUID = series.series_instance_uid
    referenced.ReferencedInstanceSequence = references
    ds.ReferencedSeriesSequence = [referenced]
    for keyword in ("SourceImageSequence", "ReferencedImageSequence"):
        if keyword in ds:
            del ds[keyword]
    if series.frame_of_reference_uid is None:
        del ds.FrameOfReferenceUID
        del ds.PositionReferenceIndicator
    if not grid.is_placed:
        ds.PatientOrientation = ""
    grid.copy_lossy_compression(ds)
    if predecessors := related_series(making, SEGMENTATION_CLASSES):
        ds.RelatedSeriesSequence = predecessors
