"""Draw intervals over patients: phrases of one patient are no independent evidence."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "DRAWS",
    "Interval",
    "interval_of",
    "mean_interval",
    "patient_draws",
    "patient_interval",
]

DRAWS = 500
"""Resamples per interval; RadFact's number."""

_TAILS = (2.5, 97.5)
"""Percentiles that bound an interval."""

Rows = NDArray[np.int64]


@dataclass(frozen=True)
class Interval:
    """Where 95 % of the resampled values lie."""

    low: float
    high: float


def patient_interval(
    patients: Sequence[str],
    statistic: Callable[[Rows], float],
    *,
    draws: int = DRAWS,
    seed: int = 0,
) -> Interval | None:
    """Resample patients with replacement and recompute a statistic of their rows.

    Parameters
    ----------
    patients
        Who each row belongs to.
    statistic
        Takes row numbers, repeated as drawn; NaN where it is undefined for a draw.

    Returns
    -------
    None when there are fewer than two patients, or when the statistic is undefined in
    more than half of the draws.

    References
    ----------
    B. Efron, R. J. Tibshirani, An introduction to the bootstrap, 1993: the percentile
    interval, over clusters.
    """
    names, owner = np.unique(np.asarray(patients), return_inverse=True)
    if len(names) < 2:
        return None
    members = [np.flatnonzero(owner == row) for row in range(len(names))]
    values = [
        statistic(np.concatenate([members[i] for i in chosen]))
        for chosen in patient_draws(len(names), draws=draws, seed=seed)
    ]
    return interval_of(np.array(values))


def mean_interval(
    values: NDArray[np.float64],
    patients: Sequence[str],
    *,
    draws: int = DRAWS,
    seed: int = 0,
) -> Interval | None:
    """Return the interval of a mean; the same draws as `patient_interval`, faster."""
    names, owner = np.unique(np.asarray(patients), return_inverse=True)
    if len(names) < 2:
        return None
    sums = np.bincount(owner, weights=values, minlength=len(names))
    counts = np.bincount(owner, minlength=len(names))
    chosen = patient_draws(len(names), draws=draws, seed=seed)
    return interval_of(sums[chosen].sum(axis=1) / counts[chosen].sum(axis=1))


def patient_draws(patients: int, *, draws: int = DRAWS, seed: int = 0) -> Rows:
    """Draw patients with replacement: (draws, patients); none of fewer than two."""
    if patients < 2:
        return np.zeros((0, patients), dtype=np.int64)
    rng = np.random.default_rng(seed)
    return rng.integers(patients, size=(draws, patients))


def interval_of(values: NDArray[np.float64]) -> Interval | None:
    """Return the percentile interval of resampled values.

    None when there are no values, or when more than half are undefined.
    """
    known = values[np.isfinite(values)]
    if not len(known) or 2 * len(known) < len(values):
        return None
    low, high = np.percentile(known, _TAILS)
    return Interval(float(low), float(high))
