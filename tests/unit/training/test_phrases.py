from __future__ import annotations

import numpy as np
import pytest

from training.derived.volumes import STRUCTURES
from training.phrases import load_lexicon

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
