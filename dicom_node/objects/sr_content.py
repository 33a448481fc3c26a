"""The content tree of the report: one measurement group for each link of a region.

A region has two groups under one tracking UID (TID 1500): one refers to its segment
(TID 1411), one carries a box in the coordinates of the image (TID 1410, or 1501 for
OHIF), because no viewer follows both.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
from highdicom import sr
from highdicom.sr import RelationshipTypeValues as Relationship
from pydicom.sr.codedict import codes

from dicom_node.objects.common import (
    Making,
    clean_text,
    coded,
    laterality_code,
)
from dicom_node.objects.profiles import ImageLink
from dicom_node.objects.sr_numbers import extent_of, numbers_of
from dicom_node.objects.sr_review import review_items
from dicom_node.objects.sr_sources import source_items
from dicom_node.records import BoundingBox, PhraseStatus
from dicom_node.reports.codes import PRIVATE_SCHEME

if TYPE_CHECKING:
    from dicom_node.records import (
        ImageSeries,
        ObjectReference,
        Phrase,
        PhraseResult,
        Region,
        Report,
    )

__all__ = ["MAX_BOXES", "key_boxes", "phrase_evaluations", "region_groups"]

MAX_BOXES = 4
"""Boxes written for one region: those on its key frame, the most certain first.
The segment holds the whole shape; boxes are for viewers that draw no segments."""

_LOCALIZATION = sr.CodedConcept(
    "localization", PRIVATE_SCHEME, "Localization in the images"
)
_LOCALIZED = sr.CodedConcept("localized", PRIVATE_SCHEME, "Localized")
_NOT_LOCALIZED = sr.CodedConcept("not-localized", PRIVATE_SCHEME, "Not localized")
_NOT_ASKED = sr.CodedConcept(
    "not-asked", PRIVATE_SCHEME, "Not asked of the model, nothing is drawn"
)
_NOT_PROCESSED = sr.CodedConcept(
    "not-processed", PRIVATE_SCHEME, "Series not processed"
)

_PRESENCE: Mapping[PhraseStatus, sr.CodedConcept] = {
    PhraseStatus.PRESENT: sr.CodedConcept("52101004", "SCT", "Present"),
    PhraseStatus.ABSENT: sr.CodedConcept("272519000", "SCT", "Absent"),
    PhraseStatus.UNCERTAIN: sr.CodedConcept("64957009", "SCT", "Uncertain"),
}
"""What a report states: CID 240, with the qualifier for what it hedges. Of a phrase
that no report states, only the localization is told: an organ that the images or the
model do not show is not absent from the patient."""

_Group = (
    sr.PlanarROIMeasurementsAndQualitativeEvaluations
    | sr.VolumetricROIMeasurementsAndQualitativeEvaluations
    | sr.MeasurementsAndQualitativeEvaluations
)


def region_groups(
    making: Making,
    phrase: Phrase,
    series: ImageSeries,
    region: Region,
    segment: tuple[ObjectReference, int] | None,
) -> list[_Group]:
    """Return the groups of a region: its boxes, then its segment if it has one.

    Boxes come first: OHIF merges groups of one tracking UID and takes the first
    coordinates it meets.
    """
    groups: list[_Group] = []
    link = making.profile.image_link
    for box in () if link is ImageLink.NONE else key_boxes(region):
        if link is ImageLink.MEASURED_COORDINATES:
            groups.append(_measured_group(making, phrase, series, region, box))
        else:
            groups.append(_planar_group(making, phrase, series, region, box))
    if segment is not None:
        groups.append(_segment_group(making, phrase, series, region, segment))
    for group in groups:
        group[0].ContentSequence.append(
            sr.TextContentItem(
                codes.DCM.Comment, clean_text(phrase.text), Relationship.CONTAINS
            )
        )
        for item in review_items(making, region):
            group[0].ContentSequence.append(item)
    return groups


def key_boxes(region: Region) -> tuple[BoundingBox, ...]:
    """Return the boxes on the frame where the region is largest, at most `MAX_BOXES`.

    A region without a box on that frame gets the box around its mask.
    """
    key = int(np.argmax([np.count_nonzero(frame) for frame in region.mask]))
    frame_index = region.mask_origin[0] + key
    boxes = [box for box in region.boxes if box.frame_index == frame_index]
    if not boxes:
        rows, columns = np.nonzero(region.mask[key])
        _, row, column = region.mask_origin
        x0, y0 = column + int(columns.min()), row + int(rows.min())
        x1, y1 = column + int(columns.max()) + 1, row + int(rows.max()) + 1
        boxes = [BoundingBox(frame_index, (x0, y0, x1, y1), region.score)]
    boxes.sort(key=lambda box: -box.score)
    return tuple(boxes[:MAX_BOXES])


def phrase_evaluations(making: Making) -> Iterator[sr.ContentItem]:
    """Yield what is said of every phrase and of every series left out (TID 1500).

    Parameters
    ----------
    making : Making
        The result.

    """
    result = making.result
    reports = {one.source: one for one in result.reports}
    for one in result.phrases:
        yield _evaluation(one, reports.get(one.phrase.source))
    if not any(one.regions for one in result.phrases):
        count = len(result.phrases)
        text = (
            f"No region is drawn: {count} phrases were looked at."
            if count
            else "No region is drawn: there was no phrase to look for."
        )
        yield sr.TextContentItem(codes.DCM.Comment, text, Relationship.CONTAINS)
    for left_out in making.not_processed:
        item = sr.TextContentItem(
            _NOT_PROCESSED,
            clean_text(left_out.reason) or "no reason is known",
            Relationship.CONTAINS,
        )
        if left_out.series_instance_uid:
            item.ContentSequence = sr.ContentSequence(
                [
                    sr.UIDRefContentItem(
                        codes.DCM.SeriesInstanceUID,
                        left_out.series_instance_uid,
                        Relationship.HAS_PROPERTIES,
                    )
                ]
            )
        yield item


def _evaluation(one: PhraseResult, report: Report | None) -> sr.ContentItem:
    phrase = one.phrase
    if one.regions:
        localization = _LOCALIZED
    else:
        localization = _NOT_ASKED if one.score is None else _NOT_LOCALIZED
    item = sr.CodeContentItem(
        coded(phrase.finding.finding),
        _PRESENCE[one.status] if phrase.is_stated else localization,
        Relationship.CONTAINS,
    )
    children: list[sr.ContentItem] = []
    if phrase.laterality is not None:
        children.append(
            sr.CodeContentItem(
                codes.SCT.Laterality,
                laterality_code(phrase.laterality),
                Relationship.HAS_CONCEPT_MOD,
            )
        )
    children.append(
        sr.TextContentItem(
            codes.DCM.Comment, clean_text(phrase.text), Relationship.HAS_PROPERTIES
        )
    )
    if phrase.finding.site is not None:
        children.append(
            sr.CodeContentItem(
                codes.SCT.FindingSite,
                coded(phrase.finding.site),
                Relationship.HAS_PROPERTIES,
            )
        )
    if phrase.is_stated:
        children.append(
            sr.CodeContentItem(_LOCALIZATION, localization, Relationship.HAS_PROPERTIES)
        )
    children.extend(
        _number(concept, value, unit, Relationship.HAS_PROPERTIES)
        for concept, value, unit in numbers_of(
            phrase.finding, one.score, one.uncertainty
        )
    )
    if report is not None:
        children.extend(source_items(report))
    item.ContentSequence = sr.ContentSequence(children)
    return item


def _planar_group(
    making: Making,
    phrase: Phrase,
    series: ImageSeries,
    region: Region,
    box: BoundingBox,
) -> _Group:
    return sr.PlanarROIMeasurementsAndQualitativeEvaluations(
        tracking_identifier=_tracking(making, region),
        referenced_region=_image_region(series, box),
        finding_type=coded(phrase.finding.finding),
        finding_sites=_finding_sites(phrase),
        algorithm_id=_algorithm(making, region),
    )


def _measured_group(
    making: Making,
    phrase: Phrase,
    series: ImageSeries,
    region: Region,
    box: BoundingBox,
) -> _Group:
    def coordinates() -> sr.CoordinatesForMeasurement:
        # One child for each number and nothing else: OHIF takes the first.
        return sr.CoordinatesForMeasurement(
            graphic_type=sr.GraphicTypeValues.POLYLINE,
            graphic_data=_closed_polyline(box, series),
            source_image=_source_image(series, box.frame_index),
        )

    return sr.MeasurementsAndQualitativeEvaluations(
        tracking_identifier=_tracking(making, region),
        finding_type=coded(phrase.finding.finding),
        finding_sites=_finding_sites(phrase),
        algorithm_id=_algorithm(making, region),
        measurements=[
            sr.Measurement(
                name=concept,
                value=value,
                unit=unit,
                referenced_coordinates=[coordinates()],
            )
            for concept, value, unit in (
                extent_of(series, box)
                if _is_redrawn(making, region)
                else numbers_of(phrase.finding, region.score, region.uncertainty)
            )
        ],
    )


def _segment_group(
    making: Making,
    phrase: Phrase,
    series: ImageSeries,
    region: Region,
    segment: tuple[ObjectReference, int],
) -> _Group:
    reference, number = segment
    measurements = None
    is_measured = making.profile.image_link is ImageLink.MEASURED_COORDINATES
    if not (is_measured or _is_redrawn(making, region)):
        measurements = [
            sr.Measurement(name=concept, value=value, unit=unit)
            for concept, value, unit in numbers_of(
                phrase.finding, region.score, region.uncertainty
            )
        ]
    return sr.VolumetricROIMeasurementsAndQualitativeEvaluations(
        tracking_identifier=_tracking(making, region),
        referenced_segment=sr.ReferencedSegment(
            sop_class_uid=reference.sop_class_uid,
            sop_instance_uid=reference.sop_instance_uid,
            segment_number=number,
            source_series=sr.SourceSeriesForSegmentation(series.series_instance_uid),
        ),
        finding_type=coded(phrase.finding.finding),
        finding_sites=_finding_sites(phrase),
        algorithm_id=_algorithm(making, region),
        measurements=measurements,
    )


def _tracking(making: Making, region: Region) -> sr.TrackingIdentifier:
    return sr.TrackingIdentifier(
        uid=region.tracking_uid, identifier=making.tracking_id(region)
    )


def _is_redrawn(making: Making, region: Region) -> bool:
    return making.review is not None and making.review.is_redrawn(region.tracking_uid)


def _algorithm(making: Making, region: Region) -> sr.AlgorithmIdentification | None:
    # TID 4019; the values agree with those of Contributing Equipment.
    if _is_redrawn(making, region):
        return None
    return sr.AlgorithmIdentification(
        name=making.algorithm_name,
        version=making.algorithm_version,
        parameters=[f"model_sha256={making.result.model_sha256}"],
    )


def _finding_sites(phrase: Phrase) -> list[sr.FindingSite] | None:
    if phrase.finding.site is None:
        return None
    side = None if phrase.laterality is None else laterality_code(phrase.laterality)
    return [sr.FindingSite(coded(phrase.finding.site), laterality=side)]


def _number(
    concept: sr.CodedConcept,
    value: float,
    unit: sr.CodedConcept,
    relationship: Relationship,
) -> sr.ContentItem:
    return sr.NumContentItem(concept, value, unit, relationship_type=relationship)


def _closed_polyline(box: BoundingBox, series: ImageSeries) -> npt.NDArray[np.float64]:
    """Return the corners of a box as (column, row), the first one again at the end.

    PS3.3 C.18.6.1.2: the corner of the first pixel is (0, 0), as in `BoundingBox`.
    """
    limits = np.array([series.columns, series.rows] * 2, np.float64)
    x0, y0, x1, y1 = np.clip(np.asarray(box.xyxy, np.float64), 0, limits)
    return np.array([[x0, y0], [x1, y0], [x1, y1], [x0, y1], [x0, y0]])


def _image_region(series: ImageSeries, box: BoundingBox) -> sr.ImageRegion:
    # The builder of a region looks its source up among the current SOP classes and
    # raises KeyError for one that is retired or private.
    item = sr.ScoordContentItem(
        codes.DCM.ImageRegion,
        sr.GraphicTypeValues.POLYLINE,
        _closed_polyline(box, series),
        relationship_type=Relationship.CONTAINS,
    )
    item.ContentSequence = sr.ContentSequence([_source_image(series, box.frame_index)])
    return sr.ImageRegion.from_dataset(item, copy=False)


def _source_image(series: ImageSeries, frame_index: int) -> sr.SourceImageForRegion:
    frame = series.frames[frame_index]
    number = frame.referenced_frame_number
    return sr.SourceImageForRegion(
        frame.sop_class_uid,
        frame.sop_instance_uid,
        referenced_frame_numbers=None if number is None else [number],
    )
