from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

import model
from model.features import see_stack
from model.inference import GroundingModel
from model.records import ImageStack
from tests.builders.tiny_model import make_grounding_model, make_model, make_stack

PHRASES = ["liver", "left kidney", "aorta"]


def check(stack, answers, phrases):
    """Assert what holds for every answer, whatever the weights."""
    slices, rows, columns = stack.pixels.shape[:3]
    assert [answer.phrase for answer in answers] == list(phrases)
    for answer in answers:
        assert 0 <= answer.score <= 1
        assert 0 <= answer.uncertainty <= 1
        if not answer.is_present:
            assert answer.mask.shape == (0, 0, 0)
            assert answer.boxes == ()
            continue
        assert answer.mask.any()
        assert (np.array(answer.mask_origin) >= 0).all()
        assert (
            np.array(answer.mask_origin) + answer.mask.shape <= (slices, rows, columns)
        ).all()
        for axis in range(3):  # tight
            line = answer.mask.any(axis=tuple(i for i in range(3) if i != axis))
            assert line[0]
            assert line[-1]
        assert answer.boxes
        for box in answer.boxes:
            left, top, right, bottom = box.xyxy
            assert 0 <= left < right <= columns
            assert 0 <= top < bottom <= rows
            assert 0 <= box.slice_index < slices
            assert 0 <= box.score <= 1


@pytest.mark.parametrize(
    ("shape", "options"),
    [
        ((5, 96, 128), {}),
        ((1, 64, 64), {}),
        ((2, 37, 201), {"spacing_mm": (1.0, 1.3, 0.7)}),
        ((9, 80, 64), {"spacing_mm": (0.7, 4.0, 4.0)}),
        ((4, 90, 70), {"spacing_mm": None, "is_volume": False, "modality": "DX"}),
        ((2, 64, 80, 3), {"spacing_mm": None, "is_volume": False, "modality": "ES"}),
        ((3, 5, 7), {"spacing_mm": None, "modality": "MR"}),
        ((2, 64, 64), {"spacing_mm": (0.0, 3.0, 3.0), "modality": "??"}),
    ],
)
def test_any_stack_gets_an_answer_in_its_own_pixels(shape, options):
    stack = make_stack(*shape, **options)

    answers = make_grounding_model().ground(stack, PHRASES)

    check(stack, answers, PHRASES)


def test_something_is_found_at_all():
    answers = make_grounding_model().ground(make_stack(5, 96, 128), PHRASES)

    assert any(answer.is_present for answer in answers)


def test_the_same_question_gets_the_same_answer():
    stack = make_stack(6, 96, 96)

    first = make_grounding_model().ground(stack, PHRASES)
    second = make_grounding_model().ground(stack, PHRASES)

    for one, other in zip(first, second, strict=True):
        assert one.score == other.score
        assert one.uncertainty == other.uncertainty
        assert np.array_equal(one.mask, other.mask)
        assert [box.xyxy for box in one.boxes] == [box.xyxy for box in other.boxes]


def test_no_phrases_are_no_answers():
    assert make_grounding_model().ground(make_stack(2, 64, 64), []) == ()


def test_a_thousand_phrases_are_answered():
    stack = make_stack(1, 48, 48, spacing_mm=(3.0, 2.2, 2.2))
    phrases = [f"phrase {i}" for i in range(1000)]

    assert len(make_grounding_model().ground(stack, phrases)) == 1000


@pytest.mark.parametrize("poison", [np.nan, np.inf, -np.inf])
def test_pixels_that_are_no_numbers_are_refused(poison):
    stack = make_stack(2, 32, 32)
    stack.pixels[1, 3, 3] = poison

    with pytest.raises(ValueError, match="NaN or infinite"):
        make_grounding_model().ground(stack, PHRASES)


@pytest.mark.parametrize("shape", [(0, 8, 8), (8, 8), (2, 8, 8, 4), (2, 0, 8)])
def test_pixels_of_another_shape_are_refused(shape):
    stack = ImageStack(np.zeros(shape, np.float32), None, "CT", None, True)

    with pytest.raises(ValueError, match="shape"):
        make_grounding_model().ground(stack, PHRASES)


def test_a_spacing_that_is_no_size_is_refused():
    with pytest.raises(ValueError, match="spacing"):
        make_grounding_model().ground(
            make_stack(2, 32, 32, spacing_mm=(float("nan"), 1.0, 1.0)), PHRASES
        )


def test_progress_rises_to_its_end_and_tells_no_phrase():
    seen: list[tuple[int, int]] = []

    make_grounding_model().ground(
        make_stack(9, 48, 48), ["liver"] * 20, progress=lambda *step: seen.append(step)
    )

    done = [step for step, _ in seen]
    assert done == sorted(done)
    assert seen[-1][0] == seen[-1][1]
    assert len({total for _, total in seen}) == 1


def test_the_identity_covers_weights_and_thresholds(tmp_path):
    network = make_model()
    network.save_pretrained(tmp_path)
    first = GroundingModel.from_pretrained(tmp_path).sha256
    config = (tmp_path / "config.json").read_text()
    (tmp_path / "config.json").write_text(
        config.replace('"mask_threshold": 0.5', '"mask_threshold": 0.6')
    )
    other_thresholds = GroundingModel.from_pretrained(tmp_path).sha256
    with torch.no_grad():
        network.dense.log_scale += 1
    network.save_pretrained(tmp_path)
    other_weights = GroundingModel.from_pretrained(tmp_path).sha256

    assert len({first, other_thresholds, other_weights}) == 3


