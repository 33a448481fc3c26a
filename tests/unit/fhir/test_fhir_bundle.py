"""Results as FHIR bundles, read by the resource models and walked to the pixels."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import highdicom as hd
import numpy as np
import pytest
from defusedxml.ElementTree import fromstring
from fhir.resources.bundle import Bundle
from pydicom import dcmread

from dicom_node.fhir.bundle import make_bundle, write_fhir_json
from dicom_node.objects import make_objects
from dicom_node.records import (
    ImageSeries,
    PhraseResult,
    PhraseStatus,
    Report,
    ReportStatus,
    ResultObject,
    StudyResult,
)
from dicom_node.result import FHIR_JSON
from tests.builders.result_cases import SERIES, full_result, result_of
from tests.builders.study_results import make_result, mask_of

_SPAN = "{http://www.w3.org/1999/xhtml}span"


def _with_report(result: StudyResult) -> StudyResult:
    """Put the phrases of a result into a report, at their place."""
    text = "FINDINGS: <5 mm & more.\n"
    phrases: list[PhraseResult] = []
    for one in result.phrases:
        start, end = len(text), len(text) + len(one.phrase.text)
        phrase = replace(one.phrase, source="hl7:1", start=start, end=end)
        phrases.append(replace(one, phrase=phrase))
        text += f"{one.phrase.text}. "
    report = Report(text, "hl7:1", status=ReportStatus.FINAL)
    return replace(result, reports=(report,), phrases=tuple(phrases))


def _made(
    result: StudyResult, folder: Path, profile: str = "default"
) -> tuple[ResultObject, ...]:
    folder.mkdir(exist_ok=True)
    return make_objects(result, profile=profile, out_dir=folder)


def _resources(bundle: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {
        f"{one['resource']['resourceType']}/{one['resource']['id']}": one["resource"]
        for one in bundle["entry"]
    }


def _of_kind(bundle: dict[str, Any], kind: str) -> list[dict[str, Any]]:
    found = (one["resource"] for one in bundle["entry"])
    return [one for one in found if one["resourceType"] == kind]


@pytest.mark.parametrize("name", SERIES)
def test_every_kind_of_image_gives_a_valid_bundle(name: str, tmp_path: Path) -> None:
    result = _with_report(result_of(name, tmp_path))

    bundle = make_bundle(result, _made(result, tmp_path / "out"))

    Bundle.model_validate(bundle)


def test_a_full_result_gives_a_valid_bundle(tmp_path: Path) -> None:
    result = full_result(tmp_path)

    path = write_fhir_json(result, _made(result, tmp_path / "out"), tmp_path)

    read = Bundle.model_validate_json(path.read_bytes())
    assert path.name == FHIR_JSON
    assert {one.request.method for one in read.entry} == {"PUT"}
    again = write_fhir_json(result, _made(result, tmp_path / "again"), tmp_path)
    assert again.read_bytes() == path.read_bytes()


def test_an_empty_result_gives_a_valid_bundle(tmp_path: Path) -> None:
    result = make_result([SERIES["axial"](tmp_path)], ())

    bundle = make_bundle(result, _made(result, tmp_path / "out"))

    Bundle.model_validate(bundle)
    (report,) = _of_kind(bundle, "DiagnosticReport")
    assert "Nothing was asked for." in report["text"]["div"]


@pytest.mark.parametrize(
    "name", ["axial", "oblique", "enhanced", "radiograph", "odd cine"]
)
@pytest.mark.parametrize("profile", ["default", "labelmap"])
def test_a_phrase_leads_to_its_segment_and_boxes_and_both_agree(
    name: str, profile: str, tmp_path: Path
) -> None:
    result = _with_report(result_of(name, tmp_path))
    objects = _made(result, tmp_path / "out", profile)
    files = {one.reference.sop_instance_uid: one.path for one in objects}

    bundle = json.loads(json.dumps(make_bundle(result, objects)))

    resources = _resources(bundle)
    (report,) = _of_kind(bundle, "DiagnosticReport")
    spans = list(fromstring(report["text"]["div"]).iter(_SPAN))
    by_phrase: dict[str, list[dict[str, Any]]] = {}
    for span in spans:
        text = "".join(span.itertext())
        by_phrase.setdefault(text, []).append(resources[span.get("id") or ""])
    (series,) = result.series
    assert list(by_phrase) == [one.phrase.text for one in result.phrases]
    for one in result.phrases:
        (region,) = one.regions
        segments = [s for s in by_phrase[one.phrase.text] if "focus" in s]
        images = [s for s in by_phrase[one.phrase.text] if "focus" not in s]
        assert len(segments) == len(images) == 1
        (instance,) = segments[0]["instance"]
        path = files[instance["uid"]]
        drawn = _drawn(path, int(instance["subset"][0]), series)
        assert np.array_equal(drawn, mask_of(region, series))
        assert _boxes(images[0], series) == _boxes_of(drawn)
        assert segments[0]["seriesUid"] == dcmread(path).SeriesInstanceUID


def _drawn(path: Path, number: int, series: ImageSeries) -> np.ndarray:
    """Read a segment with another library, in the series' frames."""
    segmentation = hd.seg.segread(path)
    kind = segmentation.segmentation_type
    places = {
        (one.sop_instance_uid, one.frame_number): index
        for index, one in enumerate(series.frames)
    }
    mask = np.zeros((len(series.frames), series.rows, series.columns), bool)
    pixels = segmentation.pixel_array.reshape(-1, series.rows, series.columns)
    groups = segmentation.PerFrameFunctionalGroupsSequence
    for frame, group in zip(pixels, groups, strict=True):
        if kind == hd.seg.SegmentationTypeValues.BINARY:
            item = group.SegmentIdentificationSequence[0]
            if item.ReferencedSegmentNumber != number:
                continue
            inside = frame > 0
        else:
            inside = frame == number
        source = group.DerivationImageSequence[0].SourceImageSequence[0]
        numbers = source.get("ReferencedFrameNumber") or 1
        where = (source.ReferencedSOPInstanceUID, int(numbers))
        mask[places[where]] |= inside
    return mask


