from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import training
from model.knowledge import Knowledge, load_knowledge, read_labels
from model.knowledge.words import to_words

KNOWLEDGE = load_knowledge()
CONCEPTS = json.loads(
    (Path(training.__file__).parent / "knowledge" / "anatomy.json").read_text("utf-8")
)["concepts"]
ANATOMY = [name for name in CONCEPTS if name != "no picture"]
PHRASES = st.sampled_from(
    [
        wording
        for one in KNOWLEDGE.entries
        for wording in (one.name, *one.synonyms, *one.also)
        if "~" not in wording
    ]
).flatmap(lambda text: st.sampled_from([text, f"left {text}", f"the {text}s"]))


def test_the_tree_has_6_regions_38_classes_and_198_labels():
    assert len(KNOWLEDGE.regions) == 6
    assert len(KNOWLEDGE.classes) == 38
    assert len(KNOWLEDGE.labels) == 198
    assert {one.cls for one in KNOWLEDGE.labels} == {c.name for c in KNOWLEDGE.classes}


def test_no_wording_names_two_entries():
    wordings = KNOWLEDGE.wordings.table

    assert len(wordings) > 600
    doubled = replace(KNOWLEDGE.labels[0], name="another", synonyms=("liver",))
    with pytest.raises(ValueError, match="liver"):
        _ = Knowledge([*KNOWLEDGE.entries, doubled]).wordings


@pytest.mark.parametrize(
    ("label", "complaint"),
    [
        ({"part_of": "nowhere"}, "nowhere"),
        ({"colour": "red"}, "colour"),
        ({"intensity": {"US": "black", "or white": None}}, "or white"),
    ],
)
def test_a_wrong_entry_is_refused(monkeypatch, label, complaint):
    raw = {"regions": {"x": {"classes": {"y": {"labels": {"z": label}}}}}}
    monkeypatch.setattr("model.knowledge.labels.yaml.safe_load", lambda _: raw)

    with pytest.raises(ValueError, match=complaint):
        read_labels()


@pytest.mark.parametrize("name", ANATOMY)
def test_every_anatomical_concept_is_known_with_its_wordings(name):
    label = KNOWLEDGE.find(name)

    assert label is not None
    assert KNOWLEDGE.describe(name)
    for wording in CONCEPTS[name]["names"]:
        found = KNOWLEDGE.find(wording)
        assert found is not None or wording in _NOT_ANATOMY, wording
    if name.startswith(("left ", "right ")):
        assert label.side == name.split()[0]


_NOT_ANATOMY = {"midline shift", "lingula"}


@pytest.mark.parametrize("text", CONCEPTS["no picture"]["names"])
def test_what_is_no_anatomy_is_unknown(text):
    assert KNOWLEDGE.find(text) is None
    assert KNOWLEDGE.describe(text) == ""
    assert KNOWLEDGE.path(text) == ()


@pytest.mark.parametrize("one", KNOWLEDGE.labels, ids=lambda one: one.name)
def test_every_label_finds_itself_and_says_how_it_looks(one):
    found = KNOWLEDGE.find(one.name)

    assert found == one
    assert one.modalities
    assert one.path == (one.region, one.cls, one.name)
    for field in ("shape", "texture", "margin", "location", "intensity"):
        assert getattr(one.attributes, field), field
    assert len(one.attributes.sentence().split()) <= 40
    assert "{" not in one.attributes.sentence()


def test_seven_kinds_of_picture_have_labels():
    kinds = {kind for one in KNOWLEDGE.labels for kind in one.modalities}

    assert kinds >= {"CT", "MR", "X-ray", "US", "endoscopy", "dermoscopy", "fundus"}


@pytest.mark.parametrize(
    ("phrase", "name", "side"),
    [
        ("left kidney", "left kidney", "left"),
        ("the kidney on the right", "right kidney", "right"),
        ("both kidneys", "kidneys", None),
        ("left and right kidney", "kidneys", None),
        ("cyst in the left kidney", "kidney cyst", "left"),
        ("right lung, left kidney", "left kidney", "left"),
        ("RLL consolidation", "consolidation", "right"),
        ("LUL", "left upper lobe", "left"),
        ("left middle lobe", None, None),
        ("left ventricle", "left ventricle", None),
        ("left lateral ventricle", "left lateral ventricle", "left"),
        ("Small Left-Sided pleural effusions", "pleural effusion", "left"),
        ("cardiac silhouette is enlarged", "cardiomegaly", None),
        ("paranasal sinuses", "paranasal sinus", None),
        ("simple cyst", "cyst", None),
        ("cyst in the left eye", "left eyeball", "left"),
        ("deliver", None, None),
        ("", None, None),
    ],
)
def test_the_longest_wording_and_its_side_decide(phrase, name, side):
    label, place = KNOWLEDGE.find(phrase), KNOWLEDGE.place(phrase)

    assert (label.name if label else None) == name
    assert (place[1] if place else None) == side


