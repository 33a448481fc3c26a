"""Say what each drawn source is made of, and under which licence."""

from __future__ import annotations

from dataclasses import dataclass

from training.config import TrainingConfig
from training.derived.licences import DRAWN_LICENCES

__all__ = ["INPUTS", "Input", "shares"]


@dataclass(frozen=True)
class Input:
    """What a source of ``training.derived.builders`` shows."""

    modality: str
    shows: str
    labels: str
    licence: str
    tier: str


INPUTS: dict[str, Input] = {
    "torso_ct": Input(
        "CT",
        "one person, no contrast",
        "61 structures of a model",
        DRAWN_LICENCES["torso_ct"].attribution,
        "pseudo",
    ),
    "upper_abdomen_cta": Input(
        "CT",
        "a second person, arterial phase, 27 slices",
        "outlines of our own and of version 1",
        DRAWN_LICENCES["upper_abdomen_cta"].attribution,
        "fused",
    ),
    "thorax_cta": Input(
        "CT",
        "the same second person, chest",
        "heart, vessels and T12 of a model, lungs by threshold",
        DRAWN_LICENCES["thorax_cta"].attribution,
        "pseudo",
    ),
    "abdomen_mr": Input(
        "MR, CT",
        "a third person; mostly repainted as CT",
        "23 structures of a model",
        DRAWN_LICENCES["abdomen_mr"].attribution,
        "pseudo",
    ),
    "radiograph_chest_frontal": Input(
        "CR, DX",
        "projections of the chest CT",
        "projected labels",
        DRAWN_LICENCES["radiograph_chest_frontal"].attribution,
        "derived",
    ),
    "radiograph_chest_lateral": Input(
        "CR, DX",
        "projections of the chest CT",
        "projected labels",
        DRAWN_LICENCES["radiograph_chest_lateral"].attribution,
        "derived",
    ),
    "radiograph_pelvis_frontal": Input(
        "CR, DX",
        "projections of the torso CT",
        "projected bones",
        DRAWN_LICENCES["radiograph_pelvis_frontal"].attribution,
        "derived",
    ),
    "brain": Input(
        "MR, CT",
        "ICBM 152 template, repainted in any contrast",
        "its tissue maps",
        DRAWN_LICENCES["brain"].attribution,
        "derived",
    ),
    "head": Input(
        "MR, CT",
        "MNI 152 template with skull, repainted",
        "its brain mask and the tissue maps",
        DRAWN_LICENCES["head"].attribution,
        "derived",
    ),
    "torso_tracer": Input(
        "PT, NM",
        "the torso CT painted as uptake",
        "its labels",
        DRAWN_LICENCES["torso_tracer"].attribution,
        "synthetic",
    ),
    "fundus": Input(
        "OP",
        "painted retinas",
        "painted",
        DRAWN_LICENCES["fundus"].attribution,
        "synthetic",
    ),
    "ultrasound": Input(
        "US",
        "painted speckle",
        "painted",
        DRAWN_LICENCES["ultrasound"].attribution,
        "synthetic",
    ),
    "endoscopy": Input(
        "ES",
        "painted mucosa",
        "painted",
        DRAWN_LICENCES["endoscopy"].attribution,
        "synthetic",
    ),
    "skin": Input(
        "DM, XC",
        "painted skin",
        "painted",
        DRAWN_LICENCES["skin"].attribution,
        "synthetic",
    ),
    "mammogram": Input(
        "MG",
        "painted breasts",
        "painted",
        DRAWN_LICENCES["mammogram"].attribution,
        "synthetic",
    ),
    "cells": Input(
        "SM, GM",
        "one real fluorescence picture and painted nuclei",
        "183 nuclei of its authors; painted",
        DRAWN_LICENCES["cells"].attribution,
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
