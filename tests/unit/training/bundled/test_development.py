from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.builders.tiny_model import TINY
from tests.builders.toy_volume import make_volume
from training.bundled.development import (
    choose_weight,
    development_pictures,
    development_stacks,
    uncertainty_table,
)
from training.derived.builders import PHANTOMS
from training.phrases import load_lexicon

LEXICON = load_lexicon()


def test_a_clear_gain_is_taken():
    rng = np.random.default_rng(0)
    alone = rng.uniform(0.4, 0.6, 50)

    overlaps = {0.0: list(alone), 0.4: list(alone + 0.1 + rng.normal(0, 0.02, 50))}

    assert choose_weight(overlaps) == 0.4


@pytest.mark.parametrize("gain", [0.0, 0.001, -0.2])
def test_a_doubtful_gain_is_not(gain):
    rng = np.random.default_rng(0)
    alone = rng.uniform(0.4, 0.6, 50)

    noise = rng.normal(0, 0.05, 50)
    overlaps = {0.0: list(alone), 0.4: list(alone + gain + noise - noise.mean())}

    assert choose_weight(overlaps) == 0.0


def test_development_stacks_repeat_and_differ_from_each_other():
    volumes = (make_volume(), make_volume(seed=1), make_volume(seed=2))

    first = list(development_stacks(volumes, LEXICON, count=3, slices=4))
    again = list(development_stacks(volumes, LEXICON, count=3, slices=4))

    assert [len(s.stack.pixels) for s in first] == [12, 4, 4]
    for one, other in zip(first, again, strict=True):
        assert np.array_equal(one.stack.pixels, other.stack.pixels)
    assert not np.array_equal(first[1].stack.pixels, first[2].stack.pixels)


def test_a_development_stack_knows_the_regions_of_its_concepts():
    (sample,) = development_stacks((make_volume(),), LEXICON, count=1, slices=4)
    liver = LEXICON.concepts.index(LEXICON.find("liver"))

    assert liver in sample.known
    region = sample.regions(liver)
    assert region.shape == sample.stack.pixels.shape
    assert region.any()


def test_development_pictures_come_from_every_source():
    source = PHANTOMS["endoscopy"]

    drawn = list(development_pictures([source], LEXICON, count=3, config=TINY))

    polyp = LEXICON.concepts.index(LEXICON.find("polyp"))
    assert [sample.stack.modality for sample in drawn] == ["ES"] * 3
    assert all(polyp in sample.known for sample in drawn)
    assert any(sample.regions(polyp).any() for sample in drawn)


@given(
    st.lists(st.tuples(st.floats(0, 1), st.booleans()), min_size=30, max_size=80),
)
def test_calibrated_uncertainty_rises_with_the_raw_one(answers):
    raw, wrong = (np.array(column) for column in zip(*answers, strict=True))

    table = uncertainty_table(raw, wrong)

    config = replace(TINY, uncertainty_knots=table)  # refuses a table that falls
    assert all(0 <= value <= 1 for _, value in config.uncertainty_knots)


def test_the_table_gives_the_share_of_wrong_answers():
    rng = np.random.default_rng(0)
    raw = rng.uniform(0, 1, 4000)
    wrong = rng.uniform(0, 1, 4000) < raw**2

    table = np.array(uncertainty_table(raw, wrong))

    assert np.abs(np.interp(0.5, *table.T) - 0.25) < 0.1
    assert np.abs(np.interp(0.9, *table.T) - 0.81) < 0.1


def test_few_answers_make_no_table():
    assert uncertainty_table(np.linspace(0, 1, 29), np.zeros(29, bool)) == ()
