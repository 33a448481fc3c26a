"""A version's result read back from its files: result.json, segmentations, report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pydicom
from pydicom import Dataset
from pydicom.errors import InvalidDicomError
from pydicom.uid import Comprehensive3DSRStorage

from conformance.rules_seg import SEGMENTATION_CLASSES
from dicom_node.corrections.runs import mask_of_runs
from dicom_node.corrections.segments import SegmentFrame, read_segments
from dicom_node.errors import CorrectionError, ObjectError
from dicom_node.imaging import find_series, latest_datetime
from dicom_node.objects.profiles import find_profile
from dicom_node.records import (
    BoundingBox,
    Code,
    Finding,
    ImageSeries,
    Laterality,
    Mask,
    NotProcessed,
    ObjectReference,
    Phrase,
    PhraseResult,
    PhraseStatus,
    Region,
    Report,
    ReportStatus,
    ResultObject,
    StoredInstance,
    StudyResult,
)
from dicom_node.regions import crop_mask

if TYPE_CHECKING:
    from dicom_node.store.details import ResultRow

__all__ = ["KeptResult", "mask_of_frames", "read_kept_result"]


@dataclass(frozen=True, eq=False)
class KeptResult:
    """What a version's files say, as the records that they were made of."""

    result: StudyResult
    """Its configuration hash is the report's SOP Instance UID: the real one is in no
    file, and objects made of this have UIDs of their own."""
    profile: str
    segmentations: tuple[ResultObject, ...]
    report: ObjectReference
    document: Mapping[str, Any]
    """``result.json``."""


@dataclass(frozen=True, slots=True)
class _Segment:
    """What a segment says of its region."""

    path: Path
    number: int
    item: Dataset


def read_kept_result(
    document: Mapping[str, Any],
    rows: Sequence[ResultRow],
    instances: Sequence[StoredInstance],
    *,
    content_version: str,
    data_dir: Path,
) -> KeptResult:
    """Read a version's result back.

    Parameters
    ----------
    document : mapping
        Its ``result.json``.
    rows : sequence of ResultRow
        Its result objects.
    instances : sequence of StoredInstance
        The instances of the version.
    content_version : str
        The version.
    data_dir : pathlib.Path
        What the paths of the rows are relative to.

    Raises
    ------
    CorrectionError
        No set of its objects has a report and outlines, or the images are no longer
        those that it was made of.
    ObjectError
        A file cannot be read.

    """
    profile, report, objects = _with_outlines(rows, data_dir)
    segmentations = tuple(one for one, _ in objects)
    segments = {
        str(item.TrackingUID): _Segment(one.path, int(item.SegmentNumber), item)
        for one, ds in objects
        for item in ds.SegmentSequence
    }
    series = _series(document, instances)
    model = document["model"]
    result = StudyResult(
        study_instance_uid=document["study_instance_uid"],
        content_version=content_version,
        series=series,
        reports=tuple(_report(one, instances) for one in document["reports"]),
        phrases=_Reader(series, segments, profile).phrases(document),
        not_processed=tuple(
            NotProcessed(one["series_instance_uid"], one["reason"])
            for one in document["not_processed"]
        ),
        model_name=model["name"],
        model_version=model["version"],
        model_sha256=model["sha256"],
        configuration_sha256=report.reference.sop_instance_uid,
        content_datetime=latest_datetime(instances),
        predecessors=(report.reference,),
        instances=tuple(instances),
    )
    return KeptResult(result, profile, segmentations, report.reference, document)


def mask_of_frames(
    series: ImageSeries, frames: Mapping[int, Sequence[int]]
) -> tuple[Mask, tuple[int, int, int]]:
    """Return a mask, cropped, and its origin, from the runs of each frame.

    Raises
    ------
    CorrectionError
        Runs do not fit, or nothing is set.

    """
    first, last = min(frames, default=0), max(frames, default=0)
    mask = np.zeros((last - first + 1, series.rows, series.columns), np.bool_)
    for index, runs in frames.items():
        mask[index - first] = mask_of_runs(
            runs, rows=series.rows, columns=series.columns
        )
    cropped = crop_mask(mask, (first, 0, 0))
    if cropped is None:
        raise CorrectionError("nothing is drawn")
    return cropped


