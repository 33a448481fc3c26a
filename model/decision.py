"""Decide from evidence: present or not, where, and how sure."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from model.config import MedGLIPConfig
from model.evidence import PhraseEvidence
from model.grid import ModelGrid
from model.records import Box, PhraseGrounding
from model.regions import (
    SourceMask,
    keep_islands,
    slice_boxes,
    source_mask,
    unite_masks,
)

__all__ = ["absent", "contain_parts", "decide", "presence_score"]


def presence_score(logit: float, config: MedGLIPConfig) -> float:
    """Return the calibrated probability that a phrase is in the image."""
    shifted = config.presence_scale * logit + config.presence_shift
    return float(1 / (1 + np.exp(-np.clip(shifted, -50, 50))))


def decide(
    phrase: str,
    evidence: PhraseEvidence,
    *,
    grid: ModelGrid,
    is_volume: bool,
    config: MedGLIPConfig,
    with_probability: bool = False,
) -> PhraseGrounding:
    """Turn the evidence of one phrase that is present into its answer.

    With probabilities, the answer holds what its mask is cut from.
    """
    score = presence_score(evidence.presence_logit, config)
    share, sure = evidence.dense, score * evidence.agreement
    if evidence.core is not None:
        weight = config.core_weight
        share = (1 - weight) * evidence.dense + weight * evidence.core
        sure *= _branch_agreement(evidence.dense, evidence.core)
    voxel_mm3 = grid.pixel_mm**2 * grid.step_mm
    smallest = config.min_region_mm3 / voxel_mm3 if is_volume else 4.0
    kept = keep_islands(
        share >= config.mask_threshold, smallest=smallest, is_volume=is_volume
    )
    if not kept.any():
        return absent(phrase, score, regionless=True)
    mask = source_mask(
        share,
        kept,
        grid,
        threshold=config.mask_threshold,
        with_probability=with_probability,
    )
    if not mask.mask.size:
        return absent(phrase, score, regionless=True)
    area = grid.source_shape[1] * grid.source_shape[2] / (grid.rows * grid.columns)
    boxes = tuple(
        Box(
            slice_index,
            xyxy,
            score * _clarity(share, kept, grid, slice_index=slice_index, xyxy=xyxy),
        )
        for slice_index, xyxy in slice_boxes(mask, smallest_pixels=4 * area)
    )
    return PhraseGrounding(
        phrase=phrase,
        score=score,
        is_present=True,
        uncertainty=_calibrated(1 - sure * _expected_dice(share, kept), config),
        mask=mask.mask,
        mask_origin=mask.origin,
        boxes=boxes,
        probability=mask.probability,
    )


def contain_parts(
    whole: PhraseGrounding, parts: Sequence[PhraseGrounding], *, score: float
) -> PhraseGrounding:
    """Give a phrase that has no region of its own the regions of what it contains.

    Parameters
    ----------
    whole
        The answer of the containing phrase.
    parts
        The answers of the phrases it contains.
    score
        Presence score of the containing phrase.
    """
    present = [part for part in parts if part.is_present]
    if whole.is_present or not present:
        return whole
    mask = unite_masks(
        [SourceMask(part.mask, part.mask_origin, part.probability) for part in present]
    )
    sure = min(box.score for part in present for box in part.boxes)
    return PhraseGrounding(
        phrase=whole.phrase,
        score=score,
        is_present=True,
        uncertainty=max(part.uncertainty for part in present),
        mask=mask.mask,
        mask_origin=mask.origin,
        boxes=tuple(
            Box(slice_index, xyxy, sure)
            for slice_index, xyxy in slice_boxes(mask, smallest_pixels=1)
        ),
        probability=mask.probability,
    )


def absent(phrase: str, score: float, *, regionless: bool = False) -> PhraseGrounding:
    """Say that a phrase is not there; evidence that no region bears out counts half."""
    nothing = np.zeros((0, 0, 0), dtype=np.bool_)
    return PhraseGrounding(
        phrase=phrase,
        score=score / 2 if regionless else score,
        is_present=False,
        uncertainty=score,
        mask=nothing,
        mask_origin=(0, 0, 0),
        boxes=(),
    )


def _calibrated(raw: float, config: MedGLIPConfig) -> float:
    """Read a raw uncertainty through the isotonic table of the configuration."""
    if config.uncertainty_knots:
        raws, values = np.array(config.uncertainty_knots).T
        raw = float(np.interp(raw, raws, values))
    return float(np.clip(raw, 0.0, 1.0))


def _expected_dice(share: NDArray[np.float32], kept: NDArray[np.bool_]) -> float:
    """Return the Dice to expect if every probability were true."""
    near = share[kept]
    maybe = float(share[share >= 0.05].sum())
    return 2 * float(near.sum()) / max(float(kept.sum()) + maybe, 1e-6)


def _branch_agreement(dense: NDArray[np.float32], core: NDArray[np.float32]) -> float:
    """Return how far the branches mark the same place: 1 same, one half disjoint."""
    first, second = dense >= 0.5, core >= 0.5
    total = int(first.sum()) + int(second.sum())
    overlap = 2 * int((first & second).sum()) / max(total, 1)
    return 0.5 + 0.5 * overlap


def _clarity(
    share: NDArray[np.float32],
    kept: NDArray[np.bool_],
    grid: ModelGrid,
    *,
    slice_index: int,
    xyxy: tuple[float, float, float, float],
) -> float:
    """Return the mean probability of the kept pixels inside a source box."""
    left, top, right, bottom = xyxy
    corners = np.array([[slice_index, top, left], [slice_index, bottom, right]])
    low, high = grid.to_model(corners.astype(np.float64))
    z = round(float(low[0]))
    rows = slice(int(low[1]), max(int(low[1]) + 1, int(np.ceil(high[1]))))
    columns = slice(int(low[2]), max(int(low[2]) + 1, int(np.ceil(high[2]))))
    values, inside = share[z, rows, columns], kept[z, rows, columns]
    return float(values[inside].mean() if inside.any() else values.max())
