"""Every switch of the configuration does what it says, and nothing else."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from tests.builders.tiny_model import TINY, make_model, make_text

ASKED = torch.tensor([[0, 1, 2], [3, 4, -1]])


@pytest.fixture(scope="module")
def pixels() -> torch.Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.randn(2, TINY.input_channels, 32, 48, generator=generator)


def stir(model: torch.nn.Module) -> torch.nn.Module:
    """Move every weight a little, so that no gate is at zero."""
    generator = torch.Generator().manual_seed(4)
    with torch.no_grad():
        for weight in model.parameters():
            weight.add_(torch.randn(weight.shape, generator=generator) * 0.05)
    return model


CT, MR = torch.tensor([0, 0]), torch.tensor([1, 1])


@torch.no_grad()
@pytest.mark.parametrize("film", [True, False])
def test_only_film_lets_the_modality_into_the_trunk(film, pixels):
    model = stir(make_model(film=film))

    same = all(
        torch.equal(one, other)
        for one, other in zip(model.see(pixels, CT), model.see(pixels, MR), strict=True)
    )

    assert same is not film


@torch.no_grad()
@pytest.mark.parametrize("tokens", [True, False])
def test_only_modality_tokens_let_the_modality_into_the_core(tokens, pixels):
    model = stir(make_model(film=False, modality_tokens=tokens))
    text = make_text(pictures=2)

    first = model(pixels, CT, text, asked=ASKED)
    other = model(pixels, MR, text, asked=ASKED)

    assert torch.equal(first.mask_logits, other.mask_logits)
    same = torch.equal(first.detections.logits, other.detections.logits)
    assert same is not tokens


@torch.no_grad()
def test_the_prefix_changes_detections_and_nothing_dense(pixels):
    model = stir(make_model())
    text = make_text(pictures=2)
    another = replace(text, prefix=text.prefix.flip(1) * 2)
    without = replace(text, prefix=None, prefix_mask=None)

    answers = [model(pixels, CT, t, asked=ASKED) for t in (text, another, without)]

    for answer in answers[1:]:
        assert torch.equal(answers[0].mask_logits, answer.mask_logits)
        assert not torch.allclose(
            answers[0].detections.logits, answer.detections.logits, atol=1e-4
        )


@torch.no_grad()
def test_without_the_prefix_switch_a_prefix_is_ignored(pixels):
    model = stir(make_model(text_prefix=False))
    text = make_text(pictures=2)
    without = replace(text, prefix=None, prefix_mask=None)

    first = model(pixels, CT, text, asked=ASKED).detections
    second = model(pixels, CT, without, asked=ASKED).detections

    assert torch.equal(first.logits, second.logits)


def test_fewer_prefixes_than_pictures_are_refused(pixels):
    text = make_text(pictures=2)

    with pytest.raises(ValueError, match="2 prefixes for 3 pictures"):
        make_model()(pixels[[0, 1, 0]], CT[[0, 1, 0]], text, asked=ASKED[[0, 1, 0]])


@torch.no_grad()
def test_without_the_bank_a_description_is_ignored(pixels):
    model = stir(make_model(attribute_bank=False))
    text = make_text(pictures=2)
    silent = replace(text, attributes=None, attribute_mask=None)

    first = model(pixels, CT, text, asked=ASKED)
    other = model(pixels, CT, silent, asked=ASKED)

    assert torch.equal(first.mask_logits, other.mask_logits)
    assert torch.equal(first.detections.logits, other.detections.logits)


@torch.no_grad()
def test_the_bank_changes_only_the_phrases_it_knows(pixels):
    model = stir(make_model())
    text = make_text(pictures=2)
    silent = replace(text, attributes=None, attribute_mask=None)

    with_bank = model(pixels, CT, text).phrase_vectors
    without = model(pixels, CT, silent).phrase_vectors

    assert torch.allclose(with_bank[-1], without[-1], atol=1e-6)  # nothing is known
    assert not torch.allclose(with_bank[:-1], without[:-1], atol=1e-3)
    assert with_bank.norm(dim=-1).tolist() == pytest.approx([1.0] * 5, abs=1e-5)


@torch.no_grad()
def test_a_fresh_bank_changes_nothing(pixels):
    model = make_model()
    text = make_text(pictures=2)
    silent = replace(text, attributes=None, attribute_mask=None)

    with_bank = model(pixels, CT, text).phrase_vectors

    assert torch.allclose(with_bank, model(pixels, CT, silent).phrase_vectors)


@torch.no_grad()
def test_one_hypothesis_has_no_spread(pixels):
    output = make_model(hypotheses=1)(pixels, CT, make_text(pictures=2), asked=ASKED)

    assert output.mask_hypotheses is None
    assert output.detections.box_hypotheses is None


@torch.no_grad()
def test_hypotheses_spread_about_their_mean(pixels):
    model = stir(make_model(hypotheses=4))

    output = model(pixels, CT, make_text(pictures=2), asked=ASKED)

    found = output.detections
    assert output.mask_hypotheses.std(0).max() > 1e-3
    assert torch.allclose(output.mask_hypotheses.mean(0), output.mask_logits, atol=1e-5)
    assert found.box_hypotheses.std(2).max() > 1e-4
    assert torch.allclose(found.box_hypotheses.mean(2), found.boxes, atol=1e-6)


@torch.no_grad()
def test_fresh_hypotheses_answer_as_one(pixels):
    model = make_model(hypotheses=4)

    output = model(pixels, CT, make_text(pictures=2), asked=ASKED)

    assert output.mask_hypotheses.std(0).max() < 1e-5
    assert output.detections.box_hypotheses.std(2).max() < 1e-6


@torch.no_grad()
@pytest.mark.parametrize("hierarchy", [True, False])
def test_only_the_hierarchy_lifts_a_parent(hierarchy, pixels):
    model = stir(make_model(hierarchy=hierarchy))
    text = make_text(pictures=2)
    bare = model(pixels, CT, text).presence_logits
    child = int(bare[0].argmax())
    parent = int(bare[0].argmin())
    above = torch.full((5,), -1)
    above[child] = parent

    lifted = model(pixels, CT, replace(text, parent=above)).presence_logits

    assert bool(lifted[0, parent] == lifted[0, child]) is hierarchy
    others = [row for row in range(5) if row != parent]
    assert torch.equal(lifted[:, others], bare[:, others])
    assert torch.equal(lifted, bare) is not hierarchy


def test_training_sees_the_bare_presence(pixels):
    model = stir(make_model()).train()
    above = torch.tensor([1, -1, -1, -1, -1])
    text = make_text(pictures=2)

    torch.manual_seed(0)  # dropout
    bare = model(pixels, CT, text).presence_logits
    torch.manual_seed(0)
    told = model(pixels, CT, replace(text, parent=above)).presence_logits

    assert torch.equal(bare, told)


def test_a_model_without_a_core_refuses_to_detect(pixels):
    model = make_model(core=False)

    assert not any(name.startswith("core.") for name, _ in model.named_parameters())
    with pytest.raises(ValueError, match="no detection core"):
        model(pixels, CT, make_text(pictures=2), asked=ASKED)


def test_a_frozen_reader_needs_states(pixels):
    text = replace(make_text(pictures=2), hidden=None)

    with pytest.raises(ValueError, match="states"):
        make_model()(pixels, CT, text)
