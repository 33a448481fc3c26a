"""Judge whether present phrases are told from absent ones."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

from training.evaluation.metrics.definition import Definition

__all__ = ["PRESENCE_DEFINITIONS", "auroc"]

PRESENCE_DEFINITIONS = (
    Definition(
        "AUROC",
        "Chance that the presence score of a present phrase is above that of an absent "
        "one, ties counting half, over all pairs of the evaluation.",
        reference="J. A. Hanley, B. J. McNeil, Radiology 1982",
    ),
    Definition(
        "Sensitivity",
        "Share of the present phrases that are called present.",
    ),
    Definition(
        "No-target accuracy",
        "Share of the absent phrases that are called absent and get no box or mask.",
        reference="N-acc of C. Liu et al., GRES / gRefCOCO, CVPR 2023",
    ),
)


def auroc(scores: NDArray[np.float64], truth: NDArray[np.bool_]) -> float:
    """Return the chance that a present phrase outscores an absent one.

    Raises
    ------
    ValueError
        One of the classes is empty.

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
