from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.builders.tiny_dataset import make_spec
from training.build.findings import Finding
from training.build.regions import Draft
from training.build.settings import BuildSettings
from training.build.vocabulary import held_out_words, synonyms_of
from training.build.wording import PictureWords, Scene, word_picture
from training.phrases import load_lexicon

PLAIN = BuildSettings(synonym_share=0.0, template_share=0.0, sided=False)
LEFT = ((40.0, 10.0, 60.0, 30.0),)
"""On the right of an oriented picture: the patient's left."""
RIGHT = ((4.0, 10.0, 20.0, 30.0),)


def _scene(**changes: Any) -> Scene:
    values: dict[str, Any] = {
        "image_id": "tiny/one",
        "rows": 48,
        "columns": 64,
        "modality": "CR",
        "view": "PA",
        "is_volume": False,
        "spacing_mm": None,
        "label_space": None,
        "report": None,
        "spec": make_spec("tiny"),
    }
    return Scene(**{**values, **changes})


def _draft(label: str, boxes: Any = LEFT, **said: Any) -> Draft:
    status = said.pop("status", "present")
    ignore = said.pop("ignore", False)
    values = {"verbatim": None, "boxes": boxes, **said}
    finding = Finding(label=label, status=status, ignore=ignore, **values)
    return Draft(finding=finding, status=status, boxes=boxes, masks=None, ignore=ignore)


def _word(
    *drafts: Draft, how: BuildSettings = PLAIN, **scene: Any
) -> tuple[PictureWords, Counter[str]]:
    drops: Counter[str] = Counter()
    words = word_picture(drafts, _scene(**scene), settings=how, drops=drops)
    return words, +drops


LABELS = ["liver", "left kidney", "pleural effusion", "lung nodule", "Liver", "x . y"]


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.sampled_from(LABELS)
            | st.text(min_size=1, max_size=20).filter(str.strip),
            st.sampled_from([LEFT, RIGHT, ()]),
            st.sampled_from(["present", "absent", "uncertain"]),
            st.booleans(),
        ),
        max_size=6,
    ),
    st.none() | st.lists(st.sampled_from(LABELS), max_size=5).map(tuple),
    st.sampled_from([None, "No pneumothorax. Small left pleural effusion."]),
    st.text(max_size=3),
)
def test_every_phrase_stands_in_the_caption_where_its_span_says(
    drawn: list[tuple[str, Any, str, bool]],
    space: tuple[str, ...] | None,
    report: str | None,
    image_id: str,
) -> None:
    drafts = [
        _draft(label, boxes, status=status, verbatim=label if spoken else None)
        for label, boxes, status, spoken in drawn
    ]

    words, _ = _word(
        *drafts,
        how=BuildSettings(),
        label_space=space,
        report=report,
        image_id=image_id,
    )

    for region in words.regions:
        for start, end in region.tokens_positive:
            assert words.caption[start:end] == region.phrase
        assert region.phrase
    present = {one.phrase.casefold() for one in words.regions if one.status != "absent"}
    absent = {one.phrase.casefold() for one in words.regions if one.status == "absent"}
    assert not present & absent
    numbers = [one.region_id for one in words.regions]
    assert len(set(numbers)) == len(numbers)


def test_the_same_picture_is_always_worded_alike() -> None:
    drafts = [_draft("liver"), _draft("lung nodule", RIGHT)]

    one, _ = _word(*drafts, how=BuildSettings(), label_space=("liver", "spleen"))
    other, _ = _word(*drafts, how=BuildSettings(), label_space=("liver", "spleen"))

    assert one == other


def test_negatives_come_from_the_label_space_and_are_not_there() -> None:
    space = ("liver", "spleen", "pancreas", "colon", "duodenum", "stomach")

    words, _ = _word(_draft("liver"), label_space=space)

    absent = [one for one in words.regions if one.status == "absent"]
    assert len(absent) == PLAIN.negatives
    assert all(one.label in space[1:] and not one.bbox for one in absent)


def test_without_a_label_space_nothing_is_taken_for_absent() -> None:
    words, _ = _word(_draft("liver"))

    assert [one.status for one in words.regions] == ["present"]


def test_what_contains_something_present_is_not_denied() -> None:
    words, _ = _word(
        _draft("left kidney"), label_space=("left kidney", "kidneys", "spleen")
    )

    assert words.label_space == ("left kidney", "spleen")
    absent = {one.label for one in words.regions if one.status == "absent"}
    assert absent == {"spleen"}


def test_words_that_contradict_the_geometry_teach_nothing() -> None:
    words, drops = _word(_draft("left lung", RIGHT), _draft("right lung", RIGHT))

    assert [one.ignore for one in words.regions] == [True, False]
    assert drops == {
        "laterality contradicts the geometry, neither positive nor negative": 1
    }


def test_without_a_known_orientation_sides_are_believed() -> None:
    words, drops = _word(_draft("left lung", RIGHT), view="LATERAL")

    assert not words.regions[0].ignore
    assert not drops


def test_the_report_words_the_region_it_speaks_of() -> None:
    words, _ = _word(_draft("pleural effusion"), report="Small left pleural effusion.")

    assert words.regions[0].phrase == "small left pleural effusion"
    assert words.regions[0].label == "pleural effusion"


