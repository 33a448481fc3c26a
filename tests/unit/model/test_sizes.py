"""Every size, at reduced dimensions: shapes, files, half precision, compilation."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from model.config import MedGLIPConfig
from model.inference import GroundingModel
from model.medglip import MedGLIP
from model.processor import Processor
from model.swin import SwinTrunk
from tests.builders.tiny_model import make_stack

REDUCED = {
    "tiny": MedGLIPConfig.tiny(
        trunk_channels=(8, 16, 16, 16, 16), phrase_dim=32, core_dim=32, core_heads=2,
        core_queries=6,
    ),
    "small": MedGLIPConfig.small(
        trunk_channels=(8, 16, 24, 32, 40), phrase_dim=32, core_dim=32, core_heads=2,
        core_queries=6,
    ),
    "base": MedGLIPConfig.base(
        trunk_channels=(8, 16, 16, 32, 64), swin_embed_dim=8, swin_depths=(1, 1, 2, 1),
        swin_heads=(1, 2, 2, 4), swin_window=4, text_hidden=32, bert_layers=2,
        bert_heads=2, bert_intermediate=48, phrase_dim=32, core_dim=64, core_heads=4,
        core_layers=2, core_ffn=64, core_queries=6,
    ),
}  # fmt: skip

PHRASES = ["left kidney", "liver", "small nodule in the right upper lobe"]
ASKED = torch.tensor([[0, 1, 2], [2, -1, -1]])


@pytest.fixture(scope="module", params=list(REDUCED))
def case(request):
    """A random model of one size, and what it is asked."""
    torch.manual_seed(3)
    model = MedGLIP(REDUCED[request.param]).eval()
    pixels = torch.randn(2, model.config.input_channels, 48, 80)
    text = Processor(model.config).read(
        PHRASES, modality=["CT", "MR"], body_part=["ABDOMEN", None]
    )
    return model, (pixels, torch.tensor([0, 1]), text)


@torch.no_grad()
def test_every_size_answers_in_the_same_shapes(case):
    model, question = case

    output = model(*question, asked=ASKED)

    assert output.mask_logits.shape == (2, 3, 48, 80)
    assert output.presence_logits.shape == (2, 3)
    assert output.detections.masks.shape == (2, 6, 24, 40)
    assert output.detections.boxes.shape == (2, model.config.core_layers, 6, 4)
    assert (output.detections.logits[1, ..., 1:] == -1e4).all()


@torch.no_grad()
def test_every_size_comes_back_from_its_files(case, tmp_path):
    model, question = case
    model.save_pretrained(tmp_path)

    again = MedGLIP.from_pretrained(tmp_path)

    assert again.config == model.config
    first, second = (m(*question, asked=ASKED) for m in (model, again))
    assert torch.equal(first.mask_logits, second.mask_logits)
    assert torch.equal(first.detections.boxes, second.detections.boxes)


def test_every_weight_of_every_size_learns(case):
    model, question = case
    model.train()

    output = model(*question, asked=ASKED)
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
    model.zero_grad()
    model.eval()

    assert silent == ["core.denoising_content.weight", "core.denoising_content.bias"]


@torch.no_grad()
def test_half_precision_says_nearly_the_same(case):
    model, question = case
    exact = model(*question, asked=ASKED)

    with torch.autocast("cpu", dtype=torch.bfloat16):
        half = model(*question, asked=ASKED)

    for name in ("mask_logits", "presence_logits", "phrase_vectors"):
        want, got = getattr(exact, name), getattr(half, name).float()
        assert (got - want).abs().max() <= 0.05 * (1 + want.abs().max())
    assert torch.isfinite(half.detections.logits).all()
    assert torch.isfinite(half.detections.boxes).all()


# Importing the compiler warns about torch's own use of TorchScript.
@pytest.mark.filterwarnings("ignore:`torch.jit.script_method`:DeprecationWarning")
@pytest.mark.timeout(900)
@pytest.mark.slow
@torch.no_grad()
def test_the_dense_path_compiles_as_one_graph_to_the_same_answers(case):
    model, (pixels, modality, text) = case
    vectors = model.read(text).vectors
    # Machine code once; the graphs of the other sizes are captured and replayed.
    backend = "inductor" if model.config.name == "medglip-tiny" else "aot_eager"

    def dense(x: torch.Tensor, row: torch.Tensor) -> torch.Tensor:
        return model.align(model.see(x, row), vectors)[0]

    torch.compiler.reset()
    compiled = torch.compile(dense, fullgraph=True, backend=backend)

    assert torch.allclose(
        compiled(pixels, modality), dense(pixels, modality), atol=1e-3
    )


@pytest.mark.parametrize("shape", [(3, 40, 56), (1, 5, 7)])
def test_every_size_grounds_a_stack_with_both_branches(case, shape):
    network = MedGLIP(case[0].config)
    torch.nn.init.zeros_(network.dense.bias.bias)
    network.config = replace(
        network.config, presence_threshold=0.0, core_weight=0.2, min_region_mm3=0.0
    )
    grounding = GroundingModel(network, sha256="0" * 64)
    stack = make_stack(*shape, modality="MR")

    answers = grounding.ground(stack, PHRASES)

    assert [answer.phrase for answer in answers] == PHRASES
    for answer in answers:
        assert 0 <= answer.uncertainty <= 1
        for box in answer.boxes:
            left, top, right, bottom = box.xyxy
            assert 0 <= left < right <= shape[2]
            assert 0 <= top < bottom <= shape[1]


@torch.no_grad()
def test_more_queries_than_places_are_answered():
    torch.manual_seed(3)
    model = MedGLIP(replace(REDUCED["tiny"], core_queries=50)).eval()
    text = Processor(model.config).read(PHRASES)

    found = model(
        torch.randn(1, 7, 16, 16), torch.tensor([0]), text, asked=ASKED[:1]
    ).detections

    assert found.logits.shape == (1, 2, 50, 3)
    assert found.proposal_boxes.shape == (1, 50, 4)


def test_the_stem_starts_with_the_centre_in_its_three_windows():
    trunk = SwinTrunk(REDUCED["base"])
    pixels = torch.randn(1, 7, 8, 8)

    colours = trunk.stem(pixels)

    assert torch.allclose(colours, pixels[:, [2, 5, 6]], atol=1e-6)


def test_levels_that_a_swin_does_not_give_are_refused():
    with pytest.raises(ValueError, match="Swin of width 16"):
        SwinTrunk(replace(REDUCED["base"], swin_embed_dim=16))


@pytest.mark.parametrize(
    ("size", "millions"), [("tiny", (3, 5)), ("small", (8, 20)), ("base", (165, 185))]
)
def test_every_size_has_the_weights_it_promises(size, millions):
    with torch.device("meta"):
        model = MedGLIP(getattr(MedGLIPConfig, size)())

    count = sum(weight.numel() for weight in model.parameters()) / 1e6

    assert millions[0] <= count <= millions[1]
