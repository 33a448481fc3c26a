from __future__ import annotations

from pathlib import Path

import pydicom
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dicom_node.config import RuleSettings
from dicom_node.errors import CannotUnderstandError, RuleError
from dicom_node.records import StoredInstance
from dicom_node.rules import Decision, RuleBook, read_tags, study_tags, try_rules
from tests.builders.dicom_series import make_ct_series

CT = {"Modality": "CT", "SliceThickness": 2.5, "ImageType": ("ORIGINAL", "AXIAL")}
SCOUT = {"Modality": "CT", "ImageType": ("ORIGINAL", "LOCALIZER")}


def rule(when: str, name: str = "one", **options: object) -> RuleSettings:
    return RuleSettings.model_validate({"name": name, "when": when, **options})


@pytest.mark.parametrize(
    ("when", "tags", "fits"),
    [
        ('Modality == "CT"', CT, True),
        ('Modality == "MR"', CT, False),
        ('Modality in ["MR", "CT"]', CT, True),
        ("SliceThickness < 3", CT, True),
        ("SliceThickness < 3", SCOUT, False),
        ('"AXIAL" in ImageType', CT, True),
        ('"AXIAL" in ImageType', {}, False),
        ('StudyDescription =~ "(?i).*chest.*"', {"StudyDescription": "CT Chest"}, True),
        ('StudyDescription =~ "(?i).*chest.*"', {}, False),
        ("StudyDescription == null", CT, True),
        ('not (Modality == "MR")', CT, True),
        ("true", {}, True),
    ],
)
def test_an_expression_is_about_dicom_keywords(when, tags, fits):
    assert (RuleBook([rule(when)]).decide([tags]).rule == "one") is fits


def test_the_first_rule_that_fits_counts():
    book = RuleBook(
        [
            rule('Modality == "MR"', "mr"),
            rule('Modality == "CT"', "ct", model="big", priority="low", off_peak=True),
            rule("true", "rest", priority="urgent"),
        ]
    )

    decision, steps = book.trace([CT])

    assert decision == Decision("ct", True, "big", "low", True)
    assert [(one.rule, one.is_match) for one in steps] == [("mr", False), ("ct", True)]


def test_a_study_that_no_rule_fits_is_processed_by_the_default_model():
    assert RuleBook([rule('Modality == "MR"')]).decide([CT]) == Decision()
    assert RuleBook([]).decide([CT]) == Decision()


def test_a_localizer_does_not_take_its_study_along():
    book = RuleBook([rule('"LOCALIZER" in ImageType', action="ignore")])

    assert book.decide([SCOUT, CT]).is_processed
    assert not book.decide([SCOUT]).is_processed


def test_a_report_does_not_undo_a_rule_that_ignores_a_modality():
    book = RuleBook([rule('Modality == "MR"', action="ignore")])
    image, report = {"Modality": "MR", "Rows": 256.0}, {"Modality": "SR"}

    assert not book.decide([image, report]).is_processed
    assert book.decide([image, {"Modality": "CT", "Rows": 512.0}]).is_processed
    assert book.decide([report]).is_processed


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_a_number_that_is_none_is_absent(tmp_path, value):
    make_ct_series(tmp_path, slices=1, rows=16, columns=16)
    (path,) = tmp_path.rglob("*.dcm")
    ds = pydicom.dcmread(path)
    ds.CTDIvol = value
    ds.save_as(path)

    tags = read_tags(path)

    assert "CTDIvol" not in tags
    assert not RuleBook([rule("CTDIvol < 5")]).decide([tags]).rule


@given(
    value=st.one_of(
        st.floats(allow_nan=True), st.text(max_size=5), st.none(), st.just(())
    )
)
def test_no_value_stops_the_rules(value):
    book = RuleBook([rule('SliceThickness < 3 and Modality == "CT"')])

    book.decide([{"SliceThickness": value, "Modality": "CT"}])


def test_one_series_is_enough_for_a_rule_that_processes():
    book = RuleBook([rule("SliceThickness < 3", priority="urgent")])

    assert book.decide([SCOUT, CT]).priority == "urgent"


def test_a_rule_that_cannot_be_evaluated_does_not_fit_and_says_what_is_absent():
    _, steps = RuleBook([rule("SliceThickness < 3")]).trace([SCOUT])

    assert (steps[0].is_match, steps[0].trouble) == (False, "absent: SliceThickness")


@pytest.mark.parametrize(
    ("when", "what"),
    [
        ('Modalty == "CT"', "Modalty is not a DICOM keyword"),
        ("Modality > 3", "data type mismatch"),
        ("Modality ==", "syntax error"),
        ('PixelData == "x"', "PixelData is not a DICOM keyword"),
        ('Modality.__class__ == "x"', "__class__"),
        ('__import__("os")', "rules.one.when"),
    ],
)
def test_a_rule_that_cannot_be_understood_is_named(when, what):
    with pytest.raises(RuleError, match=r"rules\.one\.when") as caught:
        RuleBook([rule(when)])

    assert what in str(caught.value)


@given(text=st.text(max_size=40))
def test_any_text_is_a_rule_or_an_error(text):
    try:
        book = RuleBook([rule(text)])
    except RuleError:
        return
    book.decide([CT, {}])


def test_the_tags_of_a_file_are_texts_numbers_and_lists(tmp_path):
    make_ct_series(tmp_path, slices=1, rows=16, columns=16)
    (path,) = tmp_path.rglob("*.dcm")

    tags = read_tags(path)

    assert tags["Modality"] == "CT"
    assert tags["Rows"] == 16.0
    assert isinstance(tags["PixelSpacing"], tuple)
    assert "PixelData" not in tags


def test_a_file_that_is_no_dicom_file_is_told_without_its_content(tmp_path):
    path = tmp_path / "note.txt"
    path.write_text("ZZCANARY")

    with pytest.raises(CannotUnderstandError, match="not a DICOM file") as caught:
        try_rules([path], [])

    assert "ZZCANARY" not in str(caught.value)


def test_one_instance_of_each_series_is_looked_at(tmp_path):
    made = make_ct_series(tmp_path / "a", slices=3, rows=16, columns=16)
    other = [
        StoredInstance(
            sop_instance_uid="1.9",
            sop_class_uid="1.2",
            transfer_syntax_uid="1.2.840.10008.1.2.1",
            series_instance_uid="1.2.9",
            path=Path(tmp_path / "gone.dcm"),
            sha256="0" * 64,
        )
    ]

    assert len(study_tags([*made.instances, *other])) == 1