def test_what_a_report_denies_is_absent_and_what_it_states_is_not() -> None:
    words, _ = _word(
        report="No pneumothorax. Cardiomegaly.",
        label_space=("pneumothorax", "enlarged heart", "rib fracture"),
    )

    by_name = {one.phrase: one for one in words.regions}
    assert by_name["pneumothorax"].status == "absent"
    assert by_name["cardiomegaly"].ignore
    assert words.label_space == ("pneumothorax", "rib fracture")


def test_a_sentence_is_asked_as_the_node_would_ask_it() -> None:
    words, _ = _word(
        _draft("effusion", verbatim="There is a small left pleural effusion."),
        _draft("thing", verbatim="the round object beside the tree."),
    )

    assert words.regions[0].phrase == "small left pleural effusion"
    assert words.regions[1].phrase == "the round object beside the tree"


def test_a_sentence_that_denies_makes_a_negative() -> None:
    draft = _draft("pneumothorax", (), verbatim="No pneumothorax.", ignore=True)

    words, _ = _word(replace(draft, finding=replace(draft.finding, ignore=False)))

    assert words.regions[0].status == "absent"
    assert not words.regions[0].ignore
    assert words.regions[0].phrase == "pneumothorax"


@pytest.mark.parametrize(
    "sentence", ["Normal heart size.", "Lungs are clear.", "No significant findings."]
)
def test_a_normal_sentence_does_not_deny_what_it_speaks_of(sentence: str) -> None:
    words, _ = _word(_draft("normal", (), verbatim=sentence, status="absent"))

    assert [one.ignore for one in words.regions] == [True]


@pytest.mark.parametrize(
    ("verbatim", "codes"),
    [("pneumothorax", {}), ("Pneumothorax.", {"type": ("36118008", "SCT", "x")})],
)
def test_a_phrase_or_a_code_that_was_looked_for_in_vain_is_absent(
    verbatim: str, codes: dict[str, tuple[str, str, str]]
) -> None:
    draft = _draft("pneumothorax", (), verbatim=verbatim, status="absent", codes=codes)

    words, _ = _word(draft)

    assert [(one.status, one.ignore) for one in words.regions] == [("absent", False)]


def test_sides_are_named_where_the_geometry_shows_them() -> None:
    how = replace(PLAIN, sided=True)

    found = [
        _word(
            _draft("pleural effusion", boxes),
            how=how,
            image_id=f"tiny/{number}",
            label_space=("pleural effusion",),
        )[0]
        for number in range(12)
        for boxes in (LEFT, RIGHT)
    ]

    here = ("left pleural effusion", "right pleural effusion")
    for number, words in enumerate(found):
        side, other = here if number % 2 == 0 else here[::-1]
        named = {one.phrase: one.status for one in words.regions}
        assert named.get(side, "present") == "present"
        assert named.get(other, "absent") == "absent"
    phrases = {one.phrase for words in found for one in words.regions}
    assert phrases == {"pleural effusion", *here}


def test_a_phrase_of_a_whole_report_is_refused_and_counted() -> None:
    words, drops = _word(_draft("x", verbatim="word " * 400))

    assert not words.regions
    assert drops == {"phrase of more than 1000 characters": 1}


def test_wordings_held_out_for_evaluation_are_never_drawn() -> None:
    concepts = load_lexicon().concepts[:40]
    eager = BuildSettings(synonym_share=0.5, template_share=0.5, sided=False)

    drawn = {
        region.phrase
        for number, concept in enumerate(concepts)
        for region in _word(
            _draft(concept.name), how=eager, image_id=str(number), view=None
        )[0].regions
    }

    assert drawn
    assert not drawn & held_out_words()
    assert all(not set(synonyms_of(one.name)) & held_out_words() for one in concepts)


@pytest.mark.parametrize(
    ("label", "path"),
    [("liver", "abdomen"), ("pleural effusion", "chest"), ("polyp", None)],
)
def test_known_labels_get_their_place_in_the_tree_and_codes(
    label: str, path: str | None
) -> None:
    words, _ = _word(_draft(label))

    region = words.regions[0]
    if path is not None:
        assert path in region.label_path[0]
        assert region.level == len(region.label_path) - 1
        assert region.codes["category"][1] == "SCT"


def test_the_specification_goes_before_the_knowledge_file() -> None:
    spec = make_spec("tiny", label_paths={"liver": ("a", "b", "liver")})

    words, _ = _word(_draft("liver"), spec=spec)

    assert words.regions[0].label_path == ("a", "b", "liver")


def test_the_size_of_a_region_is_in_millimetres() -> None:
    words, _ = _word(_draft("liver"), spacing_mm=(0.5, 2.0))

    assert words.regions[0].attributes == {"size_mm": "40"}


def test_a_synonym_that_is_another_label_is_not_drawn() -> None:
    synonyms = synonyms_of("lung nodule")
    eager = BuildSettings(synonym_share=1.0, template_share=0.0, sided=False)

    words, _ = _word(
        _draft("lung nodule"), how=eager, label_space=("lung nodule", *synonyms[1:])
    )

    assert synonyms
    assert words.regions[0].phrase == synonyms[0]
