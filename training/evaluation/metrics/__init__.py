"""Measure answers: pure functions of arrays, each with its definition beside it."""

from __future__ import annotations

from training.evaluation.metrics.average_precision import (
    AP_DEFINITIONS,
    AveragePrecision,
    Finding,
    average_precision,
)
from training.evaluation.metrics.boxes import (
    BOX_DEFINITIONS,
    box_iou,
    first_hit,
    is_exact,
    match_boxes,
    shared_area,
    top_box_iou,
)
from training.evaluation.metrics.calibration import (
    CALIBRATION_DEFINITIONS,
    ReliabilityBin,
    brier,
    detection_calibration_error,
    expected_calibration_error,
    fit_platt,
    reliability,
)
from training.evaluation.metrics.definition import Definition
from training.evaluation.metrics.entailment import ENTAILMENT_DEFINITIONS, is_entailed
from training.evaluation.metrics.heat import (
    HEAT_DEFINITIONS,
    contrast_to_noise,
    points_inside,
)
from training.evaluation.metrics.instances import (
    INSTANCE_DEFINITIONS,
    InstanceCounts,
    count_instances,
)
from training.evaluation.metrics.overlap import (
    HIT_DICE,
    OVERLAP_DEFINITIONS,
    dice,
    mask_iou,
    paste,
)
from training.evaluation.metrics.presence import PRESENCE_DEFINITIONS, auroc
from training.evaluation.metrics.selective import (
    SELECTIVE_DEFINITIONS,
    area_under_risk,
    rank_correlation,
    risk_coverage,
)
from training.evaluation.metrics.surface import (
    SURFACE_DEFINITIONS,
    TOLERANCE_MM,
    surface_dice,
)

__all__ = [
    "HIT_DICE",
    "METRICS",
    "TOLERANCE_MM",
    "AveragePrecision",
    "Definition",
    "Finding",
    "InstanceCounts",
    "ReliabilityBin",
    "area_under_risk",
    "auroc",
    "average_precision",
    "box_iou",
    "brier",
    "contrast_to_noise",
    "count_instances",
    "detection_calibration_error",
    "dice",
    "expected_calibration_error",
    "first_hit",
    "fit_platt",
    "is_entailed",
    "is_exact",
    "mask_iou",
    "match_boxes",
    "paste",
    "points_inside",
    "rank_correlation",
    "reliability",
    "risk_coverage",
    "shared_area",
    "surface_dice",
    "top_box_iou",
]

METRICS: dict[str, Definition] = {
    definition.name: definition
    for table in (
        OVERLAP_DEFINITIONS,
        SURFACE_DEFINITIONS,
        INSTANCE_DEFINITIONS,
        BOX_DEFINITIONS,
        AP_DEFINITIONS,
        ENTAILMENT_DEFINITIONS,
        HEAT_DEFINITIONS,
        PRESENCE_DEFINITIONS,
        CALIBRATION_DEFINITIONS,
        SELECTIVE_DEFINITIONS,
    )
    for definition in table
}
"""Every metric of a report by its name, in the report's order."""
