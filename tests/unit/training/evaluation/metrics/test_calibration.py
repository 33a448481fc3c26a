from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.metrics import brier_score_loss
from torchmetrics.functional.classification import binary_calibration_error

from training.evaluation.metrics import (
    brier,
    detection_calibration_error,
    expected_calibration_error,
    fit_platt,
    reliability,
)


def test_calibration_error_of_known_bins():
    confidence = np.array([0.9, 0.9, 0.9, 0.9, 0.1, 0.1])
    correct = np.array([True, True, True, False, False, True])

    # Two bins: four answers off by .15, two answers off by .4.
    error = expected_calibration_error(confidence, correct)

    assert error == pytest.approx((4 * 0.15 + 2 * 0.4) / 6)


def test_a_sure_and_right_answer_has_no_error():
    assert expected_calibration_error(np.ones(3), np.ones(3, bool)) == 0
    assert expected_calibration_error(np.zeros(3), np.zeros(3, bool)) == 0


def test_bins_hold_their_upper_edge():
    (low, high) = reliability(np.array([0.5, 0.51]), np.array([True, False]), bins=2)

    assert (low.low, low.high, low.count, low.accuracy) == (0, 0.5, 1, 1)
    assert (high.confidence, high.accuracy) == (pytest.approx(0.51), 0)


def test_torchmetrics_computes_the_same_error():
    rng = np.random.default_rng(0)
    confidence = rng.random(400)
    correct = rng.random(400) < confidence**2

    theirs = binary_calibration_error(
        torch.from_numpy(confidence), torch.from_numpy(correct), n_bins=15, norm="l1"
    )

    assert expected_calibration_error(confidence, correct) == pytest.approx(
        float(theirs), abs=1e-6
    )


def test_brier_agrees_with_scikit_learn():
    rng = np.random.default_rng(0)
    scores, truth = rng.random(50), rng.random(50) < 0.3

    assert brier(scores, truth) == pytest.approx(brier_score_loss(truth, scores))
    assert brier(np.array([0.8, 0.4]), np.array([True, False])) == pytest.approx(0.1)


def test_places_uncover_errors_that_cancel_out():
    # Left boxes are always right, right boxes never: one bin of scores sees no error.
    confidence = np.full(4, 0.5)
    correct = np.array([True, True, False, False])
    places = np.array([[0.1], [0.1], [0.9], [0.9]])

    assert expected_calibration_error(confidence, correct) == 0
    assert detection_calibration_error(confidence, correct, places=places) == 0.5


def test_detection_error_agrees_with_cells_counted_one_by_one():
    rng = np.random.default_rng(1)
    confidence, places = rng.random(300), rng.random((300, 2))
    correct = rng.random(300) < 0.5

    total = 0.0
    edges = np.linspace(0, 1, 6)
    for a in range(5):
        for b in range(5):
            for c in range(5):
                inside = np.ones(300, bool)
                for value, k in ((confidence, a), *zip(places.T, (b, c), strict=True)):
                    inside &= (value >= edges[k]) & (value < edges[k + 1])
                if inside.any():
                    gap = confidence[inside].mean() - correct[inside].mean()
                    total += inside.sum() * abs(gap) / 300

    error = detection_calibration_error(confidence, correct, places=places)

    assert error == pytest.approx(total)


def test_platt_finds_the_point_of_doubt():
    rng = np.random.default_rng(0)
    logits = np.concatenate([rng.normal(5, 1, 500), rng.normal(1, 1, 500)])
    truth = np.arange(1000) < 500

    scale, shift = fit_platt(logits, truth)

    assert -shift / scale == pytest.approx(3.0, abs=0.2)
    assert scale > 1
