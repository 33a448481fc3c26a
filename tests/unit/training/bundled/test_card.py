from __future__ import annotations

from importlib import resources
from pathlib import Path

import pytest

from model.config import MedGLIPConfig
from training.bundled.card import render_card
from training.bundled.evaluate import SIX
from training.bundled.inputs import INPUTS, shares
from training.config import SourceConfig, TrainingConfig
from training.derived.builders import BUILDERS

ROW = {
    "concept": "liver", "phrase": "liver", "trained_wording": True, "score": 0.9,
    "is_present": True, "uncertainty": 0.2, "volume_ml": 700.0, "dice": 0.9,
}  # fmt: skip


def make_evaluation(**changes: object) -> dict:
    evaluation = {
        "model": {"name": "m", "version": "1", "sha256": "ab" * 32},
        "parameters": 1_234_567,
        "mean_dice_six": 0.4321,
        "mean_dice_all": 0.5432,
        "mean_dice_unseen_wording": 0.8,
        "mean_dice_unseen_wording_usual": 0.81,
        "presence_auroc": 0.95,
        "presence_sensitivity": 0.5,
        "absence_specificity": 0.25,
        "absence_specificity_unseen": 0.75,
        "uncertainty_error_correlation": 0.3,
        "six": [{**ROW, "phrase": phrase} for phrase, _ in SIX],
        "structures": [ROW, {**ROW, "phrase": "pancreas", "is_present": False}],
        "wordings": [{**ROW, "phrase": "hepatomegaly"}],
        "unseen_wordings": [ROW, ROW],
        "absent": [{**ROW, "phrase": "brain", "is_present": True}],
        "absent_unseen": [{**ROW, "phrase": "cochlea", "is_present": False}],
        "pictures": [
            {"case": "brain_mr", "modality": "MR", "phrase": "brain", "there": True,
             "is_present": True, "score": 0.9, "uncertainty": 0.1, "dice": 0.8765},
            {"case": "brain_mr", "modality": "MR", "phrase": "heart", "there": False,
             "is_present": True, "score": 0.6, "uncertainty": 0.5, "dice": None},
        ],
        "corpus": {"notes": ["held-out MR: drawn by us"], "metrics": {}},
        "branches": [
            {"branch": "dense branch only", "core_weight": 0.0,
             "mean_dice_six": 0.4, "mean_dice_all": 0.3},
        ],
    }  # fmt: skip
    return {**evaluation, **changes}


def render(**changes: object) -> str:
    return render_card(
        make_evaluation(**changes),
        {
            "stacks": 12.0,
            "present_pairs": 30.0,
            "absent_pairs": 60.0,
            "placed_pairs": 28.0,
            "misplaced_share": 0.25,
        },
        MedGLIPConfig(),
        TrainingConfig(
            steps=77,
            note="Said aloud.",
            sources=(
                SourceConfig("abdomen", 3.0, options={"torso_ct": 0.5, "cells": 0.5}),
                SourceConfig("brains", 1.0, options={"brain": 1.0}),
            ),
        ),
    )


@pytest.mark.parametrize(
    "said",
    ["**0.432**", "1.23 M", "77 steps", "12 development stacks", "Said aloud.",
     "| dense branch only | 0.000 | 0.400 | 0.300 |", "**0.543**", "| 37.5% |",
     "| brain_mr | MR | brain | 0.876 | 0.900 | yes |", "heart (brain_mr)",
     "held-out MR: drawn by us", "25.0% of them misplaced"],
)  # fmt: skip
def test_numbers_come_from_the_results(said):
    assert said in render()


def test_mistakes_are_named():
    card = render()

    assert 'Wrongly called present: "brain".' in card
    assert 'Wrongly called absent: "pancreas".' in card


def test_a_model_without_mistakes_says_so():
    card = render(absent=[], structures=[ROW])

    assert "Wrongly called present: none." in card
    assert "Wrongly called absent: none." in card


def test_every_source_that_can_be_drawn_has_its_line_in_the_card():
    assert set(INPUTS) == set(BUILDERS)


def test_shares_of_sources_sum_to_one():
    recipe = Path(str(resources.files("training"))) / "configs" / "medglip-tiny.toml"

    found = shares(TrainingConfig.load(recipe))

    assert sum(found.values()) == pytest.approx(1.0)
    assert set(found) <= set(INPUTS)
