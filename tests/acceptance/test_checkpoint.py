"""The shipped checkpoint reaches on the held-out CT what its model card claims."""

from __future__ import annotations

import json
import re
from importlib import resources

import numpy as np
import pytest

from dicom_node.errors import OpenDataError
from dicom_node.opendata import fetch_totalsegmentator
from model import GroundingModel, MedGLIPConfig, bundled_checkpoint
from tests.builders.peers import cannot_run
from training.bundled.card import render_card
from training.bundled.development import CALIBRATION_FILE
from training.bundled.evaluate import EVALUATION_FILE, SIX
from training.bundled.heldout import HeldOut, load_held_out
from training.config import TrainingConfig
from training.evaluation.metrics import dice, paste
from training.phrases import load_lexicon

pytestmark = [pytest.mark.acceptance, pytest.mark.slow]

LEXICON = load_lexicon()
CLAIMS = json.loads((bundled_checkpoint() / EVALUATION_FILE).read_text())
MARGIN = 0.02
"""Another thread count or machine may move a Dice this far."""

ABSENT = [
    "brain", "the brain is normal", "uterus", "the uterus is enlarged", "knee joint",
    "teeth", "thyroid gland", "optic nerve", "the weather is nice", "ovarian cyst",
]  # fmt: skip


@pytest.fixture(scope="module")
def held_out() -> HeldOut:
    try:
        return load_held_out(fetch_totalsegmentator())
    except OpenDataError as error:
        cannot_run(f"the open CT cannot be fetched: {error}")


@pytest.fixture(scope="module")
def model() -> GroundingModel:
    return GroundingModel.from_pretrained(bundled_checkpoint())


def overlap(model: GroundingModel, held_out: HeldOut, phrase: str, concept: str):
    answer = model.ground(held_out.stack, [phrase])[0]
    region = held_out.region(LEXICON.find(concept), LEXICON)
    return dice(paste(answer.mask, answer.mask_origin, region.shape), region)


def test_the_claims_are_about_these_weights(model):
    assert CLAIMS["model"]["sha256"] == model.sha256


@pytest.mark.parametrize(("phrase", "concept"), SIX)
def test_each_claimed_overlap_is_reached(model, held_out, phrase, concept):
    claimed = next(row["dice"] for row in CLAIMS["six"] if row["phrase"] == phrase)

    assert overlap(model, held_out, phrase, concept) >= claimed - MARGIN


def test_the_six_reach_three_quarters(model, held_out):
    found = [overlap(model, held_out, phrase, concept) for phrase, concept in SIX]

    assert np.mean(found) >= 0.75


@pytest.mark.parametrize("phrase", ["hepatic parenchyma", "the liver is enlarged"])
def test_wording_never_trained_on_is_as_good_as_the_name(model, held_out, phrase):
    trained = {text for c in LEXICON.concepts for text in LEXICON.wordings(c)}
    plain = overlap(model, held_out, "liver", "liver")

    assert phrase not in trained
    assert overlap(model, held_out, phrase, "liver") >= plain - MARGIN


@pytest.mark.parametrize("phrase", ABSENT)
def test_what_is_not_there_comes_back_absent(model, held_out, phrase):
    answer = model.ground(held_out.stack, [phrase])[0]

    assert not answer.is_present
    assert answer.boxes == ()


def test_the_card_is_written_from_the_results():
    folder = bundled_checkpoint()

    text = render_card(
        CLAIMS,
        json.loads((folder / CALIBRATION_FILE).read_text()),
        MedGLIPConfig.load(folder),
        TrainingConfig.load_beside(folder),
    )

    assert (folder / "README.md").read_text() == text
    assert re.search(r"Mean Dice of the six phrases below: \*\*0\.\d+\*\*", text)


def test_the_checkpoint_was_made_by_the_recipe():
    recipe = resources.files("training") / "configs" / "medglip-tiny.toml"

    assert TrainingConfig.load_beside(bundled_checkpoint()) == TrainingConfig.load(
        recipe
    )
