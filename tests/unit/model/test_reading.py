from __future__ import annotations

import pytest
import torch

from model.inference import GroundingModel
from model.reading import PhraseReader
from tests.builders.tiny_model import make_grounding_model, make_model, make_stack

PHRASES = ["liver", "left kidney", "small nodule in the right upper lobe"]
HOW = {"modality": "CT", "body_part": "ABDOMEN", "device": "cpu"}


@pytest.fixture
def counted(monkeypatch):
    """A model of its own, and how often each side of it was asked."""
    grounding = GroundingModel(make_grounding_model().network, sha256="0" * 64)
    counts = {"texts": 0, "readings": 0, "pictures": 0}
    encoder, network = grounding.processor._encoder, grounding.network
    states, read, see = encoder.states, network.read, network.see

    def count_states(rows):
        counts["texts"] += len(rows)
        return states(rows)

    def count_read(text):
        counts["readings"] += len(text)
        return read(text)

    def count_see(pixels, modality):
        counts["pictures"] += len(pixels)
        return see(pixels, modality)

    monkeypatch.setattr(encoder, "states", count_states)
    monkeypatch.setattr(network, "read", count_read)
    monkeypatch.setattr(network, "see", count_see)
    return grounding, counts


def test_text_is_encoded_once_for_all_series_and_studies(counted):
    grounding, counts = counted
    grounding.ground(make_stack(3, 64, 64), PHRASES)
    first = dict(counts)
    assert first["readings"] == len(PHRASES)
    assert first["texts"] > 0

    grounding.ground(make_stack(4, 48, 64, seed=1), PHRASES)
    grounding.ground(make_stack(2, 48, 48, seed=2), [PHRASES[1], "aorta"])

    assert counts["readings"] == len(PHRASES) + 1
    assert counts["pictures"] > first["pictures"]


def test_another_kind_of_picture_is_another_prompt(counted):
    grounding, counts = counted
    grounding.ground(make_stack(2, 64, 64), ["liver"])

    grounding.ground(make_stack(2, 64, 64, modality="MR"), ["liver"])

    assert counts["readings"] == 2


def test_a_phrase_is_read_alike_in_any_company():
    grounding = make_grounding_model()
    reader = PhraseReader(grounding.network, grounding.processor)
    alone = [reader.read([phrase], **HOW) for phrase in PHRASES]
    reader.forget()

    together = reader.read(PHRASES, **HOW)

    for row, one in enumerate(alone):
        length = one.states.shape[1]
        assert torch.equal(one.vectors[0], together.vectors[row])
        assert torch.equal(one.states[0], together.states[row, :length])
        assert torch.equal(one.words[0], together.words[row, :length])
        assert not together.tokens[row, length:].any()


def test_a_network_that_trains_its_text_reads_the_same_in_one_go():
    network = make_model(
        text_encoder="bert", bert_layers=1, bert_heads=2, bert_intermediate=32,
        text_hidden=32,
    )  # fmt: skip
    grounding = GroundingModel(network, sha256="0" * 64)
    text = grounding.processor.read(PHRASES, modality=("CT",), body_part=("ABDOMEN",))
    with torch.no_grad():
        whole = network.read(text)

    found = PhraseReader(network, grounding.processor).read(PHRASES, **HOW)

    assert torch.allclose(found.vectors, whole.vectors, atol=1e-5)
    assert torch.allclose(found.opening, whole.opening, atol=1e-5)
    assert torch.allclose(found.prefix, whole.prefix, atol=1e-5)
    assert torch.equal(found.words, whole.words)


def test_words_are_not_kept():
    grounding = make_grounding_model()
    reader = PhraseReader(grounding.network, grounding.processor)

    reader.read(["Doe has a nodule"], **HOW)

    assert all(isinstance(key, bytes) and len(key) == 32 for key in reader._readings)
    assert "Doe" not in repr(list(reader._readings))
