from __future__ import annotations

import copy
from dataclasses import replace

import numpy as np
import pytest
import torch

from model import bundled_checkpoint, inference
from model.evidence import compare, decode
from model.features import see_stack
from model.inference import GroundingModel
from model.parity import compare_answers, probe_stacks
from tests.builders.tiny_model import make_grounding_model, make_stack

PHRASES = ["liver", "left kidney", "aorta", "spleen", "vertebrae"]


def make_grounding(**changes) -> GroundingModel:
    grounding = GroundingModel(make_grounding_model().network, sha256="0" * 64)
    grounding.config = replace(grounding.config, **changes)
    return grounding


def test_maps_of_kept_phrases_are_those_of_decoding_all():
    grounding = make_grounding()
    features = see_stack(
        grounding.network, make_stack(6, 64, 64), device="cpu", progress=None
    )
    reading = grounding.read(features, PHRASES)
    compared = compare(grounding.network, features, reading)
    every = decode(
        grounding.network, features, reading, compared, rows=range(len(PHRASES))
    )

    kept = decode(grounding.network, features, reading, compared, rows=[3, 1])

    assert list(kept) == [3, 1]
    for row, evidence in kept.items():
        assert evidence.presence_logit == every[row].presence_logit
        assert np.array_equal(evidence.dense, every[row].dense)
        assert evidence.agreement == pytest.approx(every[row].agreement, abs=1e-3)
    assert decode(grounding.network, features, reading, compared, rows=[]) == {}


def test_only_present_phrases_are_decoded(monkeypatch):
    stack = make_stack(6, 64, 64)
    scores = sorted(one.score for one in make_grounding().ground(stack, PHRASES))
    grounding = make_grounding(presence_threshold=(scores[2] + scores[3]) / 2)
    decoded = []

    def count(*given, rows):
        decoded.append(list(rows))
        return decode(*given, rows=rows)

    monkeypatch.setattr(inference, "decode", count)

    answers = grounding.ground(stack, PHRASES)

    present = [row for row, answer in enumerate(answers) if answer.is_present]
    assert sorted(decoded[0]) == present
    assert len(present) == 2


@pytest.mark.parametrize("at_once", [1, 2, 16])
def test_slices_together_are_answered_as_alone(at_once):
    stack = make_stack(9, 64, 80)
    usual, other = make_grounding(), make_grounding()
    other.pictures_at_once = at_once

    parity = compare_answers(
        usual.ground(stack, PHRASES, with_probabilities=True),
        other.ground(stack, PHRASES, with_probabilities=True),
        shape=stack.pixels.shape,
    )

    assert parity.score < 1e-4
    assert parity.probability < 1e-3
    assert parity.dice > 0.999


@pytest.mark.parametrize("core_weight", [0.0, 0.3])
def test_maps_that_only_the_core_reads_are_kept_for_it_alone(core_weight, monkeypatch):
    grounding = make_grounding(core_weight=core_weight)
    kept = []

    def watch(*given, **options):
        features = see_stack(*given, **options)
        kept.extend(map(len, features.pyramids))
        return features

    monkeypatch.setattr(inference, "see_stack", watch)

    grounding.ground(make_stack(3, 64, 64), PHRASES)

    assert set(kept) == {5 if core_weight else 2}


def test_windows_and_neighbours_are_gathered_where_the_network_is():
    grounding = make_grounding()
    seen = []

    def see(pixels, modality):
        seen.append(pixels)
        return grounding.network.see(pixels, modality)

    see_stack(
        grounding.network, make_stack(5, 48, 48), device="cpu", progress=None, see=see
    )

    assert all(isinstance(pixels, torch.Tensor) for pixels in seen)
    assert all(pixels.is_contiguous() for pixels in seen)
    assert sum(map(len, seen)) == 5


def test_features_are_as_exact_as_single_precision_lets_them_be():
    # Normalisation of pixels whose channels lie side by side loses four digits here.
    grounding = GroundingModel.from_pretrained(bundled_checkpoint())
    exact = copy.deepcopy(grounding.network).double()
    (volume, *_) = probe_stacks()
    stack = replace(volume, pixels=volume.pixels[:2])

    def see_exactly(pixels, modality):
        return tuple(exact.see(pixels.double(), modality))

    def levels(see):
        features = see_stack(
            grounding.network, stack, device="cpu", progress=None, see=see
        )
        return [level for pyramid in features.pyramids for level in pyramid]

    for mine, true in zip(levels(None), levels(see_exactly), strict=True):
        apart = (mine.double() - true).abs().max() / true.abs().max()
        assert apart < 5e-6
