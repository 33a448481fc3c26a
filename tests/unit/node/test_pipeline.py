from __future__ import annotations

import json
from pathlib import Path

import pytest

from dicom_node.commands.study_files import gather_studies
from dicom_node.config import LimitSettings, NodeSettings
from dicom_node.errors import GroundingError, ModelLoadError, WorkerLostError
from dicom_node.imaging import PixelReader
from dicom_node.pipeline import Rooms, interpret, process_study, profiles_of
from dicom_node.records import ObjectReference, PhraseStatus
from tests.builders.corner_grounder import BrightestBox
from tests.builders.dicom_series import make_ct_series

REPORT = "FINDINGS:\nThe liver is enlarged. No ascites.\n"


@pytest.fixture
def ready(tmp_path):
    make_ct_series(tmp_path / "in", slices=3, rows=16, columns=16)
    return gather_studies([tmp_path / "in"]).studies[0]


@pytest.fixture
def reader():
    with PixelReader(LimitSettings(), processes=1) as one:
        yield one


def test_what_the_report_negates_is_reported_and_never_asked(ready, reader):
    grounder = BrightestBox()

    result = interpret(ready, rooms=Rooms(reader, grounder), report_text=REPORT)

    by_text = {one.phrase.text: one for one in result.phrases}
    assert by_text["The liver is enlarged"].regions
    absent = [one for one in result.phrases if one.status is PhraseStatus.ABSENT]
    assert [one.phrase.finding.finding.meaning for one in absent] == ["Ascites"]
    assert absent[0].regions == ()
    assert not any("ascites" in one for asked in grounder.asked for one in asked)


def test_given_phrases_win_over_the_report(ready, reader):
    grounder = BrightestBox()

    result = interpret(
        ready, rooms=Rooms(reader, grounder), phrases=["spleen"], report_text=REPORT
    )

    assert [one.phrase.text for one in result.phrases] == ["spleen"]


def test_without_a_report_the_vocabulary_is_asked(ready, reader):
    grounder = BrightestBox()

    result = interpret(ready, rooms=Rooms(reader, grounder))

    assert len(grounder.asked[0]) > 10
    assert {one.phrase.source for one in result.phrases} == {"vocabulary"}


def test_a_model_that_fails_on_a_series_is_a_reason_and_not_an_end(ready, reader):
    grounder = BrightestBox(error=GroundingError("the model failed"))

    result = interpret(ready, rooms=Rooms(reader, grounder), phrases=["spleen"])

    assert result.series == ()
    assert [one.reason for one in result.not_processed] == ["the model failed"]
    assert result.phrases[0].regions == ()


def test_an_answer_outside_its_series_is_a_reason(ready, reader):
    grounder = BrightestBox(origin=(99, 2, 3))

    result = interpret(ready, rooms=Rooms(reader, grounder), phrases=["spleen"])

    assert [one.reason for one in result.not_processed] == [
        "a mask lies outside its series"
    ]


def test_a_run_that_got_further_has_other_uids(ready, reader, tmp_path):
    uids = []
    for name, error in (("one", WorkerLostError()), ("two", None)):
        folder = tmp_path / name
        folder.mkdir()
        processed = process_study(
            ready,
            rooms=Rooms(reader, BrightestBox(error=error)),
            out_dir=folder,
            phrases=["spleen"],
        )
        uids.extend(one.reference.sop_instance_uid for one in processed.objects)

    assert len(uids) == len(set(uids)) == 3


