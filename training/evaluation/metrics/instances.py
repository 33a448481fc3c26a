"""Match the separate pieces of a finding one to one."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.optimize import linear_sum_assignment

from training.evaluation.metrics.definition import Definition

__all__ = [
    "INSTANCE_DEFINITIONS",
    "INSTANCE_DICE",
    "InstanceCounts",
    "count_instances",
]

INSTANCE_DICE = 0.2
"""A piece is found from this Dice with its partner on (ReXGroundingCT)."""

_RULE = (
    "Pieces are 26-connected components (8-connected on single pictures), paired one "
    f"to one, and a pair counts from Dice {INSTANCE_DICE} on; counts are pooled over "
    "all outlined phrases, absent ones included"
)

INSTANCE_DEFINITIONS = (
    Definition(
        "Instance precision",
        f"Share of the predicted pieces that pair with a true one. {_RULE}.",
        reference="ReXGroundingCT, rexrank.ai",
    ),
    Definition(
        "Instance recall",
        f"Share of the true pieces that pair with a predicted one. {_RULE}.",
        reference="ReXGroundingCT, rexrank.ai",
    ),
    Definition(
        "Instance F1",
        "Harmonic mean of instance precision and instance recall.",
        reference="ReXGroundingCT, rexrank.ai",
    ),
)


@dataclass(frozen=True)
class InstanceCounts:
    """How many pieces were paired, predicted and true."""

    paired: int
    predicted: int
    true: int

    @property
    def precision(self) -> float:
        """Return paired / predicted; NaN when nothing was predicted."""
        return self.paired / self.predicted if self.predicted else float("nan")

    @property
    def recall(self) -> float:
        """Return paired / true; NaN when nothing is true."""
        return self.paired / self.true if self.true else float("nan")

    @property
    def f1(self) -> float:
        """Return the harmonic mean; NaN when there is neither kind of piece."""
        total = self.predicted + self.true
        return 2 * self.paired / total if total else float("nan")


def count_instances(
    found: NDArray[np.bool_],
    truth: NDArray[np.bool_],
    *,
    threshold: float = INSTANCE_DICE,
) -> InstanceCounts:
    """Pair connected pieces so that as many as possible overlap enough.

    Parameters
    ----------
    found, truth
        (slices, rows, columns) or (rows, columns).
    """
    structure = np.ones((3,) * found.ndim, dtype=np.bool_)
    ours, n_ours = ndimage.label(found, structure)
    theirs, n_theirs = ndimage.label(truth, structure)
    if not n_ours or not n_theirs:
        return InstanceCounts(0, n_ours, n_theirs)
    pairs = ours.ravel().astype(np.int64) * (n_theirs + 1) + theirs.ravel()
    table = np.bincount(pairs, minlength=(n_ours + 1) * (n_theirs + 1))
    table = table.reshape(n_ours + 1, n_theirs + 1)
    sizes = table.sum(axis=1)[1:, None] + table.sum(axis=0)[None, 1:]
    overlap = 2 * table[1:, 1:] / sizes  # (predicted pieces, true pieces)
    enough = overlap >= threshold
    # Any pair that is enough outweighs the Dice of all others together, so that the
    # number of pairs is what is maximised first.
    gain = np.where(enough, min(n_ours, n_theirs) + overlap, 0.0)
    rows, columns = linear_sum_assignment(gain, maximize=True)
    return InstanceCounts(int(enough[rows, columns].sum()), n_ours, n_theirs)
