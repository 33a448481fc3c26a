"""Compute COCO average precision of boxes and masks with faster-coco-eval."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from training.evaluation.metrics.definition import Definition
from training.records import Rle

__all__ = ["AP_DEFINITIONS", "AveragePrecision", "Finding", "average_precision"]

_COCO = (
    "COCO: 101 recall points, at most 100 regions per picture and class, all sizes, "
    "mean over the classes that occur; each slice of a volume is a picture"
)

AP_DEFINITIONS = tuple(
    Definition(
        f"{kind} {name}",
        f"Average precision of {what} {where} ({_COCO}).",
        reference="T.-Y. Lin et al., ECCV 2014; faster-coco-eval",
    )
    for kind, what in (("Box", "boxes"), ("Mask", "masks"))
    for name, where in (
        ("mAP", "averaged over IoU .50:.05:.95"),
        ("mAP50", "at IoU 0.5"),
        ("mAP75", "at IoU 0.75"),
    )
)


@dataclass(frozen=True, eq=False)
class Finding:
    """One true or predicted region of a picture."""

    picture: str
    category: str
    xyxy: tuple[float, float, float, float]
    score: float = 1.0
    """Ignored of true regions"""
    mask: Rle | None = None


@dataclass(frozen=True, eq=False)
class AveragePrecision:
    """What COCO's protocol says of all pictures."""

    ap: float
    ap50: float
    ap75: float
    by_category: dict[str, float]
    """Average precision at IoU 0.5 of each class that occurs"""
    recall: NDArray[np.float64]
    """(101,) from 0 to 1"""
    precision: NDArray[np.float64]
    """(101,) at IoU 0.5, mean over classes"""


def average_precision(
    found: Sequence[Finding],
    truth: Sequence[Finding],
    *,
    sizes: Mapping[str, tuple[int, int]],
    kind: Literal["bbox", "segm"] = "bbox",
) -> AveragePrecision:
    """Run COCO's protocol.

    Parameters
    ----------
    sizes
        (rows, columns) of every picture that a finding names.
    kind
        ``segm`` needs a mask in every finding.

    Raises
    ------
    ValueError
        Nothing is true anywhere, so that no precision is defined; or a mask is missing.
    """
    if not truth:
        raise ValueError("average precision needs at least one true region")
    if kind == "segm" and any(f.mask is None for f in (*found, *truth)):
        raise ValueError("a finding has no mask")
    names = sorted({finding.category for finding in (*found, *truth)})
    pictures = sorted({finding.picture for finding in (*found, *truth)})
    recall = np.linspace(0, 1, 101)
    if not found:
        nothing = dict.fromkeys(sorted({t.category for t in truth}), 0.0)
        return AveragePrecision(0.0, 0.0, 0.0, nothing, recall, np.zeros(101))
    precision = _evaluate(found, truth, names, pictures, sizes, kind)
    occurs = precision[0, 0] > -1  # (categories,)
    precision = precision[:, :, occurs]
    kept = [name for name, there in zip(names, occurs, strict=True) if there]
    per_class = precision[0].mean(axis=0)
    return AveragePrecision(
        ap=float(precision.mean()),
        ap50=float(precision[0].mean()),
        ap75=float(precision[5].mean()),
        by_category=dict(zip(kept, per_class.tolist(), strict=True)),
        recall=recall,
        precision=precision[0].mean(axis=1),
    )


def _evaluate(
    found: Sequence[Finding],
    truth: Sequence[Finding],
    names: list[str],
    pictures: list[str],
    sizes: Mapping[str, tuple[int, int]],
    kind: Literal["bbox", "segm"],
) -> NDArray[np.float64]:
    """Return precisions (IoU thresholds, recall points, categories); -1: no truth."""
    from faster_coco_eval import COCO, COCOeval_faster

    category = {name: row + 1 for row, name in enumerate(names)}
    picture = {name: row + 1 for row, name in enumerate(pictures)}

    def row(finding: Finding, number: int) -> dict[str, Any]:
        left, top, right, bottom = finding.xyxy
        entry: dict[str, Any] = {
            "id": number,
            "image_id": picture[finding.picture],
            "category_id": category[finding.category],
            "bbox": [left, top, right - left, bottom - top],
            "area": (right - left) * (bottom - top),
            "iscrowd": 0,
            "score": finding.score,
        }
        if kind == "segm" and finding.mask is not None:
            size = list(finding.mask.size)
            entry["segmentation"] = {"size": size, "counts": finding.mask.counts}
        return entry

    images = [
        {"id": row_number, "height": sizes[name][0], "width": sizes[name][1]}
        for name, row_number in picture.items()
    ]
    categories = [{"id": number, "name": name} for name, number in category.items()]
    gold = COCO(
        {
            "images": images,
            "categories": categories,
            "annotations": [row(t, number + 1) for number, t in enumerate(truth)],
        }
    )
    answers = gold.loadRes([row(f, number + 1) for number, f in enumerate(found)])
    evaluation = COCOeval_faster(gold, answers, kind, rle_iou_max_workers=1)
    evaluation.evaluate()
    evaluation.accumulate()
    precision = evaluation.eval["precision"]  # (IoU, recall, category, area, maxDets)
    return np.asarray(precision[:, :, :, 0, -1], dtype=np.float64)
