from __future__ import annotations

import json
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file, save_file

from model.config import MedGLIPConfig
from model.core import DenoisingQueries
from model.medglip import MedGLIP, init_from, read_metadata
from model.text import TextBatch
from tests.builders.tiny_model import TINY, make_model, make_text

ASKED = torch.tensor([[0, 1, 2], [3, 4, -1]])


@pytest.fixture(scope="module")
def model() -> MedGLIP:
    return make_model()


@pytest.fixture(scope="module")
def pictures() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    pixels = torch.randn(3, TINY.input_channels, 48, 64, generator=generator)
    return pixels, torch.tensor([0, 1, 11])


@pytest.fixture(scope="module")
def text() -> TextBatch:
    return make_text()


def some_phrases(text: TextBatch, rows: list[int]) -> TextBatch:
    return replace(
        text,
        input_ids=text.input_ids[rows],
        mask=text.mask[rows],
        hidden=text.hidden[rows],
        attributes=text.attributes[rows],
        attribute_mask=text.attribute_mask[rows],
    )


def make_denoising() -> DenoisingQueries:
    generator = torch.Generator().manual_seed(3)
    return DenoisingQueries(
        boxes=torch.rand(2, 4, 4, generator=generator) * 0.5 + 0.2,
        phrase=torch.tensor([[0, 2, 0, 2], [1, -1, 1, -1]]),
        group=torch.tensor([0, 0, 1, 1]),
    )


@torch.no_grad()
def test_the_same_network_makes_the_same_file(tmp_path):
    model = make_model()
    texts = {f"text {n}": 'licence \u00e9 "\n' for n in range(9)}

    for name in ("one", "two"):
        model.save_pretrained(tmp_path / name, metadata=texts)

    one, two = (tmp_path / name / "model.safetensors" for name in ("one", "two"))
    assert one.read_bytes() == two.read_bytes()
    assert read_metadata(tmp_path / "one") == {**texts, "format": "pt"}
    again = MedGLIP.from_pretrained(tmp_path / "one").state_dict()
    assert all(torch.equal(again[n], v) for n, v in model.state_dict().items())


def test_every_output_has_its_shape(model, pictures, text):
    output = model(*pictures, text, asked=ASKED, denoising=make_denoising())

    assert output.mask_logits.shape == (3, 5, 48, 64)
    assert output.mask_hypotheses.shape == (3, 3, 5, 48, 64)
    assert output.presence_logits.shape == (3, 5)
    assert output.phrase_vectors.shape == (5, TINY.phrase_dim)
    found = output.detections
    words = found.word_owner.shape[1]
    for part, queries in ((found, 6), (found.denoised, 4)):
        assert part.logits.shape == (2, 2, queries, 3)
        assert part.word_logits.shape == (2, 2, queries, words)
        assert part.word_owner.shape == (2, words)
        assert part.boxes.shape == (2, 2, queries, 4)
        assert part.box_hypotheses.shape == (2, 2, 3, queries, 4)
        assert part.masks.shape == (2, queries, 24, 32)
        assert part.query_states.shape == (2, queries, TINY.core_dim)
        assert ((part.boxes >= 0) & (part.boxes <= 1)).all()
    assert found.proposal_logits.shape == (2, 6, 3)
    assert found.proposal_word_logits.shape == (2, 6, words)
    assert found.proposal_boxes.shape == (2, 6, 4)


@torch.no_grad()
def test_a_phrase_logit_is_the_mean_over_its_words(model, pictures, text):
    found = model(*pictures, text, asked=ASKED).detections

    for picture, phrases in enumerate(ASKED):
        for column, row in enumerate(phrases):
            mine = found.word_owner[picture] == column
            if row < 0:
                assert not mine.any()
                continue
            assert mine.sum() == text.mask[row].sum() - 2  # all but [CLS] and [SEP]
            mean = found.word_logits[picture][..., mine].mean(-1)
            assert torch.allclose(found.logits[picture][..., column], mean, atol=1e-4)


@torch.no_grad()
def test_the_core_is_skipped_when_not_asked(model, pictures, text):
    assert model(*pictures, text).detections is None


@torch.no_grad()
def test_a_picture_is_answered_alike_alone_and_in_company(model, pictures, text):
    pixels, modality = pictures
    rows = torch.arange(5).expand(3, -1)
    mine = replace(text, prefix=text.prefix[1:2], prefix_mask=text.prefix_mask[1:2])

    together = model(pixels, modality, text, asked=rows)
    alone = model(pixels[1:2], modality[1:2], mine, asked=rows[:1])

    assert torch.allclose(together.mask_logits[1:2], alone.mask_logits, atol=1e-4)
    assert torch.allclose(
        together.presence_logits[1:2], alone.presence_logits, atol=1e-4
    )
    assert torch.allclose(
        together.detections.logits[1:2], alone.detections.logits, atol=1e-3
    )


@torch.no_grad()
def test_padding_phrases_change_nothing(model, pictures, text):
    pixels, modality = pictures
    padded = torch.tensor([[0, 1, -1, -1]] * 3)

    plain = model(pixels, modality, text, asked=padded[:, :2]).detections
    more = model(pixels, modality, text, asked=padded).detections

    assert torch.allclose(plain.logits, more.logits[..., :2], atol=1e-4)
    assert torch.allclose(plain.boxes, more.boxes, atol=1e-5)
    assert (more.logits[..., 2:] == -1e4).all()


@torch.no_grad()
def test_other_phrases_do_not_touch_the_dense_answer(model, pictures, text):
    all_five = model(*pictures, text).mask_logits[:, 2]

    alone = model(*pictures, some_phrases(text, [2])).mask_logits[:, 0]

    assert torch.allclose(all_five, alone, atol=1e-5)


