from __future__ import annotations

import numpy as np
import pytest
import torch

import model
from model import inference
from model.arithmetic import PLAIN, Arithmetic, make_seer
from model.inference import GroundingModel
from model.parity import BOUNDS, Parity, compare_answers, probe_stacks, worst_of
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


@pytest.mark.parametrize(
    ("number", "phrases", "least"),
    [
        (0, ["liver", "lungs", "vertebrae"], 0.1),
        (1, ["lungs", "vertebrae", "heart"], 0.05),
        (2, ["liver", "vertebrae"], 0.01),
    ],
)
def test_each_probe_shows_the_shipped_model_something(shipped, number, phrases, least):
    probe, again = probe_stacks()[number], probe_stacks()[number]

    found = shipped.ground(probe, phrases)

    assert all(one.is_present and one.mask.mean() > least for one in found)
    assert (probe.pixels == again.pixels).all()


def test_the_probes_are_a_volume_a_picture_and_slices_of_odd_sizes():
    volume, picture, slices = probe_stacks()

    assert [volume.is_volume, picture.is_volume, slices.is_volume] == [True] + [
        False
    ] * 2
    assert len(picture.pixels) == 1 < len(slices.pixels) < len(volume.pixels)
    assert all(size % 2 for one in (picture, slices) for size in one.pixels.shape[1:])
    assert len({one.modality for one in probe_stacks()}) == 3


@pytest.mark.parametrize("slices", [1, 3])
def test_what_is_broken_for_one_number_of_pictures_is_refused(
    shipped, monkeypatch, slices
):
    def make(network, _arithmetic):
        def see(pixels, modality):
            by = 0.9 if len(pixels) == slices else 1.0
            return tuple(level * by for level in network.see(pixels, modality))

        return see

    monkeypatch.setattr(inference, "make_seer", make)

    shipped.use(HALF)

    assert "answers otherwise" in shipped.refused


def test_the_worst_of_all_probes_counts():
    near = Parity(score=0.001, probability=0.002, dice=0.99, box_iou=0.8)
    far = Parity(score=0.1, probability=0.0, dice=1.0, box_iou=0.7)
    nothing = Parity(score=float("nan"), probability=0.0, dice=1.0, box_iou=1.0)

    assert worst_of([near, far]) == Parity(0.1, 0.002, 0.99, 0.7)
    assert not worst_of([near, nothing]).is_within(BOUNDS)
