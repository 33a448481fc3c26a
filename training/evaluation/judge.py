"""Judge one answer against the truth: one row per phrase, and its boxes one by one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from model.records import ImageStack, PhraseGrounding
from training.errors import DatasetError
from training.evaluation.cases import (
    EvaluationCase,
    Mask,
    PhraseTruth,
    TruthBox,
    boxes_of_mask,
)
from training.evaluation.metrics import (
    Finding,
    InstanceCounts,
    contrast_to_noise,
    count_instances,
    dice,
    first_hit,
    is_entailed,
    is_exact,
    mask_iou,
    paste,
    points_inside,
    shared_area,
    surface_dice,
    top_box_iou,
)
from training.evaluation.rows import Judgement, PhraseRow
from training.rle import encode_rle

__all__ = ["judge"]


def judge(
    case: EvaluationCase,
    truth: PhraseTruth,
    *,
    answer: PhraseGrounding,
    heat: NDArray[Any] | None = None,
) -> Judgement:
    """Compare an answer with the truth in every way that applies.

    Parameters
    ----------
    heat
        (slices, rows, columns) evidence at the stack's own size; only of stacks with
        one slice is the peak judged.

    Raises
    ------
    training.errors.DatasetError
        A true mask has another shape than its stack, or is empty.
    """
    shape = case.stack.pixels.shape[:3]
    region = _region(case, truth, shape)
    drawn = truth.boxes or (() if region is None else boxes_of_mask(region))
    boxes = [(box.slice_index, box.xyxy) for box in answer.boxes]
    scores = [box.score for box in answer.boxes]
    found = paste(answer.mask, answer.mask_origin, shape)
    measures: dict[str, Any] = {}
    if truth.is_present:
        shared, ours, theirs = shared_area(boxes, drawn)
        measures["top_iou"] = top_box_iou(boxes, scores, truth=drawn)
        measures["set_iou"] = shared / max(ours + theirs - shared, 1e-12)
        measures["hit_rank"] = first_hit(boxes, scores, truth=drawn)
        measures["truth_entailed"] = is_entailed(drawn, boxes)
    if boxes:
        measures["places_entailed"] = is_entailed(boxes, drawn)
    if region is not None:
        measures |= _outlined(found, region, case.stack)
    if region is not None or not truth.is_present:
        measures |= _pieces(found, region, case.stack)
    if heat is not None and truth.is_present and len(found) == 1:
        measures |= _heated(heat[0], [box for _, box in drawn])
    row = PhraseRow(
        case=case.name,
        patient=case.patient,
        dataset=case.dataset,
        modality=case.stack.modality,
        phrase=truth.phrase,
        category=truth.category,
        is_present=truth.is_present,
        says_present=answer.is_present,
        score=answer.score,
        uncertainty=answer.uncertainty,
        is_exact=is_exact(boxes, drawn),
        **measures,
    )
    # Two phrases of one class on one picture must not take each other's regions.
    place = f"{case.name}#{case.phrases.index(truth.phrase)}"
    outlined = region is not None or not truth.is_present
    return Judgement(
        row=row,
        found=_findings(place, truth, boxes, scores, found if outlined else None),
        truth=_findings(place, truth, drawn, [1.0] * len(drawn), region),
        sizes={f"{place}#{index}": shape[1:] for index, _ in (*boxes, *drawn)},
        found_mask=found,
        truth_mask=region,
        truth_boxes=tuple(drawn),
    )


def _region(
    case: EvaluationCase, truth: PhraseTruth, shape: tuple[int, ...]
) -> Mask | None:
    if truth.load_mask is None:
        return None
    region = truth.load_mask()
    if region.shape != shape or not region.any():
        raise DatasetError(
            f"case {case.name}: a true mask of shape {region.shape} is empty or not on "
            f"its stack's grid {shape}"
        )
    return region


def _outlined(found: Mask, region: Mask, stack: ImageStack) -> dict[str, Any]:
    """Compare masks where either is: the rest is empty on both sides."""
    part = ndimage.find_objects((found | region).view(np.uint8))[0]
    ours, theirs = found[part], region[part]
    measures: dict[str, Any] = {
        "dice": dice(ours, theirs),
        "iou": mask_iou(ours, theirs),
    }
    spacing = stack.spacing_mm
    if spacing is None or not all(step > 0 for step in spacing[1:]):
        return measures
    if stack.is_volume and len(found) > 1 and spacing[0] > 0:
        measures["volume_ml"] = float(theirs.sum() * np.prod(spacing)) / 1000
        measures["nsd"] = surface_dice(ours, theirs, spacing_mm=spacing)
    else:
        planes = [
            surface_dice(a, b, spacing_mm=spacing[1:])
            for a, b in zip(ours, theirs, strict=True)
            if a.any() or b.any()
        ]
        measures["nsd"] = float(np.mean(planes))
    return measures


def _pieces(found: Mask, region: Mask | None, stack: ImageStack) -> dict[str, int]:
    truth = np.zeros_like(found) if region is None else region
    pairs = (
        [(found, truth)] if stack.is_volume else list(zip(found, truth, strict=True))
    )
    counts: list[InstanceCounts] = [count_instances(a, b) for a, b in pairs]
    return {
        "pieces_paired": sum(count.paired for count in counts),
        "pieces_predicted": sum(count.predicted for count in counts),
        "pieces_true": sum(count.true for count in counts),
    }


def _heated(
    heat: NDArray[Any], boxes: Sequence[tuple[float, float, float, float]]
) -> dict[str, Any]:
    inside = np.zeros(heat.shape, dtype=np.bool_)
    for left, top, right, bottom in boxes:
        rows = slice(max(0, round(top)), max(0, round(bottom)))
        inside[rows, max(0, round(left)) : max(0, round(right))] = True
    cnr = contrast_to_noise(heat, inside)
    return {
        "points_inside": points_inside(heat, boxes),
        "cnr": None if np.isnan(cnr) else cnr,
    }


def _findings(
    place: str,
    truth: PhraseTruth,
    boxes: Sequence[TruthBox],
    scores: Sequence[float],
    mask: Mask | None,
) -> tuple[Finding, ...]:
    """Return one finding per box; its mask is the part of the region inside."""
    findings = []
    for (index, xyxy), score in zip(boxes, scores, strict=True):
        rle = None
        if mask is not None:
            left, top, right, bottom = (round(edge) for edge in xyxy)
            plane = np.zeros(mask.shape[1:], dtype=np.bool_)
            part = (slice(max(0, top), bottom), slice(max(0, left), right))
            plane[part] = mask[index][part]
            rle = encode_rle(plane)
        picture = f"{place}#{index}"
        findings.append(Finding(picture, truth.category, xyxy, score, rle))
    return tuple(findings)
