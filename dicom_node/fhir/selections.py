"""ImagingSelections (FHIR R5): the segments and the boxes of a phrase."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from dicom_node.fhir.parts import Ids, concept, reference, sop_class
from dicom_node.records import (
    BoundingBox,
    Code,
    ImageSeries,
    PhraseResult,
    Region,
    ResultObject,
    StudyResult,
)

__all__ = ["select"]

Resource = dict[str, Any]

_SEGMENT = Code("DCM", "121191", "Referenced Segment")
_IMAGE_REGION = Code("DCM", "111030", "Image Region")


def select(
    index: int,
    *,
    result: StudyResult,
    objects: Sequence[ResultObject],
    ids: Ids,
    shared: Mapping[str, Any],
) -> list[Resource]:
    """Return the selections of a phrase, those of segments first.

    Parameters
    ----------
    index : int
        Of the phrase in the result.
    result : StudyResult
        What was found.
    objects : sequence of ResultObject
        Of one profile.
    ids : Ids
        Names them.
    shared : mapping
        Elements that every selection has: subject, performer, derivedFrom.

    Returns
    -------
    list of dict
        One for each SEG that has segments of the phrase, whose ``subset`` lists their
        numbers, and one for each source series, with a rectangle on each frame. A
        selection of segments has those of images as ``focus``.

    """
    phrase = result.phrases[index]
    images = [
        _images(grid, regions, result=result, index=index, ids=ids)
        for grid, regions in _by_series(phrase, result.series)
    ]
    segments = [
        _segments(one, numbers, index=index, ids=ids)
        for one in objects
        for numbers in [_numbers(one, phrase)]
        if numbers
    ]
    for one in segments:
        if images:
            one["focus"] = [reference(image) for image in images]
    text = phrase.phrase.text
    site = phrase.phrase.finding.site
    for one in (*segments, *images):
        one.update(shared)
        one["studyUid"] = result.study_instance_uid
        one["code"]["text"] = text
        if site is not None:
            one["bodySite"] = {"concept": concept(site)}
    return [*segments, *images]


def _numbers(one: ResultObject, phrase: PhraseResult) -> list[int]:
    return sorted(
        one.segments[region.tracking_uid]
        for region in phrase.regions
        if region.tracking_uid in one.segments
    )


def _segments(
    one: ResultObject, numbers: Sequence[int], *, index: int, ids: Ids
) -> Resource:
    where = one.reference
    return {
        "resourceType": "ImagingSelection",
        "id": ids.of_result("segments", str(index), where.sop_instance_uid),
        "status": "available",
        "code": concept(_SEGMENT),
        "seriesUid": where.series_instance_uid,
        "instance": [
            {
                "uid": where.sop_instance_uid,
                "sopClass": sop_class(where.sop_class_uid),
                "subset": [str(number) for number in numbers],
            }
        ],
    }


def _by_series(
    phrase: PhraseResult, series: Sequence[ImageSeries]
) -> Iterator[tuple[ImageSeries, list[Region]]]:
    for grid in series:
        regions = [
            one
            for one in phrase.regions
            if (one.series_instance_uid, one.stack_number)
            == (grid.series_instance_uid, grid.stack_number)
        ]
        if any(one.boxes for one in regions):
            yield grid, regions


def _images(
    grid: ImageSeries,
    regions: Sequence[Region],
    *,
    result: StudyResult,
    index: int,
    ids: Ids,
) -> Resource:
    by_frame: dict[int, list[BoundingBox]] = {}
    for region in regions:
        for box in region.boxes:
            by_frame.setdefault(box.frame_index, []).append(box)
    selection: Resource = {
        "resourceType": "ImagingSelection",
        "id": ids.of_result(
            "images", str(index), grid.series_instance_uid, str(grid.stack_number)
        ),
        "status": "available",
        "code": concept(_IMAGE_REGION),
        "seriesUid": grid.series_instance_uid,
        "instance": [
            _instance(grid, frame_index, boxes)
            for frame_index, boxes in sorted(by_frame.items())
        ],
    }
    if grid.frame_of_reference_uid is not None:
        selection["frameOfReferenceUid"] = grid.frame_of_reference_uid
    return selection


def _instance(
    grid: ImageSeries, frame_index: int, boxes: Sequence[BoundingBox]
) -> Resource:
    frame = grid.frames[frame_index]
    instance: Resource = {
        "uid": frame.sop_instance_uid,
        "sopClass": sop_class(frame.sop_class_uid),
        "imageRegion2D": [
            {"regionType": "polyline", "coordinate": _rectangle(box, grid)}
            for box in boxes
        ],
    }
    if frame.referenced_frame_number is not None:
        instance["subset"] = [str(frame.referenced_frame_number)]
    return instance


def _rectangle(box: BoundingBox, grid: ImageSeries) -> list[float]:
    """Return the corners of a box as (column, row) pairs, the first one again.

    FHIR R5 ImagingSelection: 0.0, 0.0 is the outer corner of the first pixel and the
    values end at columns and rows, which is how our boxes count.
    """
    x0, x1 = (round(min(max(box.xyxy[n], 0.0), grid.columns), 3) for n in (0, 2))
    y0, y1 = (round(min(max(box.xyxy[n], 0.0), grid.rows), 3) for n in (1, 3))
    return [float(one) for one in (x0, y0, x1, y0, x1, y1, x0, y1, x0, y0)]
