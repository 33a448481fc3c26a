"""Which reports a study's phrases are taken from, and what is told of them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from pydicom import dcmread

from dicom_node.commands.study_files import gather_studies
from dicom_node.config import LimitSettings, ReportSettings
from dicom_node.imaging import PixelReader
from dicom_node.pipeline import Rooms, interpret, process_study
from dicom_node.records import (
    PhraseStatus,
    PriorStudy,
    Report,
    ReportStatus,
    StudyReady,
)
from dicom_node.result import read_shortfall
from tests.builders.corner_grounder import BrightestBox
from tests.builders.dicom_series import make_ct_series
from tests.builders.documents import encapsulated, make_pdf
from tests.builders.reports import make_basic_text_sr, store_document

SENT = Report(
    text="FINDINGS: Hepatomegaly. No ascites.",
    source="hl7:7",
    status=ReportStatus.CORRECTED,
)


@pytest.fixture
def ready(tmp_path: Path) -> StudyReady:
    make_ct_series(tmp_path / "in", slices=3, rows=16, columns=16)
    return gather_studies([tmp_path / "in"]).studies[0]


@pytest.fixture
def rooms() -> Iterator[Rooms]:
    with PixelReader(LimitSettings(), processes=1) as reader:
        made = Rooms(reader, BrightestBox())
        yield made
        made.documents.close()


def said(result: object) -> dict[str, str]:
    return {one.phrase.text: one.phrase.source for one in result.phrases}  # type: ignore[attr-defined]


def with_tag(ready: StudyReady, folder: Path, **tags: object) -> StudyReady:
    """Give every image of the study these attributes."""
    for one in ready.instances:
        ds = dcmread(one.path)
        for keyword, value in tags.items():
            setattr(ds, keyword, value)
        ds.save_as(one.path)
    return ready


def test_a_sent_report_is_grounded_with_its_source_and_status(
    ready: StudyReady, rooms: Rooms
) -> None:
    result = interpret(replace(ready, reports=(SENT,)), rooms=rooms)

    assert said(result) == {"Hepatomegaly": "hl7:7", "ascites": "hl7:7"}
    assert result.reports == (SENT,)
    assert next(
        one for one in result.phrases if one.phrase.text == "Hepatomegaly"
    ).regions


def test_what_a_document_says_too_is_taken_from_the_document(
    ready: StudyReady, rooms: Rooms, tmp_path: Path
) -> None:
    document = store_document(
        encapsulated(make_pdf(["FINDINGS: Hepatomegaly."])), tmp_path
    )
    study = replace(ready, instances=(*ready.instances, document), reports=(SENT,))

    result = interpret(study, rooms=rooms)

    assert said(result) == {
        "Hepatomegaly": f"pdf:{document.sop_instance_uid}",
        "ascites": "hl7:7",
    }


def test_a_document_that_cannot_be_read_is_told(
    ready: StudyReady, rooms: Rooms, tmp_path: Path
) -> None:
    scan = store_document(encapsulated(make_pdf(["---"])), tmp_path)

    result = interpret(replace(ready, instances=(*ready.instances, scan)), rooms=rooms)

    (left_out,) = [
        one
        for one in result.not_processed
        if one.series_instance_uid == scan.series_instance_uid
    ]
    assert left_out.reason == "the PDF holds no text: it may be a scan"


def test_of_a_report_in_another_language_it_is_said_that_nothing_was_recognised(
    ready: StudyReady, rooms: Rooms, tmp_path: Path
) -> None:
    foreign = replace(SENT, text="Beurteilung: Die Leber ist vergrößert. Kein Aszites.")
    (tmp_path / "out").mkdir()

    # All objects are verified, among them a report without a phrase.
    processed = process_study(
        replace(ready, reports=(foreign,)),
        rooms=rooms,
        out_dir=tmp_path / "out",
        profiles=("default", "pacs"),
    )

    assert processed.result.phrases == ()
    (left_out,) = processed.result.not_processed
    assert left_out.reason.startswith("no phrase of the report is recognised")
    assert processed.objects
    document = json.loads(processed.result_json.read_text())
    assert document["not_processed"] == [
        {"series_instance_uid": "", "reason": left_out.reason}
    ]
    narrative = (tmp_path / "out" / "fhir.json").read_text()
    assert "It was not processed: no phrase" in narrative


def test_the_reason_for_the_study_is_asked_when_no_report_says_anything(
    ready: StudyReady, rooms: Rooms, tmp_path: Path
) -> None:
    tagged = with_tag(
        ready,
        tmp_path,
        ReasonForTheRequestedProcedure="Indication: r/o ascites, no fever",
        StudyDescription="Hepatomegaly",
    )

    result = interpret(tagged, rooms=rooms)

    assert said(result) == {"ascites": "tag:ReasonForTheRequestedProcedure"}
    assert not result.phrases[0].phrase.is_stated
    assert result.phrases[0].phrase.status is PhraseStatus.PRESENT

    told = interpret(replace(tagged, reports=(SENT,)), rooms=rooms)
    assert set(said(told).values()) == {"hl7:7"}

    off = interpret(tagged, rooms=rooms, report_settings=ReportSettings(tags=False))
    assert set(said(off).values()) == {"vocabulary"}
    assert off.configuration_sha256 != result.configuration_sha256


def test_a_preliminary_document_counts_where_the_settings_say_so(
    ready: StudyReady, rooms: Rooms, tmp_path: Path
) -> None:
    ds = make_basic_text_sr({"Findings": "Splenomegaly."})
    ds.PreliminaryFlag = "PRELIMINARY"
    document = store_document(ds, tmp_path)
    study = replace(ready, instances=(*ready.instances, document), reports=(SENT,))

    counted = interpret(study, rooms=rooms)
    strict = interpret(
        study, rooms=rooms, report_settings=ReportSettings(preliminary=False)
    )

    assert "Splenomegaly" in said(counted)
    assert "Splenomegaly" not in said(strict)


def test_priors_are_told_as_priors_and_never_grounded(
    ready: StudyReady, rooms: Rooms, tmp_path: Path
) -> None:
    document = store_document(
        make_basic_text_sr({"Findings": "Left pleural effusion."}), tmp_path
    )
    prior = PriorStudy(
        study_instance_uid="1.9",
        study_date="20200101",
        reports=(replace(SENT, text="No pneumothorax.", source="hl7:3"),),
        instances=(document,),
    )
    out = tmp_path / "out"
    out.mkdir()

    processed = process_study(
        replace(ready, reports=(SENT,), priors=(prior,)), rooms=rooms, out_dir=out
    )

    answer = json.loads(processed.result_json.read_bytes())
    assert [one["source"] for one in answer["phrases"]] == ["hl7:7", "hl7:7"]
    assert answer["reports"] == [
        {
            "source": "hl7:7",
            "status": "corrected",
            "sop_instance_uid": None,
            "text": SENT.text,
        }
    ]
    (told,) = answer["priors"]
    assert (told["study_instance_uid"], told["study_date"]) == ("1.9", "20200101")
    assert [(one["text"], one["source"], one["status"]) for one in told["phrases"]] == [
        ("Left pleural effusion", f"prior:sr:{document.sop_instance_uid}", "present"),
        ("pneumothorax", "prior:hl7:3", "absent"),
    ]
    for one in (*answer["phrases"], *told["phrases"]):
        (text,) = [
            report["text"]
            for report in (*answer["reports"], *told["reports"])
            if report["source"] == one["source"]
        ]
        start, end = one["span"]
        assert text[start:end] == one["text"]
    grounder = rooms.grounder
    assert isinstance(grounder, BrightestBox)
    assert not any("effusion" in prompt for asked in grounder.asked for prompt in asked)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("FINDINGS: Hepatomegaly.", None),
        ("FINDINGS: No ascites.", None),
        ("Bonjour, tout va bien.", "only English reports are understood"),
    ],
)
def test_a_study_in_which_nothing_was_looked_for_says_so(
    ready: StudyReady, rooms: Rooms, tmp_path: Path, text: str, why: str | None
) -> None:
    process_study(ready, rooms=rooms, out_dir=tmp_path, report_text=text)

    told = read_shortfall(tmp_path)

    assert (told is None) is (why is None)
    assert why is None or (told or "").startswith("nothing could be grounded: ")
    assert (why or "") in (told or "")


def test_a_study_of_which_every_series_was_left_out_says_why_once(
    ready: StudyReady, rooms: Rooms, tmp_path: Path
) -> None:
    for one in ready.instances:
        ds = dcmread(one.path)
        del ds.PixelData
        ds.save_as(one.path)

    done = process_study(ready, rooms=rooms, out_dir=tmp_path, report_text=SENT.text)

    reasons = {one.reason for one in done.result.not_processed}
    assert reasons
    told = read_shortfall(tmp_path)
    assert told == f"nothing could be grounded: {'; '.join(reasons)}"
