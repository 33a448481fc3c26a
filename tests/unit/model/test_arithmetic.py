from __future__ import annotations

import numpy as np
import pytest
import torch

import model
from model import inference
from model.arithmetic import PLAIN, Arithmetic, make_seer
from model.inference import GroundingModel
from model.parity import BOUNDS, Parity, compare_answers, probe_stack
from model.records import Box, PhraseGrounding
from tests.builders.tiny_model import make_grounding_model, make_stack

HALF = Arithmetic("bfloat16")
SAME = Parity(score=0.0, probability=0.0, dice=1.0, box_iou=1.0)
SHAPE = (2, 40, 40)


@pytest.fixture
def shipped() -> GroundingModel:
    return GroundingModel.from_pretrained(model.bundled_checkpoint())


def make_answer(*, score=0.9, columns=(5, 25), probability=200, **changes):
    left, right = columns
    mask = np.ones((1, 20, right - left), dtype=np.bool_)
    given = {
        "phrase": "liver",
        "score": score,
        "is_present": True,
        "uncertainty": 0.1,
        "mask": mask,
        "mask_origin": (0, 10, left),
        "boxes": (Box(0, (float(left), 10.0, float(right), 30.0), score),),
        "probability": np.full(mask.shape, probability, dtype=np.uint8),
    }
    return PhraseGrounding(**{**given, **changes})


def answers(grounding: GroundingModel) -> list[tuple]:
    found = grounding.ground(make_stack(3, 64, 64), ["liver", "aorta"])
    return [(one.score, one.uncertainty, one.mask.tobytes()) for one in found]


def test_bfloat16_that_answers_as_float32_does_is_used(shipped):
    plain = answers(shipped)

    parity = shipped.use(HALF)

    assert parity.is_within(BOUNDS)
    assert parity.score > 0
    assert (shipped.arithmetic, shipped.refused) == ("bfloat16", "")
    assert answers(shipped) != plain
    shipped.use(PLAIN)
    assert shipped.arithmetic == ""
    assert answers(shipped) == plain


def raises(_pixels, _modality):
    raise RuntimeError("no compiler for Doe^Jane")


def scaled(by: float):
    def make(network, _arithmetic):
        return lambda pixels, modality: tuple(
            level * by for level in network.see(pixels, modality)
        )

    return make


@pytest.mark.parametrize(
    ("make", "why"),
    [
        (scaled(0.9), "answers otherwise"),
        (scaled(float("nan")), "answers otherwise"),
        (lambda _network, _arithmetic: raises, r"does not run here \(RuntimeError\)$"),
    ],
)
def test_an_arithmetic_that_is_broken_is_refused_and_float32_goes_on(
    shipped, monkeypatch, make, why
):
    plain = answers(shipped)
    monkeypatch.setattr(inference, "make_seer", make)

    shipped.use(HALF)

    with pytest.raises(AssertionError, match=why):
        raise AssertionError(shipped.refused)
    assert shipped.arithmetic == ""
    assert answers(shipped) == plain


def test_what_was_judged_on_one_device_is_not_used_on_another(shipped):
    shipped.use(HALF)

    shipped.move_to("cpu:0")

    assert shipped.arithmetic == ""
    shipped.move_to("cpu")
    assert shipped.arithmetic == "bfloat16"


def test_a_compiled_trunk_is_asked_for_and_answers_in_float32(monkeypatch):
    compiled = []

    def fake_compile(trunk, *, dynamic):
        compiled.append(dynamic)
        return trunk

    monkeypatch.setattr(torch, "compile", fake_compile)
    network = make_grounding_model().network
    pixels = torch.zeros(2, 7, 32, 32)

    see = make_seer(network, Arithmetic("bfloat16", is_compiled=True))

    assert compiled == [True]
    pyramid = see(pixels, torch.tensor([0, 0]))
    assert {level.dtype for level in pyramid} == {torch.float32}
    assert str(Arithmetic("bfloat16", is_compiled=True)) == "bfloat16, compiled"


def test_equal_answers_are_no_distance_apart():
    parity = compare_answers([make_answer()], [make_answer()], shape=SHAPE)

    assert parity == SAME


@pytest.mark.parametrize(
    ("other", "field"),
    [
        ({"score": 0.88}, "score"),
        ({"uncertainty": 0.2}, "score"),
        ({"probability": 190}, "probability"),
        ({"columns": (5, 27)}, "dice"),
        ({"boxes": ()}, "box_iou"),
        ({"score": float("nan")}, "score"),
        ({"mask_origin": (1, 10, 5)}, "dice"),
    ],
)
def test_each_distance_is_seen_and_out_of_bounds(other, field):
    parity = compare_answers([make_answer()], [make_answer(**other)], shape=SHAPE)

    assert not parity.is_within(BOUNDS)
    assert getattr(parity, field) != getattr(SAME, field)


def test_the_probe_shows_the_shipped_model_something(shipped):
    found = shipped.ground(probe_stack(), ["liver", "lungs", "vertebrae"])

    assert all(one.is_present and one.mask.mean() > 0.1 for one in found)
    assert (probe_stack().pixels == probe_stack().pixels).all()
