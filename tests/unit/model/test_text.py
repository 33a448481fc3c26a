from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from model.text import TextEncoder
from tests.builders.tiny_model import TINY, make_model


@pytest.fixture(scope="module")
def encoder() -> TextEncoder:
    return TextEncoder(TINY)


def test_other_weights_are_refused():
    with pytest.raises(ValueError, match="SHA-256"):
        TextEncoder(replace(TINY, text_sha256="0" * 64))


def test_company_does_not_change_a_phrase(encoder):
    adapter = make_model().phrase_adapter
    long = "small hypodensity in the left lobe of the liver, unchanged since last year"

    alone = adapter(*encoder.encode(["spleen"]))[0]
    together = adapter(*encoder.encode(["spleen", long]))[0]

    assert torch.allclose(alone, together, atol=1e-5)


def test_case_space_and_full_stop_do_not_matter(encoder):
    first = encoder.encode(["The liver  is enlarged."])[0]

    assert torch.equal(first, encoder.encode(["the liver is enlarged"])[0])


def test_no_phrases_are_no_rows(encoder):
    hidden, mask = encoder.encode([])

    assert hidden.shape[0] == mask.shape[0] == 0


def test_an_endless_phrase_is_cut(encoder):
    hidden, _ = encoder.encode(["liver " * 2000])

    assert hidden.shape[1] == TINY.max_phrase_tokens


def test_vectors_have_unit_length(encoder):
    vectors = make_model().phrase_adapter(*encoder.encode(["aorta", "left kidney"]))

    assert vectors.norm(dim=-1).tolist() == pytest.approx([1.0, 1.0], abs=1e-5)
