from __future__ import annotations

import pytest
import torch
from transformers import (
    BertConfig,
    GroundingDinoConfig,
    GroundingDinoForObjectDetection,
    MMGroundingDinoConfig,
    MMGroundingDinoForObjectDetection,
    SwinConfig,
)

from model.medglip import MedGLIP
from model.processor import Processor
from model.stock import KEYS, read_stock, stock_config, stock_state
from tests.builders.tiny_engines import change_weights, write_checkpoint

PHRASES = ["left kidney", "liver", "small nodule in the right upper lobe"]

RELEASED = [
    (MMGroundingDinoConfig, MMGroundingDinoForObjectDetection),
    (GroundingDinoConfig, GroundingDinoForObjectDetection),
]


def make_stock_config(kind, **changes):
    return kind(
        backbone_config=SwinConfig(
            embed_dim=8, depths=(1, 1, 2, 1), num_heads=(1, 2, 2, 4), window_size=4,
            out_indices=[2, 3, 4],
        ),
        text_config=BertConfig(
            hidden_size=32, num_hidden_layers=2, num_attention_heads=2,
            intermediate_size=48, vocab_size=30522,
        ),
        d_model=64, num_queries=20, encoder_layers=2, decoder_layers=2,
        encoder_attention_heads=4, decoder_attention_heads=4, encoder_ffn_dim=96,
        decoder_ffn_dim=96, **changes,
    )  # fmt: skip


@pytest.fixture(
    scope="module", params=RELEASED, ids=["mm-grounding-dino", "grounding-dino"]
)
def released(request, tmp_path_factory):
    """A stock model whose every weight is noise, and its folder."""
    kind, architecture = request.param
    torch.manual_seed(5)
    model = architecture(make_stock_config(kind)).eval()
    with torch.no_grad():
        for weight in model.parameters():
            weight.add_(torch.randn_like(weight) * 0.1)
    folder = tmp_path_factory.mktemp("released")
    model.save_pretrained(folder)
    return model, folder


def caption_ids(processor: Processor) -> torch.Tensor:
    """The phrases as one caption, tokenised as Grounding DINO's own processor does."""
    caption = " ".join(f"{phrase}." for phrase in PHRASES)
    return torch.tensor([processor._tokenizer.encode(caption).ids])


@torch.no_grad()
def test_released_weights_give_the_released_detections(released):
    stock, folder = released
    pixels = torch.randn(1, 3, 96, 128, generator=torch.Generator().manual_seed(6))
    model = MedGLIP.from_stock(folder, slice_offsets_mm=(0.0,))
    processor = Processor(model.config)
    ids = caption_ids(processor)
    want = stock(pixel_values=pixels, input_ids=ids)

    output = model(
        pixels,
        torch.tensor([0]),
        processor.read(PHRASES),
        asked=torch.tensor([[0, 1, 2]]),
    )

    found, words = output.detections, ids.shape[1]
    assert found.word_logits.shape[-1] == words
    assert torch.allclose(
        found.word_logits[:, -1], want.logits[..., :words], atol=1e-4, rtol=1e-4
    )
    assert torch.allclose(found.boxes[:, -1], want.pred_boxes, atol=1e-4)
    assert want.pred_boxes.std() > 0.01
    assert output.mask_logits.shape == (1, 3, 96, 128)


@torch.no_grad()
def test_a_batch_of_released_detections_is_each_picture_s_own(released):
    _, folder = released
    pixels = torch.randn(2, 3, 96, 128, generator=torch.Generator().manual_seed(7))
    model = MedGLIP.from_stock(folder, slice_offsets_mm=(0.0,))
    text = Processor(model.config).read(PHRASES)
    asked = torch.tensor([[0, 1, 2], [1, -1, -1]])

    both = model(pixels, torch.tensor([0, 1]), text, asked=asked).detections
    second = model(
        pixels[1:], torch.tensor([1]), text, asked=torch.tensor([[1]])
    ).detections

    assert torch.allclose(both.logits[1, ..., :1], second.logits[0], atol=1e-3)
    assert torch.allclose(both.boxes[1], second.boxes[0], atol=1e-4)


def test_what_a_released_model_lacks_is_saved_and_loaded_too(released, tmp_path):
    _, folder = released
    model = MedGLIP.from_stock(folder)

    model.save_pretrained(tmp_path / "ours")
    again = MedGLIP.from_pretrained(tmp_path / "ours")

    assert again.config == model.config
    for name, weight in model.state_dict().items():
        assert torch.equal(weight, again.state_dict()[name])


@pytest.mark.parametrize("kind", [kind for kind, _ in RELEASED])
@pytest.mark.parametrize(
    "changes",
    [{"two_stage": False}, {"activation_function": "gelu"}, {"encoder_n_points": 2}],
)
def test_a_model_that_is_built_otherwise_is_refused(kind, changes):
    with pytest.raises(ValueError, match=next(iter(changes))):
        stock_config(make_stock_config(kind, **changes))


def test_another_architecture_is_refused(tmp_path):
    BertConfig(hidden_size=8, num_attention_heads=1).save_pretrained(tmp_path)

    with pytest.raises(ValueError, match="bert"):
        MedGLIP.from_stock(tmp_path)


def test_a_folder_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(OSError, match="nowhere"):
        MedGLIP.from_stock(tmp_path / "nowhere")


def test_a_stock_weight_without_a_place_is_refused():
    config = stock_config(make_stock_config(MMGroundingDinoConfig))

    with pytest.raises(ValueError, match=r"model\.surprise"):
        stock_state({"model.surprise": torch.zeros(1)}, config)


def test_no_stock_name_begins_like_another():
    for name in KEYS:
        assert [other for other in KEYS if name.startswith(other)] == [name]


def test_a_stock_file_that_lacks_weights_is_refused(tmp_path):
    write_checkpoint("grounding-dino", tmp_path)
    change_weights(tmp_path, lambda weights: weights.pop("model.level_embed"))

    with pytest.raises(ValueError, match=r"does not hold model\.level_embed"):
        read_stock(tmp_path, local_files_only=True)
