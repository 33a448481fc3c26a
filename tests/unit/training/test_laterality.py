from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from model.knowledge import Label, load_knowledge
from tests.builders.records import make_record, make_region
from training.laterality import is_mirrorable, mirror, side_of, swap_laterality
from training.rle import decode_rle, encode_rle

WORDS = ["left", "Right", "LEFT-sided", "lung", "bright", "upright", "RUL", "both", "."]


@settings(deadline=None)
@given(st.lists(st.sampled_from(WORDS)).map(" ".join) | st.text(max_size=40))
def test_swapping_sides_twice_changes_nothing(text: str) -> None:
    assert swap_laterality(swap_laterality(text)) == text


@pytest.mark.parametrize(
    ("text", "mirrored"),
    [
        ("left kidney", "right kidney"),
        ("Right-sided effusion, LEFT apex", "Left-sided effusion, RIGHT apex"),
        ("RLL nodule", "LLL nodule"),
        ("bright upright lefty", "bright upright lefty"),
        ("left_kidney", "right_kidney"),
        ("bilateral", "bilateral"),
    ],
)
def test_only_words_of_sides_are_swapped(text: str, mirrored: str) -> None:
    assert swap_laterality(text) == mirrored


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("left kidney", True),
        ("right pleural effusion", True),
        ("liver", False),
        ("right middle lobe", False),
        ("Cardiomegaly", False),
    ],
)
def test_what_the_body_has_once_has_no_mirror_image(text: str, expected: bool) -> None:
    assert is_mirrorable(text) is expected


@pytest.mark.parametrize(
    "text",
    [
        *("caecum", "cecal mass", "common bile duct", "bile duct", "CBD stone"),
        *("minor fissure", "horizontal fissure", "pylorus", "pyloric stenosis"),
        *("terminal ileum", "gallstone", "gallstones", "gall bladder", "hiatal hernia"),
        *("hiatus hernia", "LAD", "RCA", "left circumflex", "cholangitis", "jejunum"),
        *("small bowel loop", "hepatosplenomegaly", "pericardial effusion"),
        *("myocardium", "mitral valve", "interventricular septum", "pulmonary trunk"),
        *("nasogastric tube", "rectosigmoid junction", "hemicolectomy", "SMA"),
        *(
            "brachiocephalic trunk",
            "caudate lobe",
            "cystic duct",
            "windpipe",
            "liver_lesion",
        ),
    ],
)
def test_more_words_of_what_the_body_has_once(text: str) -> None:
    assert not is_mirrorable(text)


ONE_SIDED_CLASSES = {
    "abdominal vessels",
    "biliary tract",
    "bowel",
    "cardiac structures",
    "liver lesions",
    "liver structures",
    "pancreatic structures",
    "splenic structures",
    "thoracic vessels",
    "upper digestive tract",
}
PAIRED_OR_IN_THE_MIDDLE = {
    *("left iliac artery", "right iliac artery", "left iliac vein"),
    *("right iliac vein", "rectum", "pulmonary embolism"),
}
ONE_SIDED_LABELS = {"right middle lobe", "trachea", "oesophagus", "gastric tube"}


def is_one_sided(name: str, cls: str) -> bool:
    return name in ONE_SIDED_LABELS or (
        cls in ONE_SIDED_CLASSES and name not in PAIRED_OR_IN_THE_MIDDLE
    )


@pytest.mark.parametrize("label", load_knowledge().labels, ids=lambda one: one.name)
def test_no_known_label_is_mirrored_against_the_anatomy(label: Label) -> None:
    names = (label.name, *label.synonyms)

    if is_one_sided(label.name, label.cls):
        assert [name for name in names if is_mirrorable(name)] == []
    elif label.name.startswith(("left ", "right ")):
        assert [name for name in names if not is_mirrorable(name)] == []


@pytest.mark.parametrize(
    ("text", "side"),
    [("left lung", "L"), ("left atrium", None), ("both kidneys", "B"), ("", None)],
)
def test_a_side_is_a_side_of_the_body(text: str, side: str | None) -> None:
    assert side_of(text) == side


def test_a_flip_swaps_left_and_right_words_with_the_picture() -> None:
    pixels = np.arange(24, dtype=np.uint8).reshape(4, 6)
    mask = np.zeros((4, 6), bool)
    mask[1:3, 0:2] = True
    record = make_record(
        make_region(
            "right effusion",
            bbox=((0.0, 1.0, 2.0, 3.0),),
            mask=(encode_rle(mask),),
            laterality="R",
        ),
        make_region("left nodule", status="absent"),
        size=(4, 6),
        label_space=("right effusion", "left nodule"),
    )

    flipped = mirror(pixels, record)

    assert flipped is not None
    picture, said = flipped
    np.testing.assert_array_equal(picture, pixels[:, ::-1])
    region = said.regions[0]
    assert region.phrase == "left effusion"
    assert region.laterality == "L"
    assert region.bbox == ((4.0, 1.0, 6.0, 3.0),)
    assert region.mask is not None
    np.testing.assert_array_equal(decode_rle(region.mask[0]), mask[:, ::-1])
    assert said.label_space == ("left effusion", "right nodule")
    for one in said.regions:
        start, end = one.tokens_positive[0]
        assert said.caption[start:end] == one.phrase


def test_mirroring_twice_gives_the_picture_back() -> None:
    pixels = np.zeros((4, 6, 3), np.uint8)
    pixels[:, 0] = 7
    record = make_record(make_region("left lung", bbox=((0.5, 0, 2, 3),)), size=(4, 6))

    once = mirror(pixels, record)
    assert once is not None
    twice = mirror(*once)

    assert twice is not None
    np.testing.assert_array_equal(twice[0], pixels)
    assert twice[1] == replace(record, report=None)


def test_a_picture_of_a_liver_is_not_mirrored() -> None:
    record = make_record(make_region("liver", bbox=((0, 0, 2, 2),)), size=(4, 6))

    assert mirror(np.zeros((4, 6), np.uint8), record) is None
