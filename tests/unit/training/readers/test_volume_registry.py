"""Datasets of volumes are registered with phrases that the model knows."""

from __future__ import annotations

import pytest

from model.knowledge import load_knowledge
from training.registry import load_registry

KNOWN = (
    "amos-2022",
    "brats-2021",
    "brats-2023-gli",
    "btcv",
    "camus",
    "lidc-idri",
    "msd-liver",
    "msd-spleen",
    "totalsegmentator",
    "totalsegmentator-mri",
)
UNKNOWN_PHRASES = {
    "brachiocephalic trunk",
    "left subclavian artery",
    "prostate or uterus",
    "right subclavian artery",
    "tumor core",
}
"""What the tree of labels has no place for."""


@pytest.mark.parametrize("name", KNOWN)
def test_phrases_have_a_place_in_the_tree_of_labels(name: str) -> None:
    knowledge = load_knowledge()

    phrases = load_registry()[name].label_map.values()

    lost = {phrase for phrase in phrases if knowledge.find(phrase) is None}
    assert lost <= UNKNOWN_PHRASES


@pytest.mark.parametrize("name", KNOWN)
def test_sides_are_kept_from_label_to_phrase(name: str) -> None:
    for label, phrase in load_registry()[name].label_map.items():
        words = label.lower().replace("_", " ").split()
        for side in ("left", "right"):
            assert (side in words) == (side in phrase.split())


def test_what_is_from_memory_is_said() -> None:
    registry = load_registry()

    for name in (*KNOWN, "rexgroundingct", "deeplesion", "m3d-refseg"):
        licence = registry[name].licence
        assert licence.attribution
        assert licence.url
        said = "memory" in registry[name].notes
        assert said == (name != "lidc-idri")
