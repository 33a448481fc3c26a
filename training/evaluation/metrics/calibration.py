"""Judge whether a confidence of 0.8 is right eight times out of ten."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize

from training.evaluation.metrics.definition import Definition

__all__ = [
    "BINS",
    "CALIBRATION_DEFINITIONS",
    "ReliabilityBin",
    "brier",
    "detection_calibration_error",
    "expected_calibration_error",
    "fit_platt",
    "reliability",
]

BINS = 15
"""Equal bins of [0, 1]; the number that most papers use."""

DETECTION_BINS = 5
"""Bins per dimension of the detection calibration error."""

CALIBRATION_DEFINITIONS = (
    Definition(
        "ECE presence",
        "Mean gap between the presence score and the share of phrases that are present "
        f"over {BINS} equal bins of the score, weighted by the phrases in each.",
        better="lower",
        reference="C. Guo et al., ICML 2017",
    ),
    Definition(
        "ECE place",
        "Mean gap between one minus uncertainty and the share of phrases placed with "
        "IoU >= 0.5 (of masks; of the top box where only boxes are known), over the "
        f"phrases called present, in {BINS} equal bins.",
        better="lower",
        reference="C. Guo et al., ICML 2017",
    ),
    Definition(
        "D-ECE",
        "Mean gap between box score and box precision at IoU 0.5, over all boxes, in "
        f"{DETECTION_BINS} bins each of score, relative centre x and y, relative width "
        "and height.",
        better="lower",
        reference="F. Kueppers et al., CVPR Workshops 2020",
    ),
    Definition(
        "Brier",
        "Mean over all phrases of (presence score - 1 or 0)^2.",
        better="lower",
        reference="G. W. Brier, Monthly Weather Review 1950",
    ),
)


@dataclass(frozen=True)
class ReliabilityBin:
    """One column of a reliability diagram."""

    low: float
    high: float
    count: int
    confidence: float
    """Mean confidence in the bin"""
    accuracy: float
    """Share that is right in the bin"""


def reliability(
    confidence: NDArray[np.float64], correct: NDArray[np.bool_], *, bins: int = BINS
) -> tuple[ReliabilityBin, ...]:
    """Return the bins that hold anything; a bin holds (low, high], the first also 0."""
    place = np.clip(np.ceil(confidence * bins).astype(np.int64) - 1, 0, bins - 1)
    return tuple(
        ReliabilityBin(
            low=b / bins,
            high=(b + 1) / bins,
            count=int((place == b).sum()),
            confidence=float(confidence[place == b].mean()),
            accuracy=float(correct[place == b].mean()),
        )
        for b in np.unique(place).tolist()
    )


def expected_calibration_error(
    confidence: NDArray[np.float64], correct: NDArray[np.bool_], *, bins: int = BINS
) -> float:
    """Return the weighted mean gap of a reliability diagram.

    References
    ----------
    C. Guo et al., On calibration of modern neural networks, ICML 2017.
    """
    table = reliability(confidence, correct, bins=bins)
    gaps = [column.count * abs(column.confidence - column.accuracy) for column in table]
    return float(sum(gaps) / len(confidence))


def detection_calibration_error(
    confidence: NDArray[np.float64],
    correct: NDArray[np.bool_],
    *,
    places: NDArray[np.float64],
    bins: int = DETECTION_BINS,
) -> float:
    """Return the calibration error over bins of confidence and place together.

    Parameters
    ----------
    places
        (n, d) in [0, 1], such as relative centre, width and height.

    References
    ----------
    F. Kueppers et al., Multivariate confidence calibration for object detection, CVPR
    Workshops 2020.
    """
    table = np.column_stack([confidence, places])
    cells = np.clip((table * bins).astype(np.int64), 0, bins - 1)
    _, owner = np.unique(cells, axis=0, return_inverse=True)
    owner = owner.ravel()
    gaps = np.bincount(owner, weights=confidence - correct.astype(np.float64))
    return float(np.abs(gaps).sum() / len(confidence))


def brier(scores: NDArray[np.float64], truth: NDArray[np.bool_]) -> float:
    """Return the mean squared distance of probabilities from what is so."""
    return float(np.mean((scores - truth.astype(np.float64)) ** 2))


def fit_platt(
    logits: NDArray[np.float64], truth: NDArray[np.bool_]
) -> tuple[float, float]:
    """Fit P = sigmoid(scale * logit + shift), both classes weighing the same.

    References
    ----------
    J. Platt, Probabilistic outputs for support vector machines, 1999.
    """
    weight = np.where(truth, 0.5 / truth.sum(), 0.5 / (~truth).sum())
    sign = np.where(truth, 1.0, -1.0)

    def cost(parameters: NDArray[np.float64]) -> float:
        scale, shift = parameters
        margin = sign * (scale * logits + shift)
        penalty = 1e-3 * (scale - 1) ** 2
        return float((weight * np.logaddexp(0, -margin)).sum() + penalty)

    scale, shift = minimize(cost, np.array([1.0, 0.0]), method="Nelder-Mead").x
    return float(scale), float(shift)
