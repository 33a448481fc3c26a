"""Measure answers: pure functions of arrays."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.stats import rankdata

__all__ = ["auroc", "dice", "fit_platt", "paste"]


def dice(found: NDArray[np.bool_], truth: NDArray[np.bool_]) -> float:
    """Return the Dice overlap of two masks; 1 when both are empty.

    References
    ----------
    L. R. Dice, Measures of the amount of ecologic association, Ecology 1945.
    """
    total = int(found.sum()) + int(truth.sum())
    return 2 * int((found & truth).sum()) / total if total else 1.0


def auroc(scores: NDArray[np.float64], truth: NDArray[np.bool_]) -> float:
    """Return the chance that a present phrase outscores an absent one.

    References
    ----------
    J. A. Hanley, B. J. McNeil, The meaning and use of the area under a ROC curve,
    Radiology 1982.
    """
    positive, negative = int(truth.sum()), int((~truth).sum())
    if not positive or not negative:
        raise ValueError("AUROC needs present and absent phrases")
    ranks = rankdata(scores)
    rest = positive * (positive + 1) / 2
    return float((ranks[truth].sum() - rest) / (positive * negative))


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


def paste(
    mask: NDArray[np.bool_], origin: tuple[int, int, int], shape: tuple[Any, ...]
) -> NDArray[np.bool_]:
    """Lay a cropped mask into an empty volume."""
    whole = np.zeros(shape, dtype=np.bool_)
    if mask.size:
        part = tuple(slice(o, o + n) for o, n in zip(origin, mask.shape, strict=True))
        whole[part] = mask
    return whole
