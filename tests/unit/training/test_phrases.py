from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from training.derived.volumes import STRUCTURES
from training.phrases import load_lexicon, may_mirror, swap_laterality, swap_side

LEXICON = load_lexicon()
HELD_OUT = {text for concept in LEXICON.concepts for text in concept.held_out}


def test_held_out_wordings_are_never_drawn():
    rng = np.random.default_rng(0)

    drawn = {LEXICON.draw(c, rng) for c in LEXICON.concepts for _ in range(100)}

    assert drawn
    assert not drawn & HELD_OUT


def test_held_out_wordings_are_no_training_wordings():
    trained = {text for c in LEXICON.concepts for text in LEXICON.wordings(c)}

    assert not trained & HELD_OUT
    assert {"hepatic parenchyma", "the liver is enlarged"} <= HELD_OUT


def test_every_drawn_wording_is_listed():
    rng = np.random.default_rng(1)

    for concept in LEXICON.concepts:
        listed = set(LEXICON.wordings(concept))
        assert {LEXICON.draw(concept, rng) for _ in range(20)} <= listed


@pytest.mark.parametrize("concept", LEXICON.concepts, ids=lambda c: c.name)
def test_a_concept_covers_known_structures_or_is_absent(concept):
    assert set(concept.members) <= set(STRUCTURES)
    assert (concept.kind == "absent") == (not concept.members)


def test_no_wording_names_two_concepts_with_the_same_text():
    seen: dict[str, str] = {}
    for concept in LEXICON.concepts:
        for name in concept.names:
            assert seen.setdefault(name, concept.name) == concept.name


def test_left_and_right_are_not_mixed():
    for concept in LEXICON.concepts:
        if concept.name.startswith("left "):
            assert not any(m.endswith("_right") for m in concept.members)
            assert not any("right" in text.split() for text in concept.names)


@pytest.mark.parametrize(
    ("text", "mirrored"),
    [
        ("left lung", "right lung"),
        ("Right-sided effusion", "Left-sided effusion"),
        ("LLL nodule, right base", "RLL nodule, left base"),
        ("midline shift from right to left", "midline shift from left to right"),
        ("upright radiograph, brightly", "upright radiograph, brightly"),
        ("liver", "liver"),
    ],
)
def test_a_mirrored_picture_swaps_left_and_right_words(text, mirrored):
    assert swap_laterality(text) == mirrored


WORDS = st.sampled_from(
    ["left", "Right", "RIGHT", "lung", "LUL", "rt", "upright", "of", ",", "-", "L1"]
)


@given(st.lists(WORDS).map(" ".join))
def test_mirroring_twice_gives_the_text_again(text):
    assert swap_laterality(swap_laterality(text)) == text


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("left lung", True),
        ("left lateral ventricle", True),
        ("left upper lobe", True),
        ("left ventricle", False),
        ("enlarged right atrium", False),
        ("left lobe of the liver", False),
        ("right middle lobe", False),
    ],
)
def test_a_side_that_is_part_of_a_name_forbids_mirroring(text, answer):
    assert may_mirror(text) is answer


def test_side_codes_change_places():
    assert [swap_side(s) for s in ("L", "R", "B", None)] == ["R", "L", "B", None]