def test_independent_pictures_do_not_see_each_other():
    stack = make_stack(2, 64, 64, is_volume=False, modality="CT")
    changed = make_stack(2, 64, 64, is_volume=False, modality="CT")
    changed.pixels[1] = changed.pixels[1, ::-1].copy()

    first = make_grounding_model().ground(stack, ["liver"])[0]
    second = make_grounding_model().ground(changed, ["liver"])[0]

    assert [b.xyxy for b in first.boxes if b.slice_index == 0] == [
        b.xyxy for b in second.boxes if b.slice_index == 0
    ]


def test_evidence_without_a_region_is_an_absence_with_half_the_score():
    grounding = GroundingModel(make_model(), sha256="0" * 64)
    grounding.config = replace(
        grounding.config, presence_threshold=0.0, min_region_mm3=1e9
    )
    stack = make_stack(3, 64, 64)

    answer = grounding.ground(stack, ["liver"])[0]

    assert not answer.is_present
    assert answer.score == pytest.approx(answer.uncertainty / 2)
    assert answer.score < 0.5


def with_settings(**changes) -> GroundingModel:
    """The model of the builder, its scores read otherwise."""
    grounding = GroundingModel(make_grounding_model().network, sha256="0" * 64)
    grounding.config = replace(grounding.config, **changes)
    return grounding


def same(one, other) -> bool:
    return (
        one.score == pytest.approx(other.score, abs=1e-5)
        and one.uncertainty == pytest.approx(other.uncertainty, abs=1e-3)
        and one.mask.shape == other.mask.shape
        and bool((one.mask == other.mask).mean() > 0.999)
    )


@pytest.mark.parametrize("core_weight", [0.0, 0.3])
def test_no_answer_depends_on_the_company_of_a_phrase(core_weight):
    grounding = with_settings(core_weight=core_weight)
    stack = make_stack(3, 64, 64)
    alone = [grounding.ground(stack, [phrase])[0] for phrase in PHRASES]

    together = grounding.ground(stack, [*PHRASES, "a mass in the right breast"])

    for one, other in zip(alone, together[:3], strict=True):
        assert one.is_present
        assert same(one, other)


def test_a_whole_is_never_less_present_than_its_part():
    grounding = with_settings()
    stack = make_stack(3, 64, 64)
    family = ["left upper lobe", "lungs", "left lung"]
    assert grounding.processor.parents(family) == [2, -1, 1]
    alone = [grounding.ground(stack, [phrase])[0].score for phrase in family]

    lobe, lungs, left = (answer.score for answer in grounding.ground(stack, family))

    assert lobe == pytest.approx(alone[0])
    assert left == pytest.approx(max(alone[0], alone[2]))
    assert lungs == pytest.approx(max(alone))


@pytest.mark.parametrize("rising", [True, False])
def test_uncertainty_is_read_through_the_table(rising):
    stack = make_stack(3, 64, 64)
    raw = with_settings().ground(stack, PHRASES)
    knots = ((0.0, 0.2), (1.0, 0.4)) if rising else ((0.5, 0.7),)

    read = with_settings(uncertainty_knots=knots).ground(stack, PHRASES)

    for before, after in zip(raw, read, strict=True):
        want = 0.2 + 0.2 * before.uncertainty if rising else 0.7
        assert after.uncertainty == pytest.approx(want, abs=1e-6)
        assert np.array_equal(before.mask, after.mask)


def test_hypotheses_that_disagree_make_an_answer_less_certain():
    stack = make_stack(3, 64, 64)
    agreeing = make_model(seed=0)
    agreeing.load_state_dict(make_grounding_model().network.state_dict())
    torch.nn.init.zeros_(agreeing.dense.variant_gate)
    agreeing.config = make_grounding_model().config
    evidence = []
    for network in (agreeing, make_grounding_model().network):
        grounding = GroundingModel(network, sha256="0" * 64)
        features = see_stack(network, stack, device="cpu", progress=None)
        evidence.append(grounding.evidence(features, PHRASES, ask_core_from=2.0))

    sure, unsure = evidence

    assert [one.agreement for one in sure] == [1.0] * 3
    assert all(0 < one.agreement < 1 for one in unsure)
    assert all(one.core is None for one in sure)


def test_the_shipped_checkpoint_answers():
    grounding = GroundingModel.from_pretrained(model.bundled_checkpoint())

    answers = grounding.ground(make_stack(2, 64, 64), PHRASES)

    check(make_stack(2, 64, 64), answers, PHRASES)


def test_probabilities_change_nothing_else_of_an_answer():
    grounding = GroundingModel.from_pretrained(model.bundled_checkpoint())
    stack = make_stack(2, 64, 64)
    asked = ["lungs", "left lung", *PHRASES]
    grounding.config = replace(grounding.config, presence_threshold=0.0)

    plain = grounding.ground(stack, asked)
    found = grounding.ground(stack, asked, with_probabilities=True)

    check(stack, found, asked)
    assert any(answer.is_present for answer in found)
    for one, other in zip(plain, found, strict=True):
        assert np.array_equal(one.mask, other.mask)
        assert (one.score, one.uncertainty) == (other.score, other.uncertainty)
        assert one.mask_origin == other.mask_origin
        assert [box.xyxy for box in one.boxes] == [box.xyxy for box in other.boxes]
        assert one.probability is None
        if other.is_present:
            assert other.probability.shape == other.mask.shape
            inside = other.probability[other.mask]
            outside = other.probability[~other.mask]
            assert inside.min() >= outside.max(initial=0)


def test_the_package_offers_its_doors():
    for name in model.__all__:
        assert getattr(model, name) is not None
    with pytest.raises(AttributeError):
        _ = model.nothing
