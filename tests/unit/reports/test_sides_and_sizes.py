"""Sides and sizes that words say."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dicom_node.records import Laterality
from dicom_node.reports import phrase_from_text
from dicom_node.reports.attributes import measurements_mm
from dicom_node.reports.lexicon import concepts, find_mentions
from dicom_node.reports.words import split_words, stem


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("8 mm", (8.0,)),
        ("8-mm nodule", (8.0,)),
        ("1.2 x 3.4 cm", (12.0, 34.0)),
        ("1.2 cm x 3.4 cm", (12.0, 34.0)),
        ("1.2 x 3.4 x 5 cm", (12.0, 34.0, 50.0)),
        ("3 by 4 mm", (3.0, 4.0)),
        ("4-5 mm", (4.0, 5.0)),
        ("2,5 cm", (25.0,)),
        ("10\u00d712 mm", (10.0, 12.0)),
        ("3 millimeters", (3.0,)),
        ("2 centimetre", (20.0,)),
        ("1.5 cm and 7 mm", (15.0, 7.0)),
        ("120 mmHg", ()),
        ("5 cm\u00b2", ()),
        ("segment 7", ()),
        ("L4", ()),
        ("3 of 5 lesions", ()),
    ],
)
def test_lengths_are_read_in_millimetres(
    text: str, expected: tuple[float, ...]
) -> None:
    assert measurements_mm(text) == expected


@given(st.floats(0.1, 999), st.sampled_from(["mm", "cm"]))
def test_a_written_length_is_read_back(length: float, unit: str) -> None:
    (found,) = measurements_mm(f"{length:.1f} {unit}")

    assert found == pytest.approx(round(length, 1) * (10 if unit == "cm" else 1))


@pytest.mark.parametrize(
    ("text", "side"),
    [
        ("left kidney", Laterality.LEFT),
        ("kidney on the left", Laterality.LEFT),
        ("R pleural effusion", Laterality.RIGHT),
        ("right-sided effusion", Laterality.RIGHT),
        ("Lt. kidney", Laterality.LEFT),
        ("RML pneumonia", Laterality.RIGHT),
        ("bilateral effusions", Laterality.BILATERAL),
        ("both kidneys", Laterality.BILATERAL),
        ("kidneys", Laterality.BILATERAL),
        ("bibasilar atelectasis", Laterality.BILATERAL),
        ("kidney", None),
        ("left atrium", None),
        ("descending colon", None),
        ("left ventricular thrombus", None),
        ("leftward midline shift", None),
        ("ribs", None),
        ("L4 vertebra", None),
    ],
)
def test_the_side_is_the_side_of_the_body(text: str, side: Laterality | None) -> None:
    assert phrase_from_text(text).laterality is side


@pytest.mark.parametrize(
    ("forms"),
    [
        ("kidney", "kidneys"),
        ("calculus", "calculi"),
        ("opacity", "opacities"),
        ("mass", "masses"),
        ("metastasis", "metastases"),
        ("vertebra", "vertebrae"),
        ("edema", "oedema"),
        ("hemorrhage", "haemorrhages"),
        ("disc", "disks"),
        ("ventricle", "ventricles"),
    ],
)
def test_the_forms_of_a_word_meet(forms: tuple[str, str]) -> None:
    assert stem(forms[0]) == stem(forms[1])


def test_every_synonym_of_the_tables_names_its_concept() -> None:
    missed = []
    for one in concepts().values():
        for synonym in one.synonyms:
            text = synonym.lstrip("-").replace(" ~ ", " ")
            found = {
                mention.concept.key for mention in find_mentions(split_words(text))
            }
            if one.key not in found:
                missed.append((one.key, synonym, found))

    assert missed == []


@given(st.text(max_size=200))
def test_words_are_spans_and_gaps_fill_the_rest(text: str) -> None:
    words = split_words(text)

    position = 0
    for word in words:
        assert position <= word.end <= len(text)
        assert word.start < word.end
        position = word.start
    if words:
        assert text.endswith(words[-1].gap)
