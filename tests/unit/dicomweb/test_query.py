from __future__ import annotations

import re
from fnmatch import fnmatchcase

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dicom_node.dicomweb.query import MAX_LIMIT, Condition, Query, Value, parse_query
from dicom_node.dicomweb.search import KNOWN
from dicom_node.errors import DicomwebError


def parse(*parameters: tuple[str, str]) -> Query:
    return parse_query(parameters, known=KNOWN["instances"])


@pytest.mark.parametrize(
    ("name", "wanted", "value", "expected"),
    [
        ("PatientID", "A1", "A1", True),
        ("PatientID", "A1", "a1", False),
        ("PatientID", "A*", "A1", True),
        ("PatientID", "A?", "A12", False),
        ("PatientID", "A[1]", "A1", False),
        ("PatientID", "A[1]*", "A[1]x", True),
        ("PatientName", "doe^j*", "DOE^JOHN", True),
        ("PatientName", "Doe", "Doe^^^", True),
        ("PatientName", "山田*", "Yamada^Tarou=山田^太郎", True),
        ("PatientName", "Smith", "Doe^John", False),
        ("StudyDate", "20260101", "20260101", True),
        ("StudyDate", "20260101-20260131", "20260115", True),
        ("StudyDate", "20260101-20260131", "20260201", False),
        ("StudyDate", "20260101-", "20270101", True),
        ("StudyDate", "-20260101", "20260102", False),
        ("StudyDate", "20260101", None, False),
        ("StudyTime", "10-12", "1159", True),
        ("StudyTime", "10:00-11:00", "100000.5", True),
        ("StudyTime", "1000-1100", "110500", False),
        ("StudyInstanceUID", "1.2,1.3", "1.3", True),
        ("StudyInstanceUID", r"1.2\1.3", "1.2", True),
        ("StudyInstanceUID", "1.2", "1.2.3", False),
        ("InstanceNumber", "7", 7, True),
        ("InstanceNumber", "07", 7, True),
        ("InstanceNumber", "x", 7, False),
        ("ModalitiesInStudy", "CT", ("CT", "SEG"), True),
        ("ModalitiesInStudy", "MR", ("CT", "SEG"), False),
        ("ModalitiesInStudy", r"MR\SEG", ("CT", "SEG"), True),
        ("StudyDescription", "", None, True),
        ("StudyDescription", "*", None, True),
        ("00100020", "A1", "A1", True),
        ("0020000d", "1.2", "1.2", True),
    ],
)
def test_a_value_matches_as_the_standard_says(
    name: str, wanted: str, value: Value, expected: bool
) -> None:
    (condition,) = parse((name, wanted)).conditions

    assert condition.holds(value) is expected


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("NoSuchKeyword", "x"),
        ("../etc", "x"),
        ("StudyDate", "yesterday"),
        ("StudyDate", "2026-01-01"),
        ("StudyDate", "-"),
        ("StudyTime", "noon"),
        ("StudyInstanceUID", "1.2; drop"),
        ("limit", "-1"),
        ("offset", "many"),
        ("includefield", "NoSuchKeyword"),
        ("PatientID", "x" * 5000),
    ],
)
def test_what_cannot_be_understood_is_refused_without_quoting_it(
    name: str, value: str
) -> None:
    with pytest.raises(DicomwebError) as raised:
        parse((name, value))

    assert value not in str(raised.value) or len(value) < 3


def test_attributes_that_are_not_kept_are_left_out_with_a_warning() -> None:
    query = parse(("SliceThickness", "5"), ("PatientID", "A1"))

    assert [one.keyword for one in query.conditions] == ["PatientID"]
    assert query.warnings == ("SliceThickness cannot be matched and was left out",)


def test_fuzzy_matching_is_declined_with_a_warning() -> None:
    assert "fuzzymatching" in parse(("fuzzymatching", "true")).warnings[0]
    assert parse(("fuzzymatching", "false")).warnings == ()


def test_paging_is_read_and_kept_within_bounds() -> None:
    query = parse(("limit", "1000000"), ("offset", "12"))

    assert (query.limit, query.offset) == (MAX_LIMIT, 12)
    assert str(MAX_LIMIT) in query.warnings[0]


def test_fields_are_included_by_keyword_and_tag() -> None:
    query = parse(("includefield", "00081030,SliceThickness"), ("includefield", "all"))

    assert query.include == {"StudyDescription", "SliceThickness"}
    assert query.includes_all


@given(st.text("ab*?[]!.^=", max_size=12), st.text("ab[]!.", max_size=12))
def test_wildcards_match_as_a_simple_matcher_does(wanted: str, value: str) -> None:
    condition = Condition("PatientID", "LO", (wanted,))
    simple = re.sub(r"\[", "[[]", wanted.rstrip("^ "))

    is_match = fnmatchcase(value, simple) if value else False

    assert condition.holds(value) is (is_match or condition.is_universal)


def test_many_wildcards_cost_no_time() -> None:
    condition = Condition("PatientID", "LO", ("*a" * 500 + "b",))

    assert not condition.holds("a" * 2000)


@given(
    st.lists(
        st.tuples(
            st.sampled_from([*KNOWN["instances"], "limit", "includefield", "x.y"]),
            st.text(max_size=20),
        ),
        max_size=6,
    )
)
def test_any_query_is_read_or_refused(parameters: list[tuple[str, str]]) -> None:
    try:
        query = parse(*parameters)
    except DicomwebError:
        return

    for one in query.conditions:
        one.holds("anything")
