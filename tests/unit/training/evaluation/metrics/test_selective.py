from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import spearmanr

from training.evaluation.metrics import (
    area_under_risk,
    rank_correlation,
    risk_coverage,
)


def test_risk_grows_as_doubtful_answers_are_kept():
    uncertainty = np.array([0.9, 0.1, 0.5])
    error = np.array([1.0, 0.0, 0.5])

    coverage, risk = risk_coverage(uncertainty, error)

    assert coverage == pytest.approx([1 / 3, 2 / 3, 1])
    assert risk == pytest.approx([0, 0.25, 0.5])
    assert area_under_risk(uncertainty, error) == pytest.approx(0.25)


def test_uncertainty_that_tells_nothing_has_the_mean_error():
    error = np.array([1.0, 0.0, 0.5, 0.1])

    assert area_under_risk(np.ones(4), error) == pytest.approx(0.4)


def test_the_order_of_equal_doubts_changes_nothing():
    first = area_under_risk(np.array([1.0, 1.0, 2.0]), np.array([0.0, 1.0, 0.3]))
    second = area_under_risk(np.array([1.0, 1.0, 2.0]), np.array([1.0, 0.0, 0.3]))

    assert first == pytest.approx(second)


def test_constant_uncertainty_has_no_rank_correlation():
    assert np.isnan(rank_correlation(np.ones(3), np.arange(3.0)))
    assert np.isnan(rank_correlation(np.ones(1), np.ones(1)))


@given(
    st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4)), min_size=3, max_size=20)
)
def test_scipy_computes_the_same_rank_correlation(pairs):
    first, second = np.array(pairs, float).T
    if not first.std() or not second.std():
        return

    expected = spearmanr(first, second).statistic

    assert rank_correlation(first, second) == pytest.approx(expected)
