from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from training.evaluation.metrics import auroc, dice, fit_platt, paste


def test_dice_of_known_masks():
    first, second = np.zeros(10, bool), np.zeros(10, bool)
    first[:4], second[2:8] = True, True

    assert dice(first, second) == pytest.approx(0.4)
    assert dice(first, first) == 1
    assert dice(~first & first, ~second & second) == 1


def test_auroc_counts_ties_half():
    truth = np.array([True, True, False, False])

    assert auroc(np.array([3.0, 2.0, 1.0, 0.0]), truth) == 1
    assert auroc(np.array([0.0, 1.0, 2.0, 3.0]), truth) == 0
    assert auroc(np.ones(4), truth) == 0.5


def test_auroc_of_one_class_is_refused():
    with pytest.raises(ValueError, match="absent"):
        auroc(np.ones(3), np.ones(3, bool))


def test_platt_finds_the_point_of_doubt():
    rng = np.random.default_rng(0)
    logits = np.concatenate([rng.normal(5, 1, 500), rng.normal(1, 1, 500)])
    truth = np.arange(1000) < 500

    scale, shift = fit_platt(logits, truth)

    assert -shift / scale == pytest.approx(3.0, abs=0.2)
    assert scale > 1


@given(st.tuples(*[st.integers(0, 4)] * 3), st.tuples(*[st.integers(1, 3)] * 3))
def test_a_pasted_mask_lies_where_it_was_cut(origin, shape):
    whole = paste(np.ones(shape, bool), origin, (8, 8, 8))

    assert whole.sum() == np.prod(shape)
    assert tuple(np.argwhere(whole).min(0)) == origin


def test_an_empty_mask_pastes_nothing():
    assert not paste(np.zeros((0, 0, 0), bool), (0, 0, 0), (4, 4, 4)).any()
