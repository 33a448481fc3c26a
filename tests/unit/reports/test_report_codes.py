"""The code tables: known to pydicom where they say so, well formed, attributable."""

from __future__ import annotations

import csv
from functools import cache
from importlib import resources

from hypothesis import given
from hypothesis import strategies as st
from pydicom.sr._cid_dict import cid_concepts
from pydicom.sr._concepts_dict import concepts as pydicom_concepts

from dicom_node.reports.codes import (
    PRIVATE_SCHEME,
    code_of,
    finding_of,
    private_code,
    unspecified_finding,
)
from dicom_node.reports.lexicon import ConceptKind, concept, concepts

_ALL = list(concepts().values())
_FINDINGS = [one for one in _ALL if one.kind is ConceptKind.FINDING]

_DIHEDRAL = (
    "0123456789123406789523401789563401289567401239567859876043216598710432"
    "765982104387659321049876543210"
)
_PERMUTATION = (
    "01234567891576283094580379614289160435279453126870428657390127938064157046913258"
)


def _verhoeff(digits: str) -> int:
    check = 0
    for position, digit in enumerate(reversed(digits)):
        permuted = int(_PERMUTATION[(position % 8) * 10 + int(digit)])
        check = int(_DIHEDRAL[check * 10 + permuted])
    return check


@cache
def _dictionary() -> dict[tuple[str, str], set[str]]:
    """Return what pydicom says that the codes of PS3.16 mean."""
    known: dict[tuple[str, str], set[str]] = {}
    for scheme in ("SCT", "DCM"):
        for codes in pydicom_concepts[scheme].values():
            for value, (meaning, _) in codes.items():
                plain = meaning.lower().removesuffix(" (disorder)")
                known.setdefault((scheme, value), set()).add(plain)
    return known


def _known_meanings(scheme: str, value: str) -> set[str]:
    return _dictionary().get((scheme, value), set())


def test_the_tables_are_as_large_as_they_claim() -> None:
    structures = [one for one in _ALL if one.kind is not ConceptKind.FINDING]

    assert len(_FINDINGS) >= 200
    assert len(structures) >= 200


def test_codes_of_the_dicom_subset_are_in_pydicoms_dictionary() -> None:
    wrong = [
        one.key
        for one in _ALL
        if one.in_dicom_subset
        and one.meaning.lower() not in _known_meanings(one.scheme, one.code_value)
    ]

    assert wrong == []
    assert sum(one.in_dicom_subset for one in _ALL) > 300


def test_codes_outside_the_subset_are_flagged_and_have_a_valid_check_digit() -> None:
    outside = [one for one in _ALL if one.scheme == "SCT" and not one.in_dicom_subset]

    assert [one.key for one in outside if _known_meanings("SCT", one.code_value)] == []
    assert [one.key for one in outside if _verhoeff(one.code_value) != 0] == []


def test_what_has_no_public_code_has_a_private_one() -> None:
    for one in _ALL:
        assert (one.scheme == PRIVATE_SCHEME) == (not one.code_value)
        assert code_of(one).value


def test_the_check_digit_finds_a_wrong_digit() -> None:
    assert _verhoeff("10200004") == 0
    assert _verhoeff("10200014") != 0


def test_every_concept_has_complete_codes() -> None:
    categories = {
        value
        for name in cid_concepts[7150]["SCT"]
        for value in pydicom_concepts["SCT"][name]
    }

    for one in _ALL:
        finding = finding_of(one)
        for code in (finding.category, finding.type, finding.finding, finding.site):
            if code is not None:
                assert code.scheme
                assert 1 <= len(code.value) <= 16
                assert 1 <= len(code.meaning) <= 64
        assert finding.finding == code_of(one)
        assert finding.category.value in categories


def test_types_of_the_table_are_in_pydicoms_dictionary() -> None:
    source = resources.files("dicom_node.reports") / "data" / "types.csv"
    for row in csv.DictReader(source.read_text(encoding="utf-8").splitlines()):
        if row["code"]:
            known = _known_meanings(row["scheme"], row["code"])
            assert row["meaning"].lower() in known


def test_codes_are_unique_among_structures() -> None:
    codes = [code_of(one) for one in _ALL if one.kind is not ConceptKind.FINDING]

    assert len(codes) == len(set(codes))


def test_an_organ_finding_is_outlined_as_its_organ() -> None:
    finding = finding_of(concept("hepatomegaly"))

    assert finding.category.meaning == "Anatomical Structure"
    assert finding.type.meaning == "Liver"
    assert finding.finding.meaning == "Hepatomegaly"
    assert finding.site == finding.type


def test_a_lesion_keeps_its_own_type_and_takes_its_place_from_the_report() -> None:
    finding = finding_of(concept("nodule"), concept("lung_upper_lobe"))

    assert finding.category.meaning == "Morphologically Abnormal Structure"
    assert finding.type.value == "27925004"
    assert finding.site is not None
    assert finding.site.meaning == "Upper lobe of lung"


def test_a_device_is_a_physical_object() -> None:
    finding = finding_of(concept("endotracheal_tube"))

    assert finding.category.value == "260787004"
    assert finding.type.value == "26412008"


@given(st.text(max_size=100))
def test_private_codes_are_short_and_the_same_every_time(text: str) -> None:
    code = private_code(text, text or "x")

    assert code.scheme == PRIVATE_SCHEME
    assert len(code.value) == 14
    assert code.value.isascii()
    assert len(code.meaning) <= 64
    assert code == private_code(text, text or "x")


def test_a_private_code_does_not_mind_case_and_plural() -> None:
    assert private_code("Odd Blobs", "x") == private_code("odd blob", "x")
    assert private_code("odd blob", "x") != private_code("even blob", "x")


def test_words_outside_the_lexicon_do_not_get_into_the_code_meaning() -> None:
    finding = unspecified_finding("Mrs Miller's shadow", concept("liver"))

    assert finding.finding.meaning == "Unspecified finding of liver"
    assert finding.site is not None
    assert finding.site.meaning == "Liver"
    assert "iller" not in repr(finding)
