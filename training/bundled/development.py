"""Set the thresholds: on deformed copies of training patients, never on the test.

There is no spare patient. The development stacks are drawn from the training volumes
with seeds that training does not use; they tell how to read scores, and flatter the
model otherwise.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from model.config import MedGLIPConfig
from model.features import see_stack
from model.inference import GroundingModel
from model.records import ImageStack
from training.derived.appearance import add_surroundings, disturb
from training.derived.augment import Slab, contrast_phase, draw_slab, synthetic_ct
from training.derived.volumes import LabelledVolume, known_concepts, structure_table
from training.evaluation.metrics import dice, fit_platt
from training.phrases import Lexicon

__all__ = ["CALIBRATION_FILE", "calibrate", "choose_weight", "development_stacks"]

CALIBRATION_FILE = "calibration.json"
"""Name of the development results inside a checkpoint folder."""

_SEED = 7
_CORE_WEIGHTS = (0.0, 0.2, 0.4, 0.6, 1.0)


@dataclass(frozen=True, eq=False)
class DevelopmentStack:
    """A short CT series made from a training patient."""

    stack: ImageStack
    labels: NDArray[np.uint8]
    volume: LabelledVolume


def development_stacks(
    volumes: tuple[LabelledVolume, ...], *, count: int, slices: int = 14
) -> Iterator[DevelopmentStack]:
    """Draw `count` series of 3 mm slices, each from a newly deformed patient.

    Every third one is three times as long: among more slices, the best evidence for
    what is not there is stronger.
    """
    for number in range(count):
        length = slices if number % 3 else 3 * slices
        offsets = tuple(float(3 * (i - length // 2)) for i in range(length))
        rng = np.random.default_rng((_SEED, number))
        # Every second from the torso, the others from the angiogram and the MR.
        volume = volumes[0] if number % 2 == 0 else volumes[1 + number // 2 % 2]
        slab = draw_slab(
            volume,
            rng,
            offsets_mm=offsets,
            shape=(112, 144),
            pixel_mm=3.0,
            short_series=False,
        )
        is_mr = volume.modality == "MR"
        slab = synthetic_ct(slab, rng) if is_mr else contrast_phase(slab, rng)
        image = add_surroundings(slab.image, slab.labels, rng)
        slab = Slab(disturb(image, rng), slab.labels)
        yield DevelopmentStack(
            ImageStack(slab.image, (3.0, 3.0, 3.0), "CT", None, is_volume=True),
            slab.labels,
            volume,
        )


def calibrate(
    model: GroundingModel,
    volumes: tuple[LabelledVolume, ...],
    lexicon: Lexicon,
    *,
    count: int = 12,
) -> tuple[MedGLIPConfig, dict[str, float]]:
    """Choose presence calibration and branch weight; return both with their evidence.

    Phrases are the preferred names of all concepts that a stack's labels can judge.
    """
    table = structure_table(lexicon)
    logits: list[float] = []
    truth: list[bool] = []
    overlaps: dict[float, list[float]] = {weight: [] for weight in _CORE_WEIGHTS}
    for sample in development_stacks(volumes, count=count):
        features = see_stack(model.network, sample.stack, device="cpu", progress=None)
        known = np.nonzero(known_concepts(sample.volume, lexicon))[0]
        regions = {int(row): table[row][sample.labels] for row in known}
        # A sliver is neither present nor absent.
        rows = [row for row, region in regions.items() if not 0 < region.sum() < 40]
        rows.sort(key=lambda row: not regions[row].any())  # the core sees present ones
        for start in range(0, len(rows), 16):
            some = rows[start : start + 16]
            names = [lexicon.concepts[row].names[0] for row in some]
            any_present = regions[some[0]].any()
            found = model.evidence(
                features, names, ask_core_from=0.0 if any_present else 2.0
            )
            for row, evidence in zip(some, found, strict=True):
                region = regions[row]
                logits.append(evidence.presence_logit)
                truth.append(bool(region.any()))
                if not region.any() or evidence.core is None:
                    continue
                for weight, values in overlaps.items():
                    share = (1 - weight) * evidence.dense + weight * evidence.core
                    values.append(dice(share >= model.config.mask_threshold, region))
    means = {weight: float(np.mean(values)) for weight, values in overlaps.items()}
    best = choose_weight(overlaps)
    scale, shift = fit_platt(np.array(logits), np.array(truth))
    config = replace(
        model.config,
        presence_scale=round(scale, 4),
        presence_shift=round(shift, 4),
        core_weight=best,
    )
    report = {f"dice_core_weight_{weight}": value for weight, value in means.items()}
    report["stacks"] = float(count)
    report["present_pairs"] = float(sum(truth))
    report["absent_pairs"] = float(len(truth) - sum(truth))
    return config, report


def choose_weight(overlaps: dict[float, list[float]]) -> float:
    """Return the core's share that beats the dense branch alone beyond doubt.

    A share counts when its paired gain exceeds two standard errors; if none does, the
    dense branch draws the masks alone.

    Parameters
    ----------
    overlaps
        Dice of the same (stack, phrase) pairs for every share; 0 is the dense branch.
    """
    alone = np.array(overlaps[0.0])
    best, most = 0.0, 0.0
    for weight, values in overlaps.items():
        gain = np.array(values) - alone
        doubt = float(gain.std(ddof=1)) / np.sqrt(len(gain)) if len(gain) > 1 else 0.0
        if gain.mean() > max(most, 2 * doubt):
            best, most = weight, float(gain.mean())
    return best
