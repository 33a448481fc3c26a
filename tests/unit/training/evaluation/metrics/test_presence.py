from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score

from training.evaluation.metrics import auroc


def test_auroc_counts_ties_half():
    truth = np.array([True, True, False, False])

    assert auroc(np.array([3.0, 2.0, 1.0, 0.0]), truth) == 1
    assert auroc(np.array([0.0, 1.0, 2.0, 3.0]), truth) == 0
    assert auroc(np.ones(4), truth) == 0.5


def test_auroc_of_one_class_is_refused():
    with pytest.raises(ValueError, match="absent"):
        auroc(np.ones(3), np.ones(3, bool))


@given(st.lists(st.tuples(st.integers(0, 5), st.booleans()), min_size=2, max_size=30))
def test_scikit_learn_computes_the_same_area(pairs):
    scores = np.array([score for score, _ in pairs], float)
    truth = np.array([true for _, true in pairs])
    if truth.all() or not truth.any():
        return

    assert auroc(scores, truth) == pytest.approx(roc_auc_score(truth, scores))
