from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest

from dicom_node.errors import SettingsError
from dicom_node.records import (
    BoundingBox,
    Code,
    Finding,
    FrameReference,
    ImageSeries,
    Laterality,
    NotProcessed,
    ObjectReference,
    Phrase,
    PhraseResult,
    PhraseStatus,
    Region,
    ResultObject,
    StudyResult,
)
from dicom_node.result import (
    FHIR_JSON,
    remove_previous_result,
    result_document,
    write_result_json,
)

LIVER = Code("SCT", "10200004", "Liver")
ORGAN = Code("SCT", "91723000", "Anatomical Structure")


def _phrase(text: str, status: PhraseStatus, start: int | None = 4) -> Phrase:
    return Phrase(
        text=text,
        source="sr:1.2.9",
        status=status,
        finding=Finding(category=ORGAN, type=LIVER, finding=LIVER, site=LIVER),
        prompt=text,
        laterality=Laterality.RIGHT,
        start=start,
        end=None if start is None else start + len(text),
    )


def _result(tmp_path: Path) -> tuple[StudyResult, ResultObject]:
    frames = tuple(
        FrameReference(f"1.2.3.{index}", "1.2.840.10008.5.1.4.1.1.2", 1, tmp_path)
        for index in range(3)
    )
    series = ImageSeries(
        study_instance_uid="1.2.3",
        series_instance_uid="1.2.3.9",
        modality="CT",
        body_part=None,
        frames=frames,
        rows=4,
        columns=4,
        is_colour=False,
        pixel_spacing_mm=(1.0, 1.0),
        affine_lps=np.eye(4),
        frame_of_reference_uid="1.2.3.8",
    )
    region = Region(
        series_instance_uid="1.2.3.9",
        mask=np.ones((2, 1, 1), dtype=np.bool_),
        mask_origin=(1, 2, 3),
        boxes=(
            BoundingBox(1, (3.0, 2.0, 4.0, 3.0), 0.75),
            BoundingBox(2, (3.0, 2.0, 4.0, 3.0), 0.5),
        ),
        score=0.8,
        uncertainty=0.1,
        tracking_id="liver #1",
        tracking_uid="2.25.7",
    )
    result = StudyResult(
        study_instance_uid="1.2.3",
        content_version="c",
        series=(series,),
        reports=(),
        phrases=(
            PhraseResult(
                _phrase("the liver is enlarged", PhraseStatus.PRESENT),
                PhraseStatus.PRESENT,
                (region,),
                0.8,
                0.1,
            ),
            PhraseResult(
                _phrase("no ascites", PhraseStatus.ABSENT, None), PhraseStatus.ABSENT
            ),
        ),
        not_processed=(NotProcessed("1.2.3.10", "localizer"),),
        model_name="m",
        model_version="1",
        model_sha256="s",
        configuration_sha256="k",
        content_datetime=datetime(2022, 12, 8, tzinfo=UTC),
    )
    seg = ResultObject(
        path=tmp_path / "seg.dcm",
        reference=ObjectReference(
            "1.2.840.10008.5.1.4.1.1.66.4", "2.25.1", "2.25.2", "1.2.3"
        ),
        sha256="x",
        transfer_syntax_uid="1.2.840.10008.1.2.1",
        segments={"2.25.7": 1},
    )
    return result, seg


def test_a_region_is_one_box_on_one_frame_with_its_segment(tmp_path):
    result, seg = _result(tmp_path)

    document = result_document(result, (seg,), tmp_path)

    first, second = document["phrases"][0]["regions"]
    assert first == {
        "sop_instance_uid": "1.2.3.1",
        "frame": 1,
        "series": 0,
        "frame_index": 1,
        "box_xyxy": [3.0, 2.0, 4.0, 3.0],
        "score": 0.75,
        "uncertainty": 0.1,
        "seg": {"sop_instance_uid": "2.25.1", "segment_number": 1},
        "tracking_uid": "2.25.7",
    }
    assert second["sop_instance_uid"] == "1.2.3.2"


def test_an_outline_tells_which_frames_it_is_on(tmp_path):
    result, seg = _result(tmp_path)

    document = result_document(result, (seg,), tmp_path)

    assert document["phrases"][0]["outlines"] == [
        {
            "tracking_uid": "2.25.7",
            "series": 0,
            "score": 0.8,
            "uncertainty": 0.1,
            "first_frame": 1,
            "best_frame": 1,
            "last_frame": 2,
            "seg": {"sop_instance_uid": "2.25.1", "segment_number": 1},
        }
    ]
    assert document["phrases"][1]["outlines"] == []


