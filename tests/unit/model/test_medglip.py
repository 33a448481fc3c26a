from __future__ import annotations

import json

import pytest
import torch
from safetensors.torch import load_file, save_file

from model.config import MedGLIPConfig
from model.medglip import MedGLIP
from tests.builders.tiny_model import TINY, make_model


@pytest.fixture(scope="module")
def model() -> MedGLIP:
    return make_model()


@pytest.fixture(scope="module")
def pictures() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    pixels = torch.randn(3, TINY.input_channels, 48, 64, generator=generator)
    return pixels, torch.tensor([0, 1, 11])


@pytest.fixture(scope="module")
def phrases() -> torch.Tensor:
    generator = torch.Generator().manual_seed(2)
    rows = torch.randn(5, TINY.phrase_dim, generator=generator)
    return torch.nn.functional.normalize(rows, dim=-1)


@torch.no_grad()
def test_every_output_has_its_shape(model, pictures, phrases):
    rows = torch.tensor([[0, 1, 2], [3, 4, -1]])

    output = model(*pictures, phrases, core_phrases=rows)

    assert output.mask_logits.shape == (3, 5, 48, 64)
    assert output.presence_logits.shape == (3, 5)
    found = output.detections
    assert found.logits.shape == (2, 2, 6, 3)
    assert found.boxes.shape == (2, 2, 6, 4)
    assert found.masks.shape == (2, 6, 24, 32)
    assert ((found.boxes >= 0) & (found.boxes <= 1)).all()


@torch.no_grad()
def test_the_core_is_skipped_when_not_asked(model, pictures, phrases):
    assert model(*pictures, phrases).detections is None


@torch.no_grad()
def test_a_picture_is_answered_alike_alone_and_in_company(model, pictures, phrases):
    pixels, modality = pictures
    rows = torch.arange(5).expand(3, -1)

    together = model(pixels, modality, phrases, core_phrases=rows)
    alone = model(pixels[1:2], modality[1:2], phrases, core_phrases=rows[:1])

    assert torch.allclose(together.mask_logits[1:2], alone.mask_logits, atol=1e-4)
    assert torch.allclose(
        together.presence_logits[1:2], alone.presence_logits, atol=1e-4
    )
    assert torch.allclose(
        together.detections.logits[1:2], alone.detections.logits, atol=1e-3
    )


@torch.no_grad()
def test_padding_phrases_change_nothing(model, pictures, phrases):
    pixels, modality = pictures
    padded = torch.tensor([[0, 1, -1, -1]] * 3)

    plain = model(pixels, modality, phrases, core_phrases=padded[:, :2]).detections
    more = model(pixels, modality, phrases, core_phrases=padded).detections

    assert torch.allclose(plain.logits, more.logits[..., :2], atol=1e-4)
    assert torch.allclose(plain.boxes, more.boxes, atol=1e-5)
    assert (more.logits[..., 2:] == -1e4).all()


@torch.no_grad()
def test_other_phrases_do_not_touch_the_dense_answer(model, pictures, phrases):
    all_five = model(*pictures, phrases).mask_logits[:, 2]

    assert torch.allclose(all_five, model(*pictures, phrases[2:3]).mask_logits[:, 0])


def test_every_weight_learns(phrases):
    model = make_model().train()
    pixels = torch.randn(2, TINY.input_channels, 48, 64)
    output = model(
        pixels, torch.tensor([0, 1]), phrases, core_phrases=torch.tensor([[0, 1]] * 2)
    )
    found = output.detections

    total = sum(
        part.square().mean()
        for part in (
            output.mask_logits, output.presence_logits, found.logits, found.boxes,
            found.masks, found.proposal_logits, found.proposal_boxes,
        )
    )  # fmt: skip
    total.backward()

    silent = [name for name, p in model.named_parameters() if p.grad is None]
    assert [name for name in silent if not name.startswith("phrase_adapter.")] == []


@torch.no_grad()
def test_saving_and_loading_keeps_every_bit(model, pictures, phrases, tmp_path):
    model.save_pretrained(tmp_path)

    loaded = MedGLIP.from_pretrained(tmp_path)

    rows = torch.tensor([[0, 1]] * 3)
    before = model(*pictures, phrases, core_phrases=rows)
    after = loaded(*pictures, phrases, core_phrases=rows)
    assert loaded.config == model.config
    assert torch.equal(before.mask_logits, after.mask_logits)
    assert torch.equal(before.detections.boxes, after.detections.boxes)


def test_a_missing_weight_is_refused(model, tmp_path):
    model.save_pretrained(tmp_path)
    weights = load_file(tmp_path / "model.safetensors")
    weights.pop("dense.pixels.weight")
    save_file(weights, tmp_path / "model.safetensors")

    with pytest.raises(ValueError, match=r"dense\.pixels\.weight"):
        MedGLIP.from_pretrained(tmp_path)


def test_an_unknown_setting_is_refused(tmp_path):
    TINY.save(tmp_path)
    file = tmp_path / "config.json"
    raw = json.loads(file.read_text())
    file.write_text(json.dumps({**raw, "colour": 1}))

    with pytest.raises(ValueError, match="colour"):
        MedGLIPConfig.load(tmp_path)


def test_the_configuration_comes_back(tmp_path):
    TINY.save(tmp_path)

    assert MedGLIPConfig.load(tmp_path) == TINY