class _Reader:
    """Turns phrases of ``result.json`` back into records; each SEG is read once."""

    def __init__(
        self,
        series: Sequence[ImageSeries],
        segments: Mapping[str, _Segment],
        profile: str,
    ) -> None:
        self._series = series
        self._segments = segments
        self._prefix = find_profile(profile).tracking_prefix
        self._read: dict[Path, dict[int, list[SegmentFrame]]] = {}

    def phrases(self, document: Mapping[str, Any]) -> tuple[PhraseResult, ...]:
        return tuple(self._phrase(one) for one in document["phrases"])

    def _phrase(self, one: Mapping[str, Any]) -> PhraseResult:
        items = [self._find(outline).item for outline in one["outlines"]]
        finding, side = _code(one["code"]), one["laterality"]
        return PhraseResult(
            phrase=Phrase(
                text=one["text"],
                source=one["source"],
                status=PhraseStatus(one["status"]),
                finding=Finding(
                    category=_item_code(items, "SegmentedPropertyCategoryCodeSequence")
                    or finding,
                    type=_item_code(items, "SegmentedPropertyTypeCodeSequence")
                    or finding,
                    finding=finding,
                    site=None if one["site"] is None else _code(one["site"]),
                ),
                prompt=one["text"],
                laterality=None if side is None else Laterality(side),
                start=None if one["span"] is None else one["span"][0],
                end=None if one["span"] is None else one["span"][1],
                section=one["section"],
            ),
            status=PhraseStatus(one["status"]),
            regions=tuple(self._region(outline, one) for outline in one["outlines"]),
            score=one["score"],
            uncertainty=one["uncertainty"],
        )

    def _region(self, outline: Mapping[str, Any], one: Mapping[str, Any]) -> Region:
        segment, series = self._find(outline), self._series[outline["series"]]
        if segment.path not in self._read:
            self._read[segment.path] = read_segments(segment.path)
        places = {
            (frame.sop_instance_uid, frame.frame_number): index
            for index, frame in enumerate(series.frames)
        }
        mask, origin = mask_of_frames(
            series,
            {
                places[frame.sop_instance_uid, frame.frame_number]: frame.runs
                for frame in self._read[segment.path][segment.number]
            },
        )
        return Region(
            series_instance_uid=series.series_instance_uid,
            mask=mask,
            mask_origin=origin,
            boxes=tuple(
                BoundingBox(box["frame_index"], tuple(box["box_xyxy"]), box["score"])
                for box in one["regions"]
                if box["tracking_uid"] == outline["tracking_uid"]
            ),
            score=outline["score"],
            uncertainty=outline["uncertainty"],
            tracking_id=str(segment.item.TrackingID).removeprefix(self._prefix),
            tracking_uid=outline["tracking_uid"],
            stack_number=series.stack_number,
        )

    def _find(self, outline: Mapping[str, Any]) -> _Segment:
        found = self._segments.get(outline["tracking_uid"])
        if found is None:
            raise ObjectError("a region of the results has no segment")
        return found


def _with_outlines(
    rows: Sequence[ResultRow], data_dir: Path
) -> tuple[str, ResultObject, list[tuple[ResultObject, Dataset]]]:
    """Find the first profile with a report and outlines: its objects.

    Pictures for archives have neither; probabilities do not say which of them were
    drawn.
    """
    for profile in dict.fromkeys(one.profile for one in rows):
        own = [one for one in rows if one.profile == profile]
        reports = [one for one in own if one.sop_class_uid == Comprehensive3DSRStorage]
        if not reports:
            continue
        found = [
            _result_object(data_dir / one.path, profile)
            for one in own
            if one.sop_class_uid in SEGMENTATION_CLASSES
        ]
        if all(ds.SegmentationType != "FRACTIONAL" for _, ds in found):
            report, _ = _result_object(data_dir / reports[0].path, profile)
            return profile, report, found
    raise CorrectionError("no set of the results has a report and outlines")


def _series(
    document: Mapping[str, Any], instances: Sequence[StoredInstance]
) -> tuple[ImageSeries, ...]:
    """Find the series of a result among the images, frame by frame the same."""
    known = {
        (one.series_instance_uid, one.stack_number): one
        for one in find_series(instances)[0]
    }
    found = []
    for one in document["series"]:
        series = known.get((one["series_instance_uid"], one["stack_number"]))
        frames = [[uid, number] for uid, number in one["frames"]]
        if series is None or frames != [
            [frame.sop_instance_uid, frame.frame_number] for frame in series.frames
        ]:
            msg = "the images are not those that the results were made of"
            raise CorrectionError(msg)
        found.append(series)
    return tuple(found)


def _result_object(path: Path, profile: str) -> tuple[ResultObject, Dataset]:
    try:
        ds = pydicom.dcmread(path, stop_before_pixels=True)
    except (OSError, InvalidDicomError, EOFError, ValueError) as error:
        raise ObjectError("a result object cannot be read again") from error
    reference = ObjectReference(
        sop_class_uid=str(ds.SOPClassUID),
        sop_instance_uid=str(ds.SOPInstanceUID),
        series_instance_uid=str(ds.SeriesInstanceUID),
        study_instance_uid=str(ds.StudyInstanceUID),
    )
    made = ResultObject(
        path=path,
        reference=reference,
        sha256="",
        transfer_syntax_uid=str(ds.file_meta.TransferSyntaxUID),
        segments={
            str(item.TrackingUID): int(item.SegmentNumber)
            for item in ds.get("SegmentSequence", ())
        },
        profile=profile,
    )
    return made, ds


def _report(one: Mapping[str, Any], instances: Sequence[StoredInstance]) -> Report:
    uid = one["sop_instance_uid"]
    held = next((each for each in instances if each.sop_instance_uid == uid), None)
    return Report(
        text=one["text"],
        source=one["source"],
        sop_instance_uid=uid,
        sop_class_uid=None if held is None else held.sop_class_uid,
        series_instance_uid=None if held is None else held.series_instance_uid,
        status=None if one["status"] is None else ReportStatus(one["status"]),
    )


def _code(said: Mapping[str, str]) -> Code:
    return Code(said["scheme"], said["value"], said["meaning"])


def _item_code(items: Sequence[Dataset], keyword: str) -> Code | None:
    for item in items:
        for code in item.get(keyword, ()):
            return Code(
                str(code.CodingSchemeDesignator),
                str(code.CodeValue),
                str(code.CodeMeaning),
            )
    return None
