from __future__ import annotations

import numpy as np
import pytest

from training.evaluation.bootstrap import Interval, mean_interval, patient_interval


def test_a_mean_has_the_same_interval_both_ways():
    rng = np.random.default_rng(0)
    values = rng.random(40)
    patients = [f"p{i % 7}" for i in range(40)]

    slow = patient_interval(patients, lambda rows: float(values[rows].mean()))

    fast = mean_interval(values, patients)
    assert slow is not None
    assert fast is not None
    assert (fast.low, fast.high) == pytest.approx((slow.low, slow.high))


def test_one_patient_has_no_interval():
    assert mean_interval(np.arange(5.0), ["p"] * 5) is None
    assert patient_interval(["p"] * 5, lambda rows: 1.0) is None


def test_many_phrases_of_two_patients_are_two_observations():
    values = np.repeat([0.0, 1.0], 500)
    patients = np.repeat(["a", "b"], 500).tolist()

    interval = mean_interval(values, patients)

    assert interval == Interval(0.0, 1.0)


def test_the_interval_is_as_wide_as_statistics_expects():
    rng = np.random.default_rng(1)
    values = rng.normal(0, 1, 400)

    interval = mean_interval(values, [str(i) for i in range(400)])

    assert interval is not None
    width = interval.high - interval.low
    assert width == pytest.approx(2 * 1.96 * values.std() / 20, rel=0.15)


def test_the_same_seed_draws_the_same_interval():
    values, patients = np.arange(9.0), list("abcdefghi")

    assert mean_interval(values, patients) == mean_interval(values, patients)
    assert mean_interval(values, patients) != mean_interval(values, patients, seed=1)


def test_a_statistic_that_is_mostly_undefined_has_no_interval():
    patients = ["a", "b"]

    assert patient_interval(patients, lambda rows: float("nan")) is None
