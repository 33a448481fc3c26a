"""Judge heat maps: does the peak lie inside, does the region stand out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from training.evaluation.metrics.definition import Definition

__all__ = ["HEAT_DEFINITIONS", "contrast_to_noise", "points_inside"]

HEAT_DEFINITIONS = (
    Definition(
        "Pointing game",
        "Per class the share of the present phrases whose hottest pixel lies in a true "
        "box, edges included, then the mean over classes.",
        reference="RadZero, arXiv 2504.07416",
    ),
    Definition(
        "CNR",
        "Mean over the present phrases of (mean heat inside - mean heat outside the "
        "true boxes) / sqrt(variance inside + variance outside), with its sign.",
        reference="BioViL, ECCV 2022; signed as Generate-to-Ground",
    ),
    Definition(
        "CNR absolute",
        "As CNR, but the absolute value is averaged: a map that is cold inside counts "
        "as if it were hot.",
        reference="BioViL, ECCV 2022",
    ),
)


def points_inside(
    heat: NDArray[Any], boxes: Sequence[tuple[float, float, float, float]]
) -> bool:
    """Say whether the centre of the hottest pixel lies in any box, edges included.

    Parameters
    ----------
    heat
        (rows, columns) at the picture's own size. Of equal peaks the first in reading
        order counts.
    """
    row, column = np.unravel_index(int(np.argmax(heat)), heat.shape)
    x, y = float(column) + 0.5, float(row) + 0.5
    return any(
        left <= x <= right and top <= y <= bottom for left, top, right, bottom in boxes
    )


def contrast_to_noise(heat: NDArray[Any], region: NDArray[np.bool_]) -> float:
    """Return the signed contrast-to-noise ratio of a region of a heat map.

    NaN where it is undefined: the region is empty or everything, or both sides are
    uniform and differ. 0 when the map is flat.

    Raises
    ------
    ValueError
        Map and region differ in shape.
    """
    if heat.shape != region.shape:
        raise ValueError(f"heat {heat.shape}, region {region.shape}")
    inside, outside = heat[region], heat[~region]
    if not inside.size or not outside.size:
        return float("nan")
    difference = float(inside.mean(dtype=np.float64) - outside.mean(dtype=np.float64))
    noise = float(inside.var(dtype=np.float64) + outside.var(dtype=np.float64))
    if noise == 0:
        return float("nan") if difference else 0.0
    return difference / float(np.sqrt(noise))
