"""Paint what a model found on slices, and stack the slices."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from model.regions import SourceMask

__all__ = ["Finding", "paint_region", "paint_scores", "piece_scores", "stack_planes"]


@dataclass(frozen=True, eq=False)
class Finding:
    """What one phrase has on one picture."""

    boxes_xyxy: NDArray[np.float64]
    """(n, 4) as shares of the picture as it was prepared"""
    scores: NDArray[np.float64]
    """(n,) in [0, 1]"""
    masks: NDArray[np.bool_] | None = None
    """(n, rows, columns) on any grid over the picture; None: boxes stand for regions"""
    score: float | None = None
    """Of the phrase on this picture; None: the best box's"""


def paint_scores(
    finding: Finding,
    threshold: float,
    shape: tuple[int, int],
    extent: tuple[float, float],
) -> NDArray[np.float32]:
    """Return the best score above the threshold at each pixel, -1 where none is."""
    plane = np.full(shape, -1.0, dtype=np.float32)
    width, height = extent
    above = np.flatnonzero(finding.scores >= threshold)
    for i in above[np.argsort(finding.scores[above])]:  # the best is painted last
        if finding.masks is not None:
            plane[_resize(finding.masks[i], shape, extent)] = finding.scores[i]
            continue
        x0, y0, x1, y1 = finding.boxes_xyxy[i].clip(0.0, 1.0)
        left, top = int(np.floor(x0 * width)), int(np.floor(y0 * height))
        right, bottom = int(np.ceil(x1 * width)), int(np.ceil(y1 * height))
        plane[top:bottom, left:right] = finding.scores[i]
    return plane


def piece_scores(scores: NDArray[np.float32]) -> dict[tuple[float, ...], float]:
    """Return the best score of each connected piece by the piece's corner box.

    Two pieces that touch all four sides of one box would cross: a box names one.
    """
    pieces, count = ndimage.label(scores >= 0, np.ones((3, 3), dtype=np.bool_))
    best = ndimage.maximum(scores, pieces, np.arange(1, count + 1))
    return {
        tuple(float(v) for v in (x.start, y.start, x.stop, y.stop)): float(score)
        for (y, x), score in zip(ndimage.find_objects(pieces), best, strict=True)
    }


def paint_region(
    finding: Finding,
    threshold: float,
    shape: tuple[int, int],
    extent: tuple[float, float],
) -> NDArray[np.bool_]:
    """Paint the findings above the threshold on (rows, columns)."""
    return paint_scores(finding, threshold, shape, extent) >= 0


def _resize(
    mask: NDArray[np.bool_], shape: tuple[int, int], extent: tuple[float, float]
) -> NDArray[np.bool_]:
    """Sample a mask over the prepared picture at the source's pixel centres."""
    rows, columns = shape
    width, height = extent
    y = (np.arange(rows) + 0.5) / height * mask.shape[0]
    x = (np.arange(columns) + 0.5) / width * mask.shape[1]
    sampled: NDArray[np.bool_] = mask[
        np.ix_(
            y.astype(np.int64).clip(0, mask.shape[0] - 1),
            x.astype(np.int64).clip(0, mask.shape[1] - 1),
        )
    ]
    return sampled


def stack_planes(
    planes: dict[int, NDArray[np.bool_]], looked: NDArray[np.int64], count: int
) -> SourceMask:
    """Give every slice the plane of the nearest slice that was looked at, and crop."""
    filled = {place: plane for place, plane in planes.items() if plane.any()}
    empty = SourceMask(np.zeros((0, 0, 0), dtype=np.bool_), (0, 0, 0))
    if not filled:
        return empty
    union = np.any(list(filled.values()), axis=0)
    ys, xs = np.flatnonzero(union.any(axis=1)), np.flatnonzero(union.any(axis=0))
    rows, columns = slice(ys[0], ys[-1] + 1), slice(xs[0], xs[-1] + 1)
    nearest = looked[np.abs(np.arange(count)[:, None] - looked[None]).argmin(axis=1)]
    used = np.flatnonzero(np.isin(nearest, list(filled)))
    first, last = int(used[0]), int(used[-1]) + 1
    blank = np.zeros((rows.stop - rows.start, columns.stop - columns.start), np.bool_)
    mask = np.stack(
        [
            filled[int(nearest[z])][rows, columns]
            if int(nearest[z]) in filled
            else blank
            for z in range(first, last)
        ]
    )
    return SourceMask(mask, (first, int(rows.start), int(columns.start)))
