"""result.json: the same answer as the DICOM objects, for programs without DICOM."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from dicom_node.errors import SettingsError
from dicom_node.records import (
    Code,
    ImageSeries,
    NotProcessed,
    PhraseResult,
    Region,
    ResultObject,
    StudyResult,
)
from dicom_node.spool import write_whole

__all__ = [
    "RESULT_JSON",
    "remove_previous_result",
    "result_document",
    "write_result_json",
]

RESULT_JSON = "result.json"
"""File name of the answer in its folder."""


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
        The objects that carry it. Regions name the segments of the first profile.
    folder : pathlib.Path
        Paths of the objects are given relative to it.
    left_out : sequence of NotProcessed
        What was left out before the study was interpreted.

    Returns
    -------
    dict
        ``study_instance_uid``, ``phrases``, ``objects`` and ``not_processed``. A
        region of a phrase is one box on one frame: ``box_xyxy`` in pixels of that
        image, ``frame`` counted from 1, and the segment that outlines it.

    """
    segments = {
        tracking_uid: {
            "sop_instance_uid": one.reference.sop_instance_uid,
            "segment_number": number,
        }
        for one in objects
        if one.profile == objects[0].profile
        for tracking_uid, number in one.segments.items()
    }
    series = {(one.series_instance_uid, one.stack_number): one for one in result.series}
    return {
        "study_instance_uid": result.study_instance_uid,
        "phrases": [_phrase(one, series, segments) for one in result.phrases],
        "objects": [
            {
                "path": str(one.path.relative_to(folder)),
                "sop_class_uid": one.reference.sop_class_uid,
                "sop_instance_uid": one.reference.sop_instance_uid,
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
    for picture in folder.glob("overlay*.png"):
        picture.unlink()
    path.unlink()


def _phrase(
    one: PhraseResult,
    series: Mapping[tuple[str, int], ImageSeries],
    segments: Mapping[str, Mapping[str, object]],
) -> dict[str, Any]:
    phrase = one.phrase
    site = phrase.finding.site
    return {
        "text": phrase.text,
        "source": phrase.source,
        "span": None if phrase.start is None else [phrase.start, phrase.end],
        "status": one.status.value,
        "code": _code(phrase.finding.finding),
        "site": None if site is None else _code(site),
        "laterality": None if phrase.laterality is None else phrase.laterality.value,
        "score": _number(one.score),
        "uncertainty": _number(one.uncertainty),
        "regions": [
            box
            for region in one.regions
            for box in _boxes(
                region,
                series[region.series_instance_uid, region.stack_number],
                segments.get(region.tracking_uid),
            )
        ],
    }


def _boxes(
    region: Region, series: ImageSeries, segment: Mapping[str, object] | None
) -> list[dict[str, Any]]:
    found = []
    for box in region.boxes:
        frame = series.frames[box.frame_index]
        found.append(
            {
                "sop_instance_uid": frame.sop_instance_uid,
                "frame": frame.frame_number,
                "box_xyxy": [round(float(value), 2) for value in box.xyxy],
                "score": _number(box.score),
                "uncertainty": _number(region.uncertainty),
                "seg": None if segment is None else dict(segment),
            }
        )
    return found


def _code(code: Code) -> dict[str, str]:
    return {"scheme": code.scheme, "value": code.value, "meaning": code.meaning}


def _number(value: float | None) -> float | None:
    return None if value is None else round(float(value), 4)