@torch.no_grad()
def test_denoising_queries_do_not_touch_the_matching_ones(model, pictures, text):
    without = model(*pictures, text, asked=ASKED).detections
    beside = model(*pictures, text, asked=ASKED, denoising=make_denoising()).detections

    assert torch.allclose(without.logits, beside.logits, atol=1e-5)
    assert torch.allclose(without.boxes, beside.boxes, atol=1e-6)


@torch.no_grad()
def test_denoising_groups_do_not_see_each_other(model, pictures, text):
    denoising = make_denoising()
    moved = replace(denoising, boxes=denoising.boxes.clone())
    moved.boxes[:, 2:] = 0.5

    first = model(*pictures, text, asked=ASKED, denoising=denoising).detections.denoised
    other = model(*pictures, text, asked=ASKED, denoising=moved).detections.denoised

    assert torch.allclose(first.logits[:, :, :2], other.logits[:, :, :2], atol=1e-5)
    assert not torch.allclose(first.boxes[:, :, 2:], other.boxes[:, :, 2:], atol=1e-3)


def test_every_weight_learns(text):
    model = make_model().train()
    for gate in (model.dense.variant_gate, model.core.variant_gate):
        torch.nn.init.constant_(gate, 0.1)
    for name in ("attribute_bank.gate", "core.caption.phrase_projection.weight"):
        torch.nn.init.normal_(model.get_parameter(name))
    pixels = torch.randn(2, TINY.input_channels, 48, 64)
    output = model(
        pixels,
        torch.tensor([0, 1]),
        text,
        asked=torch.tensor([[0, 1, 2]] * 2),
        denoising=make_denoising(),
    )
    found = output.detections

    total = sum(
        part.square().mean()
        for part in (
            output.mask_logits, output.mask_hypotheses, output.presence_logits,
            found.logits, found.boxes, found.box_hypotheses, found.masks,
            found.proposal_logits, found.proposal_boxes, found.denoised.logits,
            found.denoised.boxes,
        )
    )  # fmt: skip
    total.backward()

    silent = [name for name, p in model.named_parameters() if p.grad is None]
    assert silent == []


@torch.no_grad()
def test_saving_and_loading_keeps_every_bit(model, pictures, text, tmp_path):
    model.save_pretrained(tmp_path, metadata={"licence": "Apache-2.0"})

    loaded = MedGLIP.from_pretrained(tmp_path)

    rows = torch.tensor([[0, 1]] * 3)
    before = model(*pictures, text, asked=rows)
    after = loaded(*pictures, text, asked=rows)
    assert loaded.config == model.config
    assert torch.equal(before.mask_logits, after.mask_logits)
    assert torch.equal(before.detections.boxes, after.detections.boxes)
    assert read_metadata(tmp_path)["licence"] == "Apache-2.0"


def test_a_missing_weight_is_refused(model, tmp_path):
    model.save_pretrained(tmp_path)
    weights = load_file(tmp_path / "model.safetensors")
    weights.pop("dense.pixels.weight")
    save_file(weights, tmp_path / "model.safetensors")

    with pytest.raises(ValueError, match=r"dense\.pixels\.weight"):
        MedGLIP.from_pretrained(tmp_path)


def test_a_weight_of_another_shape_is_refused(model, tmp_path):
    model.save_pretrained(tmp_path)
    weights = load_file(tmp_path / "model.safetensors")
    weights["dense.pixels.bias"] = torch.zeros(3)
    save_file(weights, tmp_path / "model.safetensors")

    with pytest.raises(ValueError, match=r"dense\.pixels\.bias"):
        MedGLIP.from_pretrained(tmp_path)


def test_another_checkpoint_warms_what_fits_and_names_the_rest(tmp_path):
    source = make_model(seed=7, core=False, attribute_bank=False, hypotheses=1)
    source.save_pretrained(tmp_path)
    model = make_model(seed=8)

    fresh = init_from(model, tmp_path)

    assert torch.equal(model.dense.words.weight, source.dense.words.weight)
    assert "dense.variant_gate" in fresh
    assert {name.split(".")[0] for name in fresh} == {"attribute_bank", "core", "dense"}


def test_a_checkpoint_that_shares_nothing_is_no_start(tmp_path):
    save_file({"other": torch.zeros(1)}, tmp_path / "model.safetensors")

    with pytest.raises(ValueError, match="no weight"):
        init_from(make_model(), tmp_path)


def test_an_unknown_setting_is_refused(tmp_path):
    TINY.save(tmp_path)
    file = tmp_path / "config.json"
    raw = json.loads(file.read_text())
    file.write_text(json.dumps({**raw, "colour": 1}))

    with pytest.raises(ValueError, match="colour"):
        MedGLIPConfig.load(tmp_path)


def test_the_configuration_comes_back(tmp_path):
    config = replace(TINY, uncertainty_knots=((0.0, 0.1), (1.0, 0.9)))
    config.save(tmp_path)

    assert MedGLIPConfig.load(tmp_path) == config


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"hypotheses": 0}, "hypotheses"),
        ({"core": False, "core_weight": 0.5}, "core"),
        ({"trunk_channels": (8, 8)}, "five levels"),
        ({"slice_offsets_mm": ()}, "no slice"),
        ({"image_encoder": "vgg"}, "image encoder"),
        ({"text_encoder": "gpt"}, "text encoder"),
        ({"uncertainty_knots": ((0.5, 0.1), (0.2, 0.9))}, "rise"),
        ({"uncertainty_knots": ((0.1, 0.9), (0.2, 0.1))}, "rise"),
    ],
)
def test_settings_that_contradict_each_other_are_refused(changes, says):
    with pytest.raises(ValueError, match=says):
        replace(TINY, **changes)
