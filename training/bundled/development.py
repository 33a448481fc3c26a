"""Set the thresholds: on deformed copies of training patients, never on the test.

There is no spare patient. Development stacks and pictures are drawn from the training
sources with seeds that training does not use; they tell how to read scores, and
flatter the model otherwise.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import isotonic_regression

from model.config import MedGLIPConfig
from model.decision import decide
from model.features import see_stack
from model.inference import GroundingModel
from model.records import ImageStack
from training.derived.appearance import add_surroundings, disturb
from training.derived.augment import Slab, contrast_phase, draw_slab, synthetic_ct
from training.derived.source import SliceSource, concept_table, known_concepts
from training.derived.volumes import LabelledVolume, structure_table
from training.evaluation.metrics import dice, fit_platt, paste
from training.phrases import Lexicon

__all__ = [
    "CALIBRATION_FILE",
    "DevelopmentStack",
    "calibrate",
    "choose_weight",
    "development_pictures",
    "development_stacks",
    "uncertainty_table",
]

CALIBRATION_FILE = "calibration.json"
"""Name of the development results inside a checkpoint folder."""

_SEED = 7
_CORE_WEIGHTS = (0.0, 0.2, 0.4, 0.6, 1.0)

_SLIVER = {True: 40, False: 12}
"""Voxels of a volume, pixels of a picture, below which a region is neither present nor
absent."""


@dataclass(frozen=True, eq=False)
class DevelopmentStack:
    """A short series or a picture made from a training source."""

    stack: ImageStack
    regions: Callable[[int], NDArray[np.bool_]]
    """Region of a concept by its number in the lexicon, (slices, rows, columns)"""
    known: NDArray[np.int64]
    """Numbers of the concepts that the labels can judge"""
    asks_core: bool = True
    """Whether the detection core is asked, too: minutes for a long stack"""


def development_stacks(
    volumes: Sequence[LabelledVolume],
    lexicon: Lexicon,
    *,
    count: int,
    slices: int = 14,
) -> Iterator[DevelopmentStack]:
    """Draw `count` series of 3 mm slices, each from a newly deformed patient.

    Every third one is three times as long: among more slices, the best evidence for
    what is not there is stronger.
    """
    table = structure_table(lexicon)
    for number in range(count):
        length = slices if number % 3 else 3 * slices
        offsets = tuple(float(3 * (i - length // 2)) for i in range(length))
        rng = np.random.default_rng((_SEED, number))
        # Every second from the first, the others in turn.
        others = volumes[1:] or volumes
        volume = volumes[0] if number % 2 == 0 else others[number // 2 % len(others)]
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
            _regions(table, slab.labels[None]),
            np.nonzero(known_concepts(volume, lexicon))[0],
            asks_core=0 < number < 3,
        )


def development_pictures(
    sources: Sequence[SliceSource],
    lexicon: Lexicon,
    *,
    count: int,
    config: MedGLIPConfig,
) -> Iterator[DevelopmentStack]:
    """Draw `count` pictures of each source."""
    for place, source in enumerate(sources):
        table = concept_table(source, lexicon)
        known = np.nonzero(known_concepts(source, lexicon))[0]
        for number in range(count):
            rng = np.random.default_rng((_SEED, place, number))
            drawn = source.draw(rng, config=config, shape=(112, 144))
            middle = drawn.image[len(drawn.image) // 2]
            spacing = (0.0, config.pixel_spacing_mm, config.pixel_spacing_mm)
            yield DevelopmentStack(
                ImageStack(
                    middle[None],
                    spacing,
                    drawn.modality,
                    drawn.body_part,
                    is_volume=False,
                ),
                _regions(table, drawn.labels[:, None]),
                known,
            )


def _regions(
    table: NDArray[np.bool_], labels: NDArray[np.uint8]
) -> Callable[[int], NDArray[np.bool_]]:
    """Return what looks up a concept in labels (planes, slices, rows, columns)."""

    def region(concept: int) -> NDArray[np.bool_]:
        found: NDArray[np.bool_] = table[concept][labels].any(axis=0)
        return found

    return region


@dataclass
class _Evidence:
    """What all development stacks said."""

    logits: list[float]
    truth: list[bool]
    overlaps: dict[float, list[float]]
    doubts: list[tuple[Any, Any, Any, NDArray[np.bool_]]]
    """Evidence, grid, stack and true region; the region of an absent phrase is empty"""


def calibrate(
    model: GroundingModel, stacks: Sequence[DevelopmentStack], lexicon: Lexicon
) -> tuple[MedGLIPConfig, dict[str, float]]:
    """Choose presence scale, core share and uncertainty table, with their evidence.

    Phrases are the preferred names of all concepts that a stack's labels can judge.
    """
    gathered = _Evidence([], [], {weight: [] for weight in _CORE_WEIGHTS}, [])
    for sample in stacks:
        _gather(model, sample, lexicon, gathered)
    means = {w: float(np.mean(values)) for w, values in gathered.overlaps.items()}
    truth = np.array(gathered.truth)
    scale, shift = fit_platt(np.array(gathered.logits), truth)
    config = replace(
        model.config,
        presence_scale=round(scale, 4),
        presence_shift=round(shift, 4),
        core_weight=choose_weight(gathered.overlaps),
        uncertainty_knots=(),
    )
    raw, wrong = _doubts(gathered, config)
    config = replace(config, uncertainty_knots=uncertainty_table(raw, wrong))
    report = {f"dice_core_weight_{weight}": value for weight, value in means.items()}
    report["stacks"] = float(len(stacks))
    report["present_pairs"] = float(truth.sum())
    report["absent_pairs"] = float((~truth).sum())
    report["placed_pairs"] = float(len(raw))
    report["misplaced_share"] = float(np.mean(wrong)) if len(wrong) else 0.0
    return config, report


def _gather(
    model: GroundingModel,
    sample: DevelopmentStack,
    lexicon: Lexicon,
    gathered: _Evidence,
) -> None:
    """Ask for every judgeable concept of a stack; the core sees the present ones."""
    features = see_stack(model.network, sample.stack, device="cpu", progress=None)
    smallest = _SLIVER[sample.stack.is_volume]
    regions = {int(row): sample.regions(int(row)) for row in sample.known}
    rows = [row for row, region in regions.items() if not 0 < region.sum() < smallest]
    rows.sort(key=lambda row: not regions[row].any())
    has_core = model.network.config.core
    for start in range(0, len(rows), 16):
        some = rows[start : start + 16]
        names = [lexicon.concepts[row].names[0] for row in some]
        asks_core = regions[some[0]].any() and has_core and sample.asks_core
        found = model.evidence(features, names, ask_core_from=0.0 if asks_core else 2.0)
        for row, evidence in zip(some, found, strict=True):
            region = regions[row]
            gathered.logits.append(evidence.presence_logit)
            gathered.truth.append(bool(region.any()))
            gathered.doubts.append((evidence, features.grid, sample.stack, region))
            if not region.any() or (has_core and evidence.core is None):
                continue
            for weight, values in gathered.overlaps.items():
                core = evidence.dense if evidence.core is None else evidence.core
                share = (1 - weight) * evidence.dense + weight * core
                values.append(dice(share >= model.config.mask_threshold, region))


def _doubts(
    gathered: _Evidence, config: MedGLIPConfig
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Return raw uncertainty and misplacement of every phrase called present.

    A phrase that is not there and called present is misplaced, wherever it lies.
    """
    raw, wrong = [], []
    for evidence, grid, stack, region in gathered.doubts:
        asked = evidence if config.core_weight else replace(evidence, core=None)
        answer = decide("", asked, grid=grid, is_volume=stack.is_volume, config=config)
        if not answer.is_present:
            continue
        found = paste(answer.mask, answer.mask_origin, region.shape)
        overlap = (found & region).sum() / max(1, (found | region).sum())
        raw.append(answer.uncertainty)
        wrong.append(bool(overlap < 0.5))
    return np.array(raw, dtype=np.float64), np.array(wrong, dtype=np.bool_)


def uncertainty_table(
    raw: NDArray[np.float64], wrong: NDArray[np.bool_], *, knots: int = 12
) -> tuple[tuple[float, float], ...]:
    """Fit P(IoU < 0.5) as a rising function of the raw uncertainty.

    Parameters
    ----------
    raw
        (n,) in [0, 1].
    wrong
        (n,) whether the region missed the true one at IoU 0.5.
    knots
        Points of the table, at even ranks.

    Returns
    -------
    (raw, calibrated) pairs, both rising; empty for fewer than thirty answers.

    References
    ----------
    B. Zadrozny and C. Elkan, Transforming classifier scores into accurate multiclass
    probability estimates, KDD 2002.
    """
    if len(raw) < 30:
        return ()
    order = np.argsort(raw, kind="stable")
    fitted = isotonic_regression(wrong[order].astype(np.float64)).x
    places = np.unique(np.linspace(0, len(raw) - 1, knots).round().astype(int))
    table: dict[float, float] = {}
    for place in places:
        table[round(float(raw[order][place]), 4)] = round(float(fitted[place]), 4)
    return tuple(sorted(table.items()))


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
