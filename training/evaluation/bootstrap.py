"""Draw intervals over patients: phrases of one patient are no independent evidence."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["DRAWS", "Interval", "mean_interval", "patient_interval"]

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
    rng = np.random.default_rng(seed)
    values = np.empty(draws)
    for draw in range(draws):
        chosen = rng.integers(len(names), size=len(names))
        values[draw] = statistic(np.concatenate([members[i] for i in chosen]))
    return _bounds(values)


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
    rng = np.random.default_rng(seed)
    chosen = np.stack(
        [rng.integers(len(names), size=len(names)) for _ in range(draws)]
    )  # (draws, patients)
    return _bounds(sums[chosen].sum(axis=1) / counts[chosen].sum(axis=1))


def _bounds(values: NDArray[np.float64]) -> Interval | None:
    known = values[np.isfinite(values)]
    if 2 * len(known) < len(values):
        return None
    low, high = np.percentile(known, _TAILS)
    return Interval(float(low), float(high))
