from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from model.config import MedGLIPConfig
from model.processor import Processor, prefix_text
from tests.builders.tiny_model import TINY

BERT = replace(TINY, text_encoder="bert")


class Told:
    """A knowledge file of two lines."""

    def describe(self, phrase, modality=None):
        return f"bright round thing {modality or ''}".strip() * (phrase == "liver")

    def parents(self, phrases):
        return [
            phrases.index("lungs") if p == "left lung" and "lungs" in phrases else -1
            for p in phrases
        ]


@pytest.fixture(scope="module")
def processor() -> Processor:
    return Processor(TINY, knowledge=Told())


def test_phrases_become_states_of_their_tokens(processor):
    text = processor.read(["liver", "the left lung is clear"])

    assert text.hidden.shape == (*text.mask.shape, TINY.text_hidden)
    assert text.input_ids[:, 0].tolist() == [101, 101]
    assert text.mask.sum(1).tolist() == [3, 7]
    assert (text.hidden[~text.mask] == 0).all()


def test_a_phrase_is_encoded_once(processor):
    alone = processor.read(["spleen"]).hidden

    in_company = processor.read(["the aorta is wide", "spleen"])

    assert torch.equal(alone[0], in_company.hidden[1][in_company.mask[1]])


def test_what_is_known_is_read_and_what_is_not_is_a_row_of_false(processor):
    text = processor.read(["liver", "spleen"], modality=["CT"])

    assert text.attribute_mask.any(1).tolist() == [True, False]
    assert text.attributes.shape == (*text.attribute_mask.shape, TINY.text_hidden)


def test_one_modality_asks_for_its_own_description(processor):
    assert processor.describe(["liver"], modality=["CT", "CT"]) == [
        "bright round thing CT"
    ]
    assert processor.describe(["liver"], modality=["CT", "MR"]) == [
        "bright round thing"
    ]


def test_given_attributes_and_parents_are_taken(processor):
    parent = torch.tensor([1, -1])

    text = processor.read(["a", "b"], attributes=["", "wide"], parent=parent)

    assert text.attribute_mask.any(1).tolist() == [False, True]
    assert text.parent is parent


def test_a_parent_among_the_phrases_is_found(processor):
    text = processor.read(["left lung", "liver", "lungs"])

    assert text.parent.tolist() == [2, -1, -1]


@pytest.mark.parametrize(
    ("modality", "part", "words"),
    [
        ("CT", "ABDOMEN", "ct abdomen"),
        ("MR", None, "mr"),
        ("dx", "CHEST", "radiograph chest"),
        ("??", "", "image"),
        ("US", "LOWER_LEG", "ultrasound lower leg"),
    ],
)
def test_the_prefix_says_what_kind_of_picture_it_is(modality, part, words):
    assert prefix_text(modality, part) == words


def test_every_picture_has_its_own_prefix(processor):
    text = processor.read(["liver"], modality=["CT", "MR"], body_part=["ABDOMEN", None])

    assert text.prefix_mask.sum(1).tolist() == [4, 3]  # with [CLS] and [SEP]


def test_switches_leave_out_what_nobody_reads():
    bare = Processor(
        replace(TINY, attribute_bank=False, text_prefix=False, hierarchy=False)
    )

    text = bare.read(["left lung", "lungs"], modality=["CT"])

    assert text.attributes is None
    assert text.prefix is None
    assert text.parent is None
    assert bare.parents(["left lung", "lungs"]) == [-1, -1]


def test_an_empty_phrase_keeps_its_delimiters(processor):
    text = processor.read([""])

    assert text.mask.tolist() == [[True, True]]


def test_no_phrases_are_no_rows(processor):
    text = processor.read([], modality=["CT"])

    assert len(text) == 0
    assert text.hidden.shape[0] == text.attributes.shape[0] == 0


@pytest.mark.parametrize(
    "lists",
    [
        {"modality": ["CT"], "body_part": ["CHEST", None]},
        {"attributes": ["", ""]},
        {"parent": torch.tensor([-1, -1])},
    ],
)
def test_lists_that_do_not_belong_together_are_refused(processor, lists):
    with pytest.raises(ValueError, match="2 "):
        processor.read(["liver"], **lists)


def test_a_trained_encoder_reads_sub_sentences_without_inner_stops():
    text = Processor(BERT, knowledge=Told()).read(["Liver.", "nodule of 2.5 cm?"])

    assert text.hidden is None
    assert text.attributes is None
    assert text.attribute_ids is not None
    for row, mask in zip(text.input_ids, text.mask, strict=True):
        assert row[mask][-1] == 1012
        assert not (row[mask][:-1] == 1012).any()
        assert not torch.isin(row[mask], torch.tensor([101, 102, 1029])).any()


def test_an_endless_phrase_is_cut_but_closed():
    text = Processor(BERT, knowledge=Told()).read(["liver " * 500])

    assert text.mask.shape[1] == BERT.max_phrase_tokens
    assert text.input_ids[0, -1] == 1012


def test_the_shipped_knowledge_file_is_read():
    processor = Processor(MedGLIPConfig.tiny())

    assert processor.describe(["liver"]) != [""]
    assert processor.parents(["left lung", "lungs"]) == [1, -1]


def test_a_batch_moves_as_a_whole(processor):
    text = processor.read(["liver"], modality=["CT"]).to("meta")

    assert {
        value.device.type
        for value in vars(text).values()
        if isinstance(value, torch.Tensor)
    } == {"meta"}