def test_a_folder_may_be_named_from_where_one_stands(
    ready, reader, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    Path("out").mkdir()

    processed = process_study(
        ready,
        rooms=Rooms(reader, BrightestBox()),
        out_dir=Path("out"),
        phrases=["spleen"],
    )

    named = json.loads(processed.result_json.read_text())["objects"]
    assert [one["path"] for one in named] == ["seg-1.dcm", "sr.dcm"]
    bundle = json.loads((tmp_path / "out" / "fhir.json").read_text())
    kinds = {one["resource"]["resourceType"] for one in bundle["entry"]}
    assert {"ImagingSelection", "DiagnosticReport"} <= kinds


def test_a_caller_that_tries_again_is_told_of_a_lost_worker(ready, reader):
    grounder = BrightestBox(error=WorkerLostError("the worker ended"))

    with pytest.raises(WorkerLostError):
        interpret(
            ready, rooms=Rooms(reader, grounder), phrases=["spleen"], may_retry=True
        )


def test_a_lost_worker_is_in_the_end_a_reason(ready, reader):
    grounder = BrightestBox(error=WorkerLostError("the worker ended"))

    result = interpret(ready, rooms=Rooms(reader, grounder), phrases=["spleen"])

    assert [one.reason for one in result.not_processed] == ["the worker ended"]


def test_without_a_model_nothing_is_claimed(ready, reader):
    grounder = BrightestBox(error=ModelLoadError())

    with pytest.raises(ModelLoadError):
        interpret(ready, rooms=Rooms(reader, grounder), phrases=["spleen"])


def test_the_same_study_gives_the_same_files(ready, reader, tmp_path):
    made = []
    for name in ("one", "two"):
        folder = tmp_path / name
        folder.mkdir()
        made.append(
            process_study(
                ready,
                rooms=Rooms(reader, BrightestBox()),
                out_dir=folder,
                report_text=REPORT,
            )
        )

    first, second = made
    assert [one.path.read_bytes() for one in first.objects] == [
        one.path.read_bytes() for one in second.objects
    ]
    assert first.result_json.read_bytes() == second.result_json.read_bytes()


def test_the_profile_of_the_pages_is_made_first_and_once():
    destinations = [
        {"name": name, "ae_title": "PACS", "host": "h", "port": 104, "profile": profile}
        for name, profile in (("a", "labelmap"), ("b", "ohif"), ("c", "labelmap"))
    ]
    settings = NodeSettings.model_validate(
        {"destinations": destinations, "web": {"profile": "ohif"}}
    )
    plain = NodeSettings.model_validate({"destinations": destinations})

    assert profiles_of(settings) == ("ohif", "labelmap")
    assert profiles_of(plain) == ("labelmap", "ohif")
    assert profiles_of(NodeSettings()) == ("ohif",)
    assert profiles_of(settings, with_pages=False) == ("labelmap", "ohif")
    assert profiles_of(NodeSettings(), with_pages=False) == ("default",)


def test_each_profile_gets_objects_of_its_own(ready, reader, tmp_path):
    processed = process_study(
        ready,
        rooms=Rooms(reader, BrightestBox()),
        out_dir=tmp_path,
        profiles=("default", "ohif"),
        report_text=REPORT,
    )

    uids = [one.reference.sop_instance_uid for one in processed.objects]
    assert len(uids) == len(set(uids))
    assert {one.profile for one in processed.objects} == {"default", "ohif"}
    named = json.loads(processed.result_json.read_text())["objects"]
    assert [one["path"] for one in named] == [
        "seg-1.dcm",
        "sr.dcm",
        "ohif/seg-1.dcm",
        "ohif/sr.dcm",
    ]


def test_other_phrases_make_other_objects(ready, reader, tmp_path):
    uids = []
    for phrase in ("spleen", "liver"):
        folder = tmp_path / phrase
        folder.mkdir()
        processed = process_study(
            ready,
            rooms=Rooms(reader, BrightestBox()),
            out_dir=folder,
            phrases=[phrase],
        )
        uids.extend(one.reference.sop_instance_uid for one in processed.objects)

    assert len(uids) == len(set(uids)) == 4


def test_a_predecessor_is_handed_on(ready, reader):
    earlier = ObjectReference("1.2.840.10008.5.1.4.1.1.88.34", "2.25.1", "2.25.2", "1")

    result = interpret(
        ready,
        rooms=Rooms(reader, BrightestBox()),
        phrases=["spleen"],
        predecessors=(earlier,),
    )

    assert result.predecessors == (earlier,)
