"""Judge places as RadFact does: is one side's area borne out by the other's."""

from __future__ import annotations

from collections.abc import Sequence

from training.evaluation.metrics.boxes import PlacedBox, shared_area
from training.evaluation.metrics.definition import Definition

__all__ = ["ENTAILED_SHARE", "ENTAILMENT_DEFINITIONS", "is_entailed"]

ENTAILED_SHARE = 0.5
"""More than this share of an area must lie in the other's (RadFact)."""

_RULE = (
    "spatially entailed means that more than half of the area of one side's boxes lies "
    "within the other side's boxes; areas are exact where RadFact counts pixels of a "
    "224-pixel raster, and equal phrases stand for RadFact's language-model entailment"
)

ENTAILMENT_DEFINITIONS = (
    Definition(
        "Spatial precision",
        "Share of the phrases answered with boxes that are present and whose predicted "
        f"boxes are entailed by the true ones; {_RULE}.",
        reference="RadFact, arXiv 2406.04449",
    ),
    Definition(
        "Spatial recall",
        "Share of the present phrases whose true boxes are entailed by the predicted "
        f"ones; {_RULE}.",
        reference="RadFact, arXiv 2406.04449",
    ),
    Definition(
        "Grounding precision",
        "As spatial precision, but only of the phrases that are present.",
        reference="RadFact, arXiv 2406.04449",
    ),
    Definition(
        "Grounding recall",
        "As spatial recall, but only of the phrases that are called present.",
        reference="RadFact, arXiv 2406.04449",
    ),
)


def is_entailed(candidate: Sequence[PlacedBox], evidence: Sequence[PlacedBox]) -> bool:
    """Say whether more than half of the candidate's area lies in the evidence.

    A candidate without area is never entailed.
    """
    shared, area, _ = shared_area(candidate, evidence)
    return area > 0 and shared / area > ENTAILED_SHARE