@pytest.mark.parametrize(
    ("phrase", "meaning"),
    [
        ("hepatic tissue", ("liver", None)),
        ("The Liver", ("liver", None)),
        ("kidney on the left", ("left kidney", "left")),
        ("left-sided pleural effusion", ("pleural effusion", "left")),
        ("left ventricle", ("left ventricle", None)),
        ("enlarged liver", None),
        ("lung base", None),
        ("nodule in the left lung", None),
        ("a dog", None),
    ],
)
def test_only_a_bare_name_has_a_meaning(phrase, meaning):
    assert KNOWLEDGE.meaning(phrase) == meaning


def test_brightness_depends_on_the_modality():
    cyst = "left renal cyst"

    assert "dark like water" in KNOWLEDGE.describe(cyst, "CT")
    assert "T2 very bright" in KNOWLEDGE.describe(cyst, "MR")
    assert "black" in KNOWLEDGE.describe(cyst, "US")
    assert KNOWLEDGE.describe(cyst, "SM") == KNOWLEDGE.describe(cyst)
    assert "right flank" in KNOWLEDGE.describe("right kidney")


@pytest.mark.parametrize(
    ("child", "parent"),
    [
        ("left lung", "lungs"),
        ("lungs", "chest"),
        ("left lung", "left chest"),
        ("left upper lobe", "left lung"),
        ("left upper lobe", "upper lobes"),
        ("left upper lobe", "lungs"),
        ("upper lobes", "lungs"),
        ("liver cyst on the left", "left abdomen"),
        ("right middle lobe", "right lung"),
        ("left kidney", "kidneys"),
        ("renal cyst", "kidneys"),
        ("cyst in the left kidney", "left kidney"),
        ("T12", "thoracic spine"),
        ("thoracic spine", "spine"),
        ("abdominal aorta", "aorta"),
        ("enlarged heart", "heart"),
        ("gluteus medius on the left", "gluteal muscles"),
        ("optic cup", "optic disc"),
        ("left hip bone", "pelvic bones"),
    ],
)
def test_a_part_has_its_whole_as_parent_and_never_the_other_way(child, parent):
    assert KNOWLEDGE.parents([child, parent]) == [1, -1]


@pytest.mark.parametrize(
    ("one", "two"),
    [
        ("left lung", "right lung"),
        ("left kidney", "kidney on the left"),
        ("cyst of the left kidney", "right kidney"),
        ("left upper lobe", "right lung"),
        ("liver", "spleen"),
        ("liver", "a dog"),
    ],
)
def test_neighbours_and_synonyms_do_not_contain_each_other(one, two):
    assert KNOWLEDGE.parents([one, two]) == [-1, -1]


def test_the_nearest_whole_is_the_parent():
    phrases = ["chest", "lungs", "left lung", "left upper lobe", "heart"]

    assert KNOWLEDGE.parents(phrases) == [-1, 0, 1, 2, 0]


@settings(deadline=None)
@given(st.lists(PHRASES, max_size=8))
def test_parents_are_acyclic_and_transitive(phrases):
    parents = KNOWLEDGE.parents(phrases)

    for row, parent in enumerate(parents):
        assert parent != row
        if parent < 0:
            continue
        place, above = KNOWLEDGE.place(phrases[row]), KNOWLEDGE.place(phrases[parent])
        assert place is not None
        assert above is not None
        containing = KNOWLEDGE.containing(place)
        assert place not in containing
        assert set(KNOWLEDGE.containing(above)) <= set(containing)
        steps, at = 0, row
        while parents[at] >= 0:
            at, steps = parents[at], steps + 1
            assert steps <= len(phrases)


@settings(deadline=None)
@given(PHRASES)
def test_a_phrase_is_no_part_of_itself(phrase):
    assert KNOWLEDGE.parents([phrase]) == [-1]
    assert KNOWLEDGE.parents([phrase, phrase]) == [-1, -1]


@settings(deadline=None)
@given(PHRASES)
def test_singular_plural_and_case_do_not_matter(phrase):
    assert KNOWLEDGE.find(phrase.upper()) == KNOWLEDGE.find(phrase)
    assert to_words(f"the {phrase}") == to_words(phrase)
