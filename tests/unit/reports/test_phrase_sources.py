"""Which phrases a study is asked for: arguments, reports, vocabulary; text files."""

from __future__ import annotations

from pathlib import Path

import pytest

from dicom_node.errors import ReportError
from dicom_node.records import ImageSeries, PhraseStatus, Report
from dicom_node.reports import (
    collect_phrases,
    phrase_from_text,
    read_report_text,
    vocabulary,
)
from dicom_node.reports.codes import PRIVATE_SCHEME
from dicom_node.reports.vocabulary import _table


def _series(modality: str, body_part: str | None) -> ImageSeries:
    return ImageSeries(
        study_instance_uid="1",
        series_instance_uid="1.1",
        modality=modality,
        body_part=body_part,
        frames=(),
        rows=1,
        columns=1,
        is_colour=False,
        pixel_spacing_mm=None,
        affine_lps=None,
        frame_of_reference_uid=None,
    )


_REPORT = Report(text="FINDINGS: Hepatomegaly. No ascites.", source="sr:1.2.3")


def test_arguments_win_over_reports_and_reports_over_the_vocabulary() -> None:
    series = [_series("CT", "ABDOMEN")]

    asked = collect_phrases([_REPORT], ["left kidney"], series)
    reported = collect_phrases([_REPORT], [], series)
    usual = collect_phrases([], [], series)

    assert [(one.text, one.source) for one in asked] == [("left kidney", "argument")]
    assert [(one.text, one.source) for one in reported] == [
        ("Hepatomegaly", "sr:1.2.3"),
        ("ascites", "sr:1.2.3"),
    ]
    assert usual == vocabulary("CT", "ABDOMEN")


@pytest.mark.parametrize(
    "text", ["Keine Pleuraergüsse. Rundherd im linken Oberlappen.", "Thank you."]
)
def test_nothing_is_asked_in_the_place_of_a_report_that_is_not_understood(
    text: str,
) -> None:
    report = Report(text=text, source="hl7:1")
    reason = Report(
        text="R/o pneumothorax", source="tag:ReasonForTheRequestedProcedure"
    )

    assert collect_phrases([report, reason], [], [_series("CR", "CHEST")]) == ()


def test_the_vocabulary_can_be_switched_off() -> None:
    series = [_series("CR", "CHEST")]

    assert collect_phrases([], [], series, uses_vocabulary=False) == ()


def test_what_is_said_twice_in_the_same_words_is_asked_once() -> None:
    first = Report(text="Hepatomegaly. HEPATOMEGALY. No ascites.", source="file")
    second = Report(text="Hepatomegaly. Ascites. Mild hepatomegaly.", source="sr:1")

    found = collect_phrases([first, second], [], [])

    assert [(one.text, one.status, one.source, one.start) for one in found] == [
        ("Hepatomegaly", PhraseStatus.PRESENT, "file", 0),
        ("ascites", PhraseStatus.ABSENT, "file", 31),
        ("Ascites", PhraseStatus.PRESENT, "sr:1", 14),
        ("Mild hepatomegaly", PhraseStatus.PRESENT, "sr:1", 23),
    ]


def test_sides_are_not_merged() -> None:
    found = collect_phrases([], ["left kidney", "right kidney", "Left kidney"], [])

    assert [one.text for one in found] == ["left kidney", "right kidney"]


def test_an_empty_argument_is_refused() -> None:
    with pytest.raises(ReportError):
        collect_phrases([], ["liver", " "], [])


def test_the_vocabularies_of_several_series_are_joined_without_doubles() -> None:
    found = collect_phrases([], [], [_series("CT", "CHEST"), _series("CT", "ABDOMEN")])
    prompts = [one.prompt for one in found]

    assert len(prompts) == len(set(prompts))
    assert {"heart", "left kidney", "right upper lobe"} <= set(prompts)


