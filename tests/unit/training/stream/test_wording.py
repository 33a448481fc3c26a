from __future__ import annotations

import numpy as np
import pytest
import torch

from model.config import MedGLIPConfig
from model.knowledge import load_knowledge
from tests.builders.shard_folder import make_members, make_record, make_region
from training.stream.picture import Drawn, draw_picture
from training.stream.truth import ask
from training.stream.wording import choose_phrases, word_pictures

SHAPE = (96, 128)
GREY = np.zeros((32, 48), dtype=np.uint8)


def _block(top, bottom, left, right):
    mask = np.zeros((32, 48), dtype=np.bool_)
    mask[top:bottom, left:right] = True
    return mask


def _picture(regions=(), **changes):
    record = make_record(regions, **changes)
    return draw_picture(
        make_members(record, GREY),
        config=MedGLIPConfig(),
        shape=SHAPE,
        drawn=Drawn(),
    )


LUNGS = _picture(
    [
        make_region("left lung", mask=_block(4, 28, 26, 44)),
        make_region("right lung", mask=_block(4, 28, 4, 22), weight=0.5),
        make_region("nodule", (30, 8, 36, 14)),
        make_region("cyst"),
    ],
    label_space=("left lung", "right lung", "nodule", "liver"),
)
LIVER = _picture([make_region("hepatic", mask=_block(8, 20, 8, 40), label="liver")])
NOTHING = _picture(modality="CT", body_part=None)


def _word(texts, pictures=(LUNGS, LIVER)):
    asked = [ask(text, text) for text in texts]
    return word_pictures(pictures, asked, np.random.default_rng(0), contrast_phrases=6)


def test_every_picture_answers_every_phrase():
    batch = _word(["lungs", "left lung", "liver", "nodule", "cyst", "spleen"])

    assert batch.masks.shape == (2, 6, *SHAPE)
    assert batch.masks.any((2, 3)).tolist() == [
        [True, True, False, True, False, False],
        [False, False, True, False, False, False],
    ]
    assert batch.known.tolist() == [
        [True, True, True, True, True, False],
        [False, False, True, False, False, False],
    ]
    assert batch.outlined[0].tolist() == [True, True, True, False, True, True]
    assert batch.weight[0].tolist() == [0.5, 1, 1, 1, 1, 1]
    assert batch.parent.tolist() == [-1, 0, -1, -1, -1, -1]
    assert "half of the chest" in batch.attributes[1]
    assert batch.body_part == ("CHEST", "CHEST")


def test_a_region_is_one_target_of_all_phrases_that_are_true_of_it():
    batch = _word(["lungs", "left lung", "nodule", "hepatic", "liver"])

    lungs, liver = batch.regions
    assert lungs.phrase.tolist() == [[1, 1, 0, 0, 0], [1, 0, 0, 0, 0], [0, 0, 1, 0, 0]]
    assert liver.phrase.tolist() == [[0, 0, 0, 1, 1]]
    assert torch.isnan(lungs.masks[2]).all()
    assert lungs.masks[0].shape == (SHAPE[0] // 2, SHAPE[1] // 2)
    for regions in batch.regions:
        for box, mask in zip(regions.boxes, regions.masks, strict=True):
            if torch.isnan(mask).any():
                continue
            rows, columns = torch.nonzero(mask, as_tuple=True)
            x, y, width, height = box.tolist()
            size = (mask.shape[0], mask.shape[1])
            assert (columns.min() / size[1]).item() == pytest.approx(
                x - width / 2, abs=1.5 / size[1]
            )
            assert ((rows.max() + 1) / size[0]).item() == pytest.approx(
                y + height / 2, abs=1.5 / size[0]
            )


def test_equal_numbers_mean_the_same_thing():
    batch = _word(["liver", "hepatic tissue", "spleen", "an odd thing"])

    numbers = batch.concept.tolist()
    assert numbers[0] == numbers[1] != numbers[2]
    assert numbers[3] == -1
    assert batch.contrast_concept is not None
    pairs = batch.contrast_concept.reshape(-1, 2)
    assert len(batch.contrast_phrases) == 6
    assert (pairs[:, 0] == pairs[:, 1]).all()
    meanings = load_knowledge().meaning
    for one, two in zip(*[iter(batch.contrast_phrases)] * 2, strict=True):
        assert one != two
        assert meanings(one) == meanings(two) is not None


def test_phrases_are_what_pictures_show_and_what_they_are_known_not_to_show():
    rng = np.random.default_rng(0)
    drawn = [choose_phrases([LUNGS, LIVER], rng, count=6) for _ in range(30)]

    things = {one.thing for asked in drawn for one in asked}
    assert things == {"lungs", ("nodule",), "cyst", "liver"}
    assert all(len(asked) <= 6 for asked in drawn)
    assert all(len({one.words for one in asked}) == len(asked) for asked in drawn)
    texts = {one.text for asked in drawn for one in asked}
    assert {"hepatic", "liver"} < texts  # names are varied, for absent things, too


def test_a_small_list_keeps_a_place_for_each_picture_and_for_absent_things():
    rng = np.random.default_rng(0)

    for _ in range(20):
        asked = choose_phrases([LUNGS, LIVER], rng, count=3)
        assert len(asked) == 3
        assert any(one.thing == "liver" for one in asked)
        assert any(one.thing in ("lungs", ("nodule",)) for one in asked)
        absent = word_pictures([LUNGS], asked, rng)
        assert (absent.known & ~absent.masks.any((2, 3))).any()


def test_pictures_of_which_nothing_is_known_make_a_batch_all_the_same():
    rng = np.random.default_rng(0)

    asked = choose_phrases([NOTHING], rng, count=4)
    batch = word_pictures([NOTHING], asked, rng)

    assert len(batch.phrases) == 1
    assert not batch.known.any()
    assert batch.regions[0].boxes.shape == (0, 4)
    assert batch.contrast_concept is None
