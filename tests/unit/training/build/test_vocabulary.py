from __future__ import annotations

import pytest

from training.build.vocabulary import (
    codes_of,
    contains,
    finding_code,
    is_lesion,
    is_paired,
    path_of,
    statements_of,
    synonyms_of,
)


def test_a_report_is_read_as_the_node_reads_it() -> None:
    text = "FINDINGS: Small left pleural effusion. No pneumothorax."

    found = [(one.text, one.status, one.side) for one in statements_of(text)]

    assert found == [
        ("small left pleural effusion", "present", "L"),
        ("pneumothorax", "absent", None),
    ]


@pytest.mark.parametrize(
    ("label", "lesion", "paired"),
    [
        ("liver", False, False),
        ("liver tumor", True, False),
        ("pleural effusion", True, True),
        ("left pleural effusion", True, False),
        ("kidney", False, True),
        ("left kidney", False, False),
        ("word of no meaning", False, False),
    ],
)
def test_labels_are_told_apart(label: str, lesion: bool, paired: bool) -> None:
    assert is_lesion(label) is lesion
    assert is_paired(label) is paired


def test_wordings_of_one_finding_share_their_code() -> None:
    assert finding_code("pleural effusion") == finding_code("small pleural effusions")
    assert finding_code("pleural effusion") != finding_code("pneumothorax")


def test_only_public_codes_are_written() -> None:
    assert codes_of("liver")["type"] == ("10200004", "SCT", "Liver")
    assert codes_of("word of no meaning") == {}


def test_parts_are_contained_in_their_whole() -> None:
    assert contains("kidneys", "left kidney")
    assert not contains("left kidney", "kidneys")
    assert contains("liver", "liver")
    assert not contains("liver", "spleen")
    assert contains("left ribs", "left rib 3")
    assert not contains("left rib 1", "left rib 3")
    assert not contains("left rib 1", "left ribs")


def test_synonyms_are_of_exactly_this_label() -> None:
    assert "left renal" in synonyms_of("left kidney")
    assert "left kidney" not in synonyms_of("left kidney")
    assert not any("right" in name for name in synonyms_of("left kidney"))
    assert not any("~" in name for name in synonyms_of("liver cyst"))
    assert synonyms_of("word of no meaning") == ()


def test_a_label_has_its_place_in_the_tree() -> None:
    assert path_of("left kidney")[-1] == "left kidney"
    assert len(path_of("left kidney")) == 3
    assert path_of("word of no meaning") == ()