def _boxes(selection: dict[str, Any], series: ImageSeries) -> dict[int, list[float]]:
    """Return the rectangle of each frame as x0, y0, x1, y1."""
    places = {
        (one.sop_instance_uid, one.frame_number): index
        for index, one in enumerate(series.frames)
    }
    found = {}
    for instance in selection["instance"]:
        (region,) = instance["imageRegion2D"]
        points = np.reshape(region["coordinate"], (-1, 2))
        assert points.shape == (5, 2)
        assert points[0].tolist() == points[4].tolist()
        number = int(instance.get("subset", ["1"])[0])
        found[places[instance["uid"], number]] = [
            *points.min(axis=0).tolist(),
            *points.max(axis=0).tolist(),
        ]
    return found


def _boxes_of(mask: np.ndarray) -> dict[int, list[float]]:
    found = {}
    for frame in np.flatnonzero(mask.any(axis=(1, 2))).tolist():
        rows, columns = np.nonzero(mask[frame])
        corners = (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)
        found[frame] = [float(one) for one in corners]
    return found


def test_every_reference_is_to_a_resource_of_the_bundle(tmp_path: Path) -> None:
    result = full_result(tmp_path)
    bundle = make_bundle(result, _made(result, tmp_path / "out"))

    known = {one["fullUrl"] for one in bundle["entry"]}
    found = set(_references(bundle))

    assert found
    assert found <= known
    assert len(known) == len(bundle["entry"])


def _references(value: object) -> list[str]:
    """Return references but those to what a resource contains."""
    if isinstance(value, dict):
        own = [value["reference"]] if isinstance(value.get("reference"), str) else []
        own = [one for one in own if one != "#patient"]
        return own + [one for part in value.values() for one in _references(part)]
    if isinstance(value, list):
        return [one for part in value for one in _references(part)]
    return []


def test_what_is_absent_or_hedged_is_an_observation_without_regions(
    tmp_path: Path,
) -> None:
    result = full_result(tmp_path)

    bundle = make_bundle(result, _made(result, tmp_path / "out"))

    said = {
        one["code"]["text"]: (
            one["valueCodeableConcept"]["coding"][0]["display"],
            "derivedFrom" in one,
        )
        for one in _of_kind(bundle, "Observation")
    }
    assert said == {
        "Small effusion on the right": ("Present", True),
        "left kidney": ("Present", True),
        "No pneumothorax": ("Absent", False),
        "Possible mass": ("Indeterminate", False),
    }


def test_each_report_is_a_resource_and_phrases_of_none_have_one(tmp_path: Path) -> None:
    result = full_result(tmp_path)

    bundle = make_bundle(result, _made(result, tmp_path / "out"))

    reports = _of_kind(bundle, "DiagnosticReport")
    texts = ["".join(fromstring(one["text"]["div"]).itertext()) for one in reports]
    assert texts == [
        *(one.text for one in result.reports),
        "left kidney: present\n",
    ]
    notes = [one["text"] for report in reports for one in report["note"]]
    assert any("2.25.99 was not processed" in one for one in notes)
    assert any("not for diagnostic use" in one for one in notes)


