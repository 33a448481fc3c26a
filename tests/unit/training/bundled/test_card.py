from __future__ import annotations

import pytest

from model.config import MedGLIPConfig
from training.bundled.card import render_card
from training.bundled.evaluate import SIX
from training.config import TrainingConfig

ROW = {
    "concept": "liver", "phrase": "liver", "trained_wording": True, "score": 0.9,
    "is_present": True, "uncertainty": 0.2, "volume_ml": 700.0, "dice": 0.9,
}  # fmt: skip


def make_evaluation(**changes: object) -> dict:
    evaluation = {
        "model": {"name": "m", "version": "1", "sha256": "ab" * 32},
        "parameters": 1_234_567,
        "mean_dice_six": 0.4321,
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
        "ablation": [
            {"branch": "dense branch only", "core_weight": 0.0,
             "mean_dice_six": 0.4, "mean_dice_all": 0.3},
        ],
    }  # fmt: skip
    return {**evaluation, **changes}


def render(**changes: object) -> str:
    return render_card(
        make_evaluation(**changes),
        {"stacks": 12.0, "present_pairs": 30.0, "absent_pairs": 60.0},
        MedGLIPConfig(),
        TrainingConfig(steps=77, note="Said aloud."),
    )


@pytest.mark.parametrize(
    "said",
    ["**0.432**", "1.23 M", "77 steps", "12 development stacks", "Said aloud.",
     "| dense branch only | 0.000 | 0.400 | 0.300 |"],
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