def test_a_series_lists_its_frames_in_their_order(tmp_path):
    result, seg = _result(tmp_path)

    (series,) = result_document(result, (seg,), tmp_path)["series"]

    assert series["series_instance_uid"] == "1.2.3.9"
    assert series["frames"] == [
        [one.sop_instance_uid, one.frame_number] for one in result.series[0].frames
    ]
    assert [one["name"] for one in series["windows"]][:2] == ["Soft tissue", "Lung"]


def test_a_phrase_carries_status_code_site_and_side(tmp_path):
    result, seg = _result(tmp_path)

    present, absent = result_document(result, (seg,), tmp_path)["phrases"]

    assert present["status"] == "present"
    assert present["code"] == {"scheme": "SCT", "value": "10200004", "meaning": "Liver"}
    assert present["site"]["meaning"] == "Liver"
    assert present["laterality"] == "right"
    assert present["span"] == [4, 25]
    assert absent["status"] == "absent"
    assert absent["regions"] == []
    assert absent["span"] is None


def test_without_a_segmentation_the_box_stands_alone(tmp_path):
    result, _ = _result(tmp_path)

    document = result_document(result, (), tmp_path)

    assert document["phrases"][0]["regions"][0]["seg"] is None
    assert document["objects"] == []


def test_regions_name_the_segments_of_the_first_profile_that_has_any(tmp_path):
    result, seg = _result(tmp_path)
    picture = replace(seg, profile="pacs", segments={})
    other = replace(seg, profile="labelmap", segments={"2.25.7": 9})

    document = result_document(result, (picture, seg, other), tmp_path)

    (region, _) = document["phrases"][0]["regions"]
    assert region["seg"] == {"sop_instance_uid": "2.25.1", "segment_number": 1}


def test_what_was_left_out_is_named_with_its_reason(tmp_path):
    result, seg = _result(tmp_path)

    document = result_document(result, (seg,), tmp_path)

    assert document["not_processed"] == [
        {"series_instance_uid": "1.2.3.10", "reason": "localizer"}
    ]


def test_the_file_is_the_document(tmp_path):
    result, seg = _result(tmp_path)

    path = write_result_json(result, (seg,), tmp_path)

    assert path == tmp_path / "result.json"
    assert json.loads(path.read_text()) == json.loads(
        json.dumps(result_document(result, (seg,), tmp_path))
    )


def test_an_object_outside_the_folder_is_refused(tmp_path):
    result, seg = _result(tmp_path)

    with pytest.raises(ValueError, match="subpath"):
        result_document(result, (seg,), tmp_path / "elsewhere")


def test_what_was_left_out_before_is_named_too(tmp_path):
    result, seg = _result(tmp_path)

    document = result_document(
        result, (seg,), tmp_path, left_out=[NotProcessed("", "a file cannot be read")]
    )

    assert document["not_processed"][-1] == {
        "series_instance_uid": "",
        "reason": "a file cannot be read",
    }


def test_an_earlier_result_is_removed_and_nothing_else(tmp_path):
    result, seg = _result(tmp_path)
    seg.path.write_bytes(b"seg")
    (tmp_path / "mine.dcm").write_bytes(b"mine")
    write_result_json(result, (seg,), tmp_path)
    (tmp_path / FHIR_JSON).write_text("{}")

    remove_previous_result(tmp_path)

    assert [one.name for one in tmp_path.iterdir()] == ["mine.dcm"]


def test_a_result_cannot_name_files_elsewhere(tmp_path):
    precious = tmp_path / "precious.dcm"
    precious.write_bytes(b"mine")
    folder = tmp_path / "out"
    folder.mkdir()
    (folder / "result.json").write_text('{"objects": [{"path": "../precious.dcm"}]}')

    remove_previous_result(folder)

    assert precious.exists()


@pytest.mark.parametrize("text", ["", "[]", '{"objects": 1}', "{}"])
def test_a_file_of_that_name_that_is_not_ours_is_refused(tmp_path, text):
    (tmp_path / "result.json").write_text(text)

    with pytest.raises(SettingsError, match="choose another folder"):
        remove_previous_result(tmp_path)
