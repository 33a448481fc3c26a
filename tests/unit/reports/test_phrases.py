"""The phrases of reports: a table of sentences, and what holds for any text."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dicom_node.errors import ReportError
from dicom_node.records import Laterality, Phrase, PhraseStatus, Report
from dicom_node.reports import extract_phrases, phrase_from_text
from dicom_node.reports.sections import SectionKind, split_sections

SENTENCES: list[dict[str, Any]] = json.loads(
    (Path(__file__).parent / "sentences.json").read_text(encoding="utf-8")
)


def _phrases(text: str) -> tuple[Phrase, ...]:
    return extract_phrases(Report(text=text, source="file"))


@pytest.mark.parametrize("case", SENTENCES, ids=lambda case: case["report"][:60])
def test_a_sentence_gives_its_phrases(case: dict[str, Any]) -> None:
    found = [
        [
            one.status.value,
            one.laterality.value if one.laterality else None,
            one.finding.finding.meaning,
            one.text,
        ]
        for one in _phrases(case["report"])
    ]

    assert found == case["phrases"]


def test_the_table_covers_every_status_and_side() -> None:
    said = {(one[0], one[1]) for case in SENTENCES for one in case["phrases"]}

    assert len(SENTENCES) >= 80
    assert {status for status, _ in said} == {one.value for one in PhraseStatus}
    assert {side for _, side in said} == {None, *(one.value for one in Laterality)}


@pytest.mark.parametrize(
    ("text", "prompt"),
    [
        ("The liver is enlarged.", "the liver is enlarged"),
        ("The spleen is unremarkable.", "spleen"),
        ("Normal appearance of the left lower lobe.", "left lower lobe"),
        ("RLL consolidation.", "right lower lobe consolidation"),
        ("8-mm nodule in the LUL.", "8-mm nodule in the left upper lobe"),
        ("L kidney stone.", "left kidney stone"),
        ("Lt. renal cyst.", "left renal cyst"),
        ("The IVC is dilated.", "the inferior vena cava is dilated"),
        ("The liver and spleen are enlarged.", "enlarged liver"),
        ("MILD\nHEPATOMEGALY", "mild hepatomegaly"),
        ("Left kidney: 3 mm stone.", "left kidney: 3 mm stone"),
        ("Liver: Normal. 2 cm cyst.", "liver"),
    ],
)
def test_the_prompt_is_the_phrase_in_plain_words(text: str, prompt: str) -> None:
    assert _phrases(text)[0].prompt == prompt


def test_a_line_about_one_structure_places_what_follows_on_it() -> None:
    text = "Left kidney: Normal in size. 2 cm cyst.\nSpleen: Normal. 1 cm cyst."

    _, renal, _, splenic = _phrases(text)

    assert renal.finding.site is not None
    assert renal.finding.site.meaning == "Kidney"
    assert (renal.laterality, renal.prompt) == (
        Laterality.LEFT,
        "2 cm cyst in the left kidney",
    )
    assert splenic.finding.site is not None
    assert splenic.finding.site.meaning == "Spleen"
    assert splenic.laterality is None


def test_findings_and_impression_are_read_and_the_rest_is_not() -> None:
    text = (
        "CT ABDOMEN\n\nHISTORY: Hepatomegaly?\n\nTECHNIQUE: Axial images of the liver."
        "\n\nCOMPARISON: Splenomegaly in 2020.\n\nFINDINGS:\nThe liver is enlarged."
        "\n\nIMPRESSION:\n1. Hepatomegaly.\n2. No ascites.\n\nRECOMMENDATION: "
        "Exclude cirrhosis."
    )

    found = [(one.section, one.text, one.status.value) for one in _phrases(text)]

    assert found == [
        ("findings", "The liver is enlarged", "present"),
        ("impression", "Hepatomegaly", "present"),
        ("impression", "ascites", "absent"),
    ]


def test_measurements_belong_to_the_phrase_that_gives_them() -> None:
    text = "1.2 x 3.4 cm cyst in the liver. Mild ascites. 8-mm nodule in the spleen."

    found = [one.measurements_mm for one in _phrases(text)]

    assert found == [(12.0, 34.0), (), (8.0,)]


def test_a_normal_structure_is_present_and_is_the_finding() -> None:
    (phrase,) = _phrases("The spleen is unremarkable.")

    assert phrase.status is PhraseStatus.PRESENT
    assert phrase.finding.finding.meaning == "Spleen"
    assert phrase.finding.category.value == "91723000"
    assert phrase.finding.site == phrase.finding.type == phrase.finding.finding


@pytest.mark.parametrize(
    ("text", "meaning", "status", "side"),
    [
        ("hepatomegaly", "Hepatomegaly", PhraseStatus.PRESENT, None),
        ("left kidney", "Kidney", PhraseStatus.PRESENT, Laterality.LEFT),
        ("no ascites", "Ascites", PhraseStatus.ABSENT, None),
        ("hepatic", "Liver", PhraseStatus.PRESENT, None),
        ("the abdomen", "Abdomen", PhraseStatus.PRESENT, None),
        ("possible pneumonia", "Pneumonia", PhraseStatus.UNCERTAIN, None),
        ("bright blob", "Unspecified finding", PhraseStatus.PRESENT, None),
        (
            "odd blob in the left kidney",
            "Kidney",
            PhraseStatus.PRESENT,
            Laterality.LEFT,
        ),
        (
            "hepatic blob",
            "Unspecified finding of liver",
            PhraseStatus.PRESENT,
            None,
        ),
        ("肝臓", "Unspecified finding", PhraseStatus.PRESENT, None),
    ],
)
def test_a_phrase_that_was_asked_for_is_coded(
    text: str, meaning: str, status: PhraseStatus, side: Laterality | None
) -> None:
    phrase = phrase_from_text(f"  {text} ")

    assert phrase.text == text
    assert (phrase.source, phrase.start, phrase.end) == ("argument", None, None)
    assert phrase.finding.finding.meaning == meaning
    assert (phrase.status, phrase.laterality) == (status, side)


@pytest.mark.parametrize("text", ["", " \n", "liver " * 400])
def test_what_is_no_phrase_is_refused(text: str) -> None:
    with pytest.raises(ReportError):
        phrase_from_text(text)


_WORDS = st.sampled_from(
    [
        *" ".join(case["report"] for case in SENTENCES).split(" "),
        *("FINDINGS:", "\n", "\n\n", "HISTORY:", "1.", "-", "no", "of", "x", "cm"),
    ]
)
_REPORT_LIKE = st.lists(_WORDS, max_size=120).map(" ".join)


@given(st.one_of(st.text(max_size=400), _REPORT_LIKE))
def test_every_phrase_is_a_span_of_the_text_inside_a_section_that_is_read(
    text: str,
) -> None:
    sections = [
        one for one in split_sections(text) if one.kind is not SectionKind.OTHER
    ]

    first, second = _phrases(text), _phrases(text)

    assert first == second
    for one in first:
        assert one.start is not None
        assert one.end is not None
        assert one.start < one.end
        assert text[one.start : one.end] == one.text
        assert any(s.start <= one.start and one.end <= s.end for s in sections)
        assert one.prompt.strip() == one.prompt != ""
        assert len(one.finding.finding.value) <= 16
        assert len(one.finding.finding.meaning) <= 64


@given(st.one_of(st.text(min_size=1, max_size=200), _REPORT_LIKE))
def test_any_words_can_be_asked_for(text: str) -> None:
    words = " ".join(text.split())
    if not words or len(words) > 1024:
        return

    phrase = phrase_from_text(text)

    assert phrase.text == words
    assert phrase.prompt


def test_a_long_report_is_read() -> None:
    text = " ".join(case["report"] for case in SENTENCES)
    text = "\n".join([text] * (5000 // len(text.split()) + 1))
    _phrases("liver")  # the tables are read once

    found = _phrases(text)

    assert len(found) > 500


# Without bounds on what is looked back at, these take hours.
@pytest.mark.timeout(120)
@pytest.mark.parametrize(
    "piece", ["liver ", "no effusion, ", "mass of liver ", "(", "1.", "a.", "\n", "L"]
)
def test_a_text_without_ends_is_read_to_its_end(piece: str) -> None:
    text = piece * (20_000 // len(piece))

    assert _phrases(text) is not None


def test_a_whole_report_is_read() -> None:
    path = Path(__file__).parent / "ct_report.txt"

    found = _phrases(path.read_text(encoding="utf-8"))
    said = {(one.finding.finding.meaning, one.status.value) for one in found}

    assert {one.section for one in found} == {"findings", "impression"}
    assert {
        ("Steatosis of liver", "present"),
        ("Splenomegaly", "present"),
        ("Calculus in gallbladder", "present"),
        ("Dilated appendix", "present"),
        ("Appendicitis", "present"),
        ("Aortic calcification", "present"),
        ("Free fluid", "present"),
        ("Splenomegaly", "uncertain"),
        ("Pleural effusion", "absent"),
        ("Hydronephrosis", "absent"),
        ("Diverticulitis", "absent"),
        ("Lymphadenopathy", "absent"),
        ("Pancreas", "present"),
    } <= said
    # What the clinical history asks for is no finding; nor is who dictated it.
    assert not any("pain" in one.text or "Example" in one.text for one in found)
    cyst = next(
        one for one in found if one.text == "Right renal cyst measuring 2.2 x 2.0 cm"
    )
    assert (cyst.laterality, cyst.measurements_mm) == (Laterality.RIGHT, (22.0, 20.0))
