"""result.json: the same answer as the DICOM objects, for programs without DICOM."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from dicom_node.durable import write_whole
from dicom_node.errors import SettingsError
from dicom_node.imaging.display import patient_sides, series_display
from dicom_node.records import (
    Code,
    ImageSeries,
    NotProcessed,
    Phrase,
    PhraseResult,
    PriorStudy,
    Region,
    Report,
    ResultObject,
    StudyResult,
)

__all__ = [
    "FHIR_JSON",
    "RESULT_JSON",
    "read_shortfall",
    "remove_previous_result",
    "result_document",
    "write_result_json",
]

RESULT_JSON = "result.json"
"""File name of the answer in its folder."""

_NO_PHRASE = "there is no report, and no phrase to look for"

FHIR_JSON = "fhir.json"
"""File name of the same answer as a FHIR Bundle, beside it."""


def result_document(
    result: StudyResult,
    objects: Sequence[ResultObject],
    folder: Path,
    *,
    left_out: Sequence[NotProcessed] = (),
) -> dict[str, Any]:
    """Describe a result as JSON values.

    Parameters
    ----------
    result : StudyResult
        What was found.
    objects : sequence of ResultObject
        The objects that carry it. Regions name the segments of the first profile
        that has any.
    folder : pathlib.Path
        Paths of the objects are given relative to it.
    left_out : sequence of NotProcessed
        What was left out before the study was interpreted.

    Returns
    -------
    dict
        ``study_instance_uid``, ``phrases``, ``series``, ``objects`` and
        ``not_processed``. A region of a phrase is one box on one frame: ``box_xyxy``
        in pixels of that image, ``frame`` counted from 1, and the segment that
        outlines it; ``frame_index`` counts the frames of its ``series`` from 0.
        ``outlines`` says the same for each segment as a whole. The ``span`` of a
        phrase counts characters of the ``text`` of the report with its ``source``.
        ``priors`` are earlier studies: what their reports say is nowhere in these
        images.

    """
    profile = next((one.profile for one in objects if one.segments), None)
    segments = {
        tracking_uid: {
            "sop_instance_uid": one.reference.sop_instance_uid,
            "segment_number": number,
        }
        for one in objects
        if one.profile == profile
        for tracking_uid, number in one.segments.items()
    }
    places = {
        (one.series_instance_uid, one.stack_number): (index, one)
        for index, one in enumerate(result.series)
    }
    return {
        "study_instance_uid": result.study_instance_uid,
        "phrases": [_phrase(one, places, segments) for one in result.phrases],
        "reports": [_report(one) for one in result.reports],
        "priors": [_prior(one) for one in result.priors],
        "series": [_series(index, one) for index, one in enumerate(result.series)],
        "objects": [
            {
                "path": str(one.path.relative_to(folder)),
                "sop_class_uid": one.reference.sop_class_uid,
                "sop_instance_uid": one.reference.sop_instance_uid,
                "profile": one.profile,
            }
            for one in objects
        ],
        "not_processed": [
            {"series_instance_uid": one.series_instance_uid, "reason": one.reason}
            for one in (*result.not_processed, *left_out)
        ],
        "model": {
            "name": result.model_name,
            "version": result.model_version,
            "sha256": result.model_sha256,
            "computed_on": list(result.computed_on),
        },
    }


def write_result_json(
    result: StudyResult,
    objects: Sequence[ResultObject],
    folder: Path,
    *,
    left_out: Sequence[NotProcessed] = (),
) -> Path:
    """Write `result_document` to ``folder`` and return its path."""
    document = result_document(result, objects, folder, left_out=left_out)
    text = json.dumps(document, indent=2, ensure_ascii=False) + "\n"
    path = folder / RESULT_JSON
    write_whole(path, text.encode())
    return path


def read_shortfall(folder: Path) -> str | None:
    """Return why nothing could be grounded in a study, or None where something was.

    A phrase that was looked for and not found is no shortfall.

    Parameters
    ----------
    folder : pathlib.Path
        Where `write_result_json` wrote; where it wrote nothing there is none.

    """
    path = folder / RESULT_JSON
    if not path.exists():
        return None
    document = json.loads(path.read_bytes())
    if not document or (document["series"] and document["phrases"]):
        return None
    reasons = dict.fromkeys(one["reason"] for one in document["not_processed"])
    return f"nothing could be grounded: {'; '.join(reasons) or _NO_PHRASE}"


def remove_previous_result(folder: Path) -> None:
    """Remove what an earlier run wrote to a folder: what its ``result.json`` names.

    Nothing else is touched. A folder without ``result.json`` stays as it is.

    Raises
    ------
    SettingsError
        There is a ``result.json`` that is none of ours.

    """
    path = folder / RESULT_JSON
    if not path.exists():
        return
    try:
        named = [one["path"] for one in json.loads(path.read_bytes())["objects"]]
        files = [(folder / name).resolve() for name in named]
    except (ValueError, KeyError, TypeError) as error:
        msg = f"{path} is not a result of this program: choose another folder"
        raise SettingsError(msg) from error
    for file in files:
        if file.is_relative_to(folder.resolve()):
            file.unlink(missing_ok=True)
    (folder / FHIR_JSON).unlink(missing_ok=True)
    for picture in folder.glob("overlay*.png"):
        picture.unlink()
    path.unlink()


_Places = Mapping[tuple[str, int], tuple[int, ImageSeries]]
"""Index and series by series UID and stack number."""

_Segments = Mapping[str, Mapping[str, object]]
"""Object and segment number by tracking UID."""


def _report(one: Report) -> dict[str, Any]:
    return {
        "source": one.source,
        "status": None if one.status is None else one.status.value,
        "sop_instance_uid": one.sop_instance_uid,
        "text": one.text,
    }


def _prior(one: PriorStudy) -> dict[str, Any]:
    return {
        "study_instance_uid": one.study_instance_uid,
        "study_date": one.study_date,
        "reports": [_report(report) for report in one.reports],
        "phrases": [_statement(phrase) for phrase in one.phrases],
        "not_processed": [
            {"series_instance_uid": left.series_instance_uid, "reason": left.reason}
            for left in one.not_processed
        ],
    }


def _phrase(one: PhraseResult, places: _Places, segments: _Segments) -> dict[str, Any]:
    return {
        **_statement(one.phrase),
        "status": one.status.value,
        "is_stated": one.phrase.is_stated,
        "score": _number(one.score),
        "uncertainty": _number(one.uncertainty),
        "regions": [
            box for region in one.regions for box in _boxes(region, places, segments)
        ],
        "outlines": [_outline(region, places, segments) for region in one.regions],
    }


def _statement(phrase: Phrase) -> dict[str, Any]:
    """Describe a phrase as its report has it."""
    site = phrase.finding.site
    return {
        "text": phrase.text,
        "source": phrase.source,
        "span": None if phrase.start is None else [phrase.start, phrase.end],
        "section": phrase.section,
        "status": phrase.status.value,
        "code": _code(phrase.finding.finding),
        "site": None if site is None else _code(site),
        "laterality": None if phrase.laterality is None else phrase.laterality.value,
    }


def _boxes(
    region: Region, places: _Places, segments: _Segments
) -> list[dict[str, Any]]:
    index, series = places[region.series_instance_uid, region.stack_number]
    found = []
    for box in region.boxes:
        frame = series.frames[box.frame_index]
        found.append(
            {
                "sop_instance_uid": frame.sop_instance_uid,
                "frame": frame.frame_number,
                "series": index,
                "frame_index": box.frame_index,
                "box_xyxy": [round(float(value), 2) for value in box.xyxy],
                "score": _number(box.score),
                "uncertainty": _number(region.uncertainty),
                "seg": _segment(region, segments),
                "tracking_uid": region.tracking_uid,
            }
        )
    return found


def _outline(region: Region, places: _Places, segments: _Segments) -> dict[str, Any]:
    index, _ = places[region.series_instance_uid, region.stack_number]
    areas = np.count_nonzero(region.mask, axis=(1, 2))
    drawn = np.flatnonzero(areas)
    first = region.mask_origin[0]
    return {
        "tracking_uid": region.tracking_uid,
        "series": index,
        "score": _number(region.score),
        "uncertainty": _number(region.uncertainty),
        "first_frame": first + int(drawn[0]),
        "best_frame": first + int(areas.argmax()),
        "last_frame": first + int(drawn[-1]),
        "seg": _segment(region, segments),
    }


def _segment(region: Region, segments: _Segments) -> dict[str, object] | None:
    found = segments.get(region.tracking_uid)
    return None if found is None else dict(found)


def _series(index: int, series: ImageSeries) -> dict[str, Any]:
    display = series_display(series)
    spacing = series.pixel_spacing_mm
    return {
        "index": index,
        "series_instance_uid": series.series_instance_uid,
        "stack_number": series.stack_number,
        "modality": series.modality,
        "description": series.series_description,
        "body_part": series.body_part,
        "rows": series.rows,
        "columns": series.columns,
        "is_colour": series.is_colour,
        "pixel_spacing_mm": None if spacing is None else list(spacing),
        "pixel_aspect": series.pixel_aspect,
        "sides": patient_sides(series.orientation_lps),
        "display": {
            "dtype": display.dtype,
            "slope": display.slope,
            "intercept": display.intercept,
        },
        "windows": [
            {
                "name": one.name,
                "centre": one.centre,
                "width": one.width,
                "function": one.function,
            }
            for one in display.windows
        ],
        "frames": [[one.sop_instance_uid, one.frame_number] for one in series.frames],
    }


def _code(code: Code) -> dict[str, str]:
    return {"scheme": code.scheme, "value": code.value, "meaning": code.meaning}


def _number(value: float | None) -> float | None:
    return None if value is None else round(float(value), 4)