@pytest.mark.parametrize(
    ("modality", "body_part", "words"),
    [
        ("CT", None, {"liver", "left lung", "urinary bladder", "left femur", "spleen"}),
        ("CT", "", {"liver", "heart"}),
        ("CT", "NOWHERE", {"liver", "heart"}),
        ("CT", "ABDOMEN", {"liver", "portal vein", "left adrenal gland", "duodenum"}),
        ("CT", "CHEST", {"left lung", "right middle lobe", "heart", "spinal cord"}),
        ("CT", "THORAX", {"left lung", "right middle lobe", "heart"}),
        ("CT", "CHEST ABDOMEN", {"left lung", "liver"}),
        ("CT", "HEAD", {"brain", "intracranial hemorrhage"}),
        ("CT", "PELVIS", {"urinary bladder", "left hip"}),
        ("MR", "LSPINE", {"vertebrae", "spinal cord"}),
        ("MR", "KNEE", {"meniscus", "patella"}),
        ("PT", "WHOLEBODY", {"liver", "brain"} - {"brain"}),
        ("CR", "CHEST", {"left lung", "pneumothorax"}),
        ("DX", "", {"left lung", "pneumothorax"}),
        ("DX", "HAND", {"radius", "fracture"}),
        ("MG", "", {"breast mass"}),
        ("US", "ABDOMEN", {"gallstones", "liver"}),
        ("XA", "HEART", {"coronary artery"}),
        ("ES", "COLON", {"polyp"}),
        ("OP", "EYE", {"optic disc"}),
        ("XC", "SKIN", {"skin lesion"}),
        ("OT", None, {"lesion"}),
        ("ZZ", "", {"lesion"}),
        (" ct ", " abdomen ", {"liver"}),
    ],
)
def test_every_modality_and_body_part_has_a_vocabulary(
    modality: str, body_part: str | None, words: set[str]
) -> None:
    phrases = vocabulary(modality, body_part)

    assert words <= {one.prompt for one in phrases}
    assert {one.source for one in phrases} == {"vocabulary"}
    assert {one.status for one in phrases} == {PhraseStatus.PRESENT}


@pytest.mark.parametrize("name", sorted(_table()["lists"]))
def test_every_word_of_a_vocabulary_is_in_the_lexicon(name: str) -> None:
    for text in _table()["lists"][name]:
        phrase = phrase_from_text(text)
        assert phrase.finding.finding.meaning != "Unspecified finding", text


def test_the_anatomy_that_the_model_knows_has_public_codes() -> None:
    for phrase in vocabulary("CT", None):
        assert phrase.finding.finding.scheme != PRIVATE_SCHEME


def test_vocabulary_tables_refer_to_lists_that_exist() -> None:
    table = _table()
    lists = set(table["lists"])

    for part in table["body_parts"].values():
        assert part in lists
    for choices in table["modalities"].values():
        assert set(choices.values()) <= lists
        assert set(choices) <= lists | {"default"}


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (b"Liver.\r\nSpleen.", "Liver.\nSpleen."),
        (b"\xef\xbb\xbfGr\xc3\xb6\xc3\x9fe", "Größe"),
        (b"Gr\xf6\xdfe", "Größe"),
        ("Größe".encode("utf-16"), "Größe"),
    ],
)
def test_a_text_file_is_read_in_its_encoding(
    data: bytes, text: str, tmp_path: Path
) -> None:
    path = tmp_path / "report.txt"
    path.write_bytes(data)

    assert read_report_text(path) == text


@pytest.mark.parametrize(
    "data", [b"", b" \n", b"\x89PNG\0\0", b"a" * ((4 << 20) + 1)], ids=len
)
def test_a_file_that_is_no_report_is_refused(data: bytes, tmp_path: Path) -> None:
    path = tmp_path / "report.txt"
    path.write_bytes(data)

    with pytest.raises(ReportError):
        read_report_text(path)


def test_a_file_that_is_not_there_is_refused_without_its_path(tmp_path: Path) -> None:
    with pytest.raises(ReportError) as caught:
        read_report_text(tmp_path / "miller.txt")

    assert "miller" not in str(caught.value)
