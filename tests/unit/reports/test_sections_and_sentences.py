"""Sections by their headings, sentences by their ends, as spans of the text."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dicom_node.reports.sections import SectionKind, split_sections, split_sentences


def _sections(text: str) -> list[tuple[str, str]]:
    return [
        (one.kind.value, text[one.start : one.end].strip())
        for one in split_sections(text)
    ]


def _sentences(text: str) -> list[str]:
    return [text[a:b] for a, b in split_sentences(text, 0, len(text))]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Liver normal.", [("untitled", "Liver normal.")]),
        ("FINDINGS: A\nIMPRESSION: B", [("findings", "A"), ("impression", "B")]),
        ("Findings\nA\n\nConclusion\nB", [("findings", "A"), ("impression", "B")]),
        ("**Findings:** A", [("untitled", "**"), ("findings", "A")]),
        (
            "CT HEAD. INDICATION: fall. FINDINGS: A. IMPRESSION: B.",
            [
                ("untitled", "CT HEAD."),
                ("other", "fall."),
                ("findings", "A."),
                ("impression", "B."),
            ],
        ),
        ("The findings are stable.", [("untitled", "The findings are stable.")]),
        ("Findings of trauma.", [("untitled", "Findings of trauma.")]),
        (
            "COMPARISON: None.\n\nThe liver is normal.",
            [("other", "None."), ("untitled", "The liver is normal.")],
        ),
        (
            "COMPARISON: None.\n\nMore.\n\nFINDINGS: A",
            [("other", "None.\n\nMore."), ("findings", "A")],
        ),
        ("HISTORY:\n\nFall.\n\nA", [("other", "Fall."), ("untitled", "A")]),
        ("LIVER: A\nSPLEEN: B", [("untitled", "LIVER: A\nSPLEEN: B")]),
    ],
)
def test_headings_open_sections(text: str, expected: list[tuple[str, str]]) -> None:
    found = _sections(text)

    assert [one for one in found if one[1].strip("* ")] == [
        one for one in expected if one[1].strip("* ")
    ]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("A stone of 3.5 mm. No cyst.", ["A stone of 3.5 mm", "No cyst"]),
        ("Cyst vs. abscess. Seen by Dr. Who.", ["Cyst vs. abscess", "Seen by Dr. Who"]),
        ("Approx. 3 cm mass.", ["Approx. 3 cm mass"]),
        ("1. Cyst.\n2. Stone.\n", ["Cyst", "Stone"]),
        ("- Cyst\n- Stone", ["Cyst", "Stone"]),
        ("Liver: normal\nSpleen: normal", ["Liver: normal", "Spleen: normal"]),
        ("Small effusion\nNormal heart", ["Small effusion", "Normal heart"]),
        (
            "There is a small effusion on the left side with adjacent compressive\n"
            "atelectasis.",
            [
                "There is a small effusion on the left side with adjacent compressive\n"
                "atelectasis"
            ],
        ),
        ("Cyst\n\nstone", ["Cyst", "stone"]),
        ("Is it a cyst? Yes!", ["Is it a cyst", "Yes"]),
        ("", []),
        (" \n ", []),
    ],
)
def test_sentences_end_where_a_reader_ends_them(text: str, expected: list[str]) -> None:
    assert _sentences(text) == expected


@given(st.text(max_size=300))
def test_sections_and_sentences_are_ordered_spans_of_the_text(text: str) -> None:
    previous = 0
    for section in split_sections(text):
        assert previous <= section.start <= section.end <= len(text)
        begin = section.start
        for start, end in split_sentences(text, section.start, section.end):
            assert begin <= start < end <= section.end
            begin = end
        previous = section.end


def test_a_sentence_without_an_end_is_cut() -> None:
    text = "liver " * 2000

    assert max(len(one) for one in _sentences(text)) < 3100


def test_every_heading_of_the_table_is_known() -> None:
    for kind, heading in (
        (SectionKind.FINDINGS, "Findings"),
        (SectionKind.IMPRESSION, "IMPRESSION"),
        (SectionKind.OTHER, "Clinical  History"),
    ):
        (section,) = split_sections(f"{heading}: text")
        assert section.kind is kind
