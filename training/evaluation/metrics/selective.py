"""Judge uncertainty: do the doubtful answers carry the errors."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

from training.evaluation.metrics.definition import Definition

__all__ = [
    "SELECTIVE_DEFINITIONS",
    "area_under_risk",
    "rank_correlation",
    "risk_coverage",
]

SELECTIVE_DEFINITIONS = (
    Definition(
        "AURC",
        "Mean over all coverages of the mean error (one minus Dice; one minus top-box "
        "IoU where only boxes are known) of that many least uncertain answers, over "
        "the phrases called present; equally uncertain answers share their mean error.",
        better="lower",
        reference="Y. Geifman et al., ICLR 2019",
    ),
    Definition(
        "Uncertainty-error rank correlation",
        "Spearman's rank correlation of uncertainty with error (as in AURC), over the "
        "phrases called present.",
    ),
)


def risk_coverage(
    uncertainty: NDArray[np.float64], error: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return coverages 1/n .. 1 and the mean error of the answers kept at each.

    Equally uncertain answers cannot be told apart, so each counts their mean.
    """
    _, owner = np.unique(uncertainty, return_inverse=True)
    owner = owner.ravel()
    shared = np.bincount(owner, weights=error) / np.bincount(owner)
    ordered = shared[np.sort(owner)]
    kept = np.arange(1, len(error) + 1)
    return kept / len(error), np.cumsum(ordered) / kept


def area_under_risk(
    uncertainty: NDArray[np.float64], error: NDArray[np.float64]
) -> float:
    """Return the mean of the risk over all coverages.

    References
    ----------
    Y. Geifman, G. Uziel, R. El-Yaniv, Bias-reduced uncertainty estimation for deep
    neural classifiers, ICLR 2019.
    """
    return float(risk_coverage(uncertainty, error)[1].mean())


def rank_correlation(first: NDArray[np.float64], second: NDArray[np.float64]) -> float:
    """Return Spearman's rank correlation; NaN when one side does not vary."""
    ranks = [rankdata(side) for side in (first, second)]
    spread = [side.std() for side in ranks]
    if len(first) < 2 or not all(spread):
        return float("nan")
    centred = [side - side.mean() for side in ranks]
    return float((centred[0] * centred[1]).mean() / (spread[0] * spread[1]))
