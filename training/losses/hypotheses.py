"""Let the best of several answers learn most, so that their spread means doubt."""

from __future__ import annotations

from torch import Tensor

__all__ = ["winner_takes_most"]


def winner_takes_most(costs: Tensor, *, epsilon: float = 0.05) -> Tensor:
    """Weigh the cheapest hypothesis with 1 - epsilon and the others with the rest.

    Parameters
    ----------
    costs
        (hypotheses, ...) cost of every hypothesis for every answer.
    epsilon
        Share that the losers divide evenly, in [0, 1]; none of them is forgotten.

    Returns
    -------
    Weighted costs, of the shape of one hypothesis.

    References
    ----------
    C. Rupprecht et al., Learning in an uncertain world: representing ambiguity
    through multiple hypotheses, ICCV 2017. K. Zou et al., uMedGround, TPAMI 2025.
    """
    if len(costs) == 1:
        return costs[0]
    best = costs.min(dim=0).values
    rest = (costs.sum(dim=0) - best) / (len(costs) - 1)
    return (1 - epsilon) * best + epsilon * rest