def test_a_withdrawn_report_is_not_told(tmp_path: Path) -> None:
    result = full_result(tmp_path)
    report = replace(result.reports[0], status=ReportStatus.CANCELLED)
    kept = tuple(one for one in result.phrases if one.phrase.source != report.source)
    withdrawn = replace(result, reports=(report, *result.reports[1:]), phrases=kept)

    bundle = make_bundle(withdrawn, _made(withdrawn, tmp_path / "out"))

    assert len(_of_kind(bundle, "DiagnosticReport")) == len(result.reports)
    assert "No pneumothorax" not in json.dumps(bundle)


def test_patient_study_and_model_are_those_of_the_images(tmp_path: Path) -> None:
    result = full_result(tmp_path)
    header = dcmread(result.series[0].frames[0].path)

    bundle = make_bundle(result, _made(result, tmp_path / "out"))

    (study,) = _of_kind(bundle, "ImagingStudy")
    (device,) = _of_kind(bundle, "Device")
    of_nobody = {"Device", "Provenance"}
    resources = _resources(bundle).values()
    for one in (one for one in resources if one["resourceType"] not in of_nobody):
        (patient,) = one["contained"]
        assert one["subject"]["reference"] == f"#{patient['id']}"
        assert one["subject"]["identifier"]["value"] == header.PatientID
        assert patient["identifier"][0]["value"] == header.PatientID
        assert patient["name"][0]["family"] == header.PatientName.family_name
    assert study["identifier"] == [
        {"system": "urn:dicom:uid", "value": f"urn:oid:{result.study_instance_uid}"}
    ]
    assert device["name"][0]["value"] == result.model_name
    assert PhraseStatus.PRESENT in {one.status for one in result.phrases}


def test_nothing_that_a_server_knows_of_a_patient_is_replaced(tmp_path: Path) -> None:
    result = full_result(tmp_path)

    bundle = make_bundle(result, _made(result, tmp_path / "out"))

    assert not _of_kind(bundle, "Patient")


def test_a_corrected_report_takes_the_place_of_the_one_before(tmp_path: Path) -> None:
    first = _with_report(result_of("axial", tmp_path))
    first = replace(
        first, reports=(replace(first.reports[0], lasting_name="hl7 RIS 17"),)
    )
    objects = _made(first, tmp_path / "first")
    phrases = tuple(
        replace(one, phrase=replace(one.phrase, source="hl7:2"))
        for one in first.phrases
    )
    corrected = replace(first.reports[0], text="Corrected.", source="hl7:2")
    second = replace(
        first,
        content_version="b" * 64,
        predecessors=tuple(one.reference for one in objects),
        reports=(corrected,),
        phrases=phrases,
    )

    before = make_bundle(first, objects)
    after = make_bundle(second, _made(second, tmp_path / "second"))

    Bundle.model_validate(after)
    (old,), (new,) = (_of_kind(one, "DiagnosticReport") for one in (before, after))
    assert (old["id"], old["identifier"]) == (new["id"], new["identifier"])
    assert (old["status"], new["status"]) == ("preliminary", "modified")
    assert not _of_kind(before, "Provenance")
    (provenance,) = _of_kind(after, "Provenance")
    assert provenance["target"][0]["reference"] == f"urn:uuid:{new['id']}"
    assert [one["what"]["identifier"]["value"] for one in provenance["entity"]] == [
        f"urn:oid:{one.reference.sop_instance_uid}" for one in objects
    ]
    # What a report says is of its version: a phrase may be another one now.
    kinds = ("Observation", "ImagingSelection")
    for kind in kinds:
        ids = [{one["id"] for one in _of_kind(each, kind)} for each in (before, after)]
        assert not ids[0] & ids[1]


def test_two_reports_of_a_study_are_two_resources(tmp_path: Path) -> None:
    result = _with_report(result_of("axial", tmp_path))
    other = Report("Another.", "hl7:2", status=ReportStatus.FINAL)
    both = replace(result, reports=(*result.reports, other))

    bundle = make_bundle(both, _made(both, tmp_path / "out"))

    assert len({one["id"] for one in _of_kind(bundle, "DiagnosticReport")}) == 2
