"""Ground phrases in a stack: the one door through which the node uses the model.

How an answer is made:

1. The stack is laid on the model grid (3 mm) and seen once, slice by slice.
2. Every phrase is compared with every pixel (dense branch). The presence score is the
   calibrated mean evidence of the three best slices; a phrase that contains another
   one that is asked (lungs, left lung) is never less present than that one.
3. Where its share ``core_weight`` is above zero, the detection core looks for each
   phrase that is present, one at a time, and its masks are mixed in.
4. Probabilities above ``mask_threshold`` form the mask; islands below
   ``min_region_mm3`` or 2 % of the largest island are dropped. No island left means
   the phrase is absent, and its score is halved.
5. The kept islands are interpolated to the source grid and boxed, piece by piece.

Uncertainty is one minus the product of shares in [0, 1]: the presence score, the
expected Dice of the mask (how far probabilities are from a clear yes or no), the
agreement of the hypotheses and, where the core was asked, that of the two branches;
then read through the table ``uncertainty_knots`` that calibration has set. For an
absent phrase it is the presence score (before it was halved).

Nothing of an answer depends on which other phrases are asked, but for the one rule of
step 2.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from model.config import CONFIG_FILE
from model.features import StackFeatures, see_stack
from model.grid import ModelGrid
from model.hierarchy import children_first
from model.medglip import WEIGHTS_FILE, MedGLIP
from model.modality import modality_index
from model.processor import Processor
from model.records import Box, ImageStack, PhraseGrounding
from model.regions import keep_islands, slice_boxes, source_mask
from model.words import Reading

__all__ = ["GroundingModel", "PhraseEvidence"]

_PHRASES = 16
"""Phrases compared at a time; bounds memory."""

_NEVER = 2.0
"""A presence score that nothing reaches."""

_BEST_SLICES = 3
"""Slices whose presence evidence is averaged into the score of a stack."""


@dataclass(frozen=True, eq=False)
class PhraseEvidence:
    """What the branches say about one phrase, on the model grid."""

    presence_logit: float
    dense: NDArray[np.float32]
    """(model slices, rows, columns) probabilities of the dense branch"""
    core: NDArray[np.float32] | None
    """The same of the detection core; None: not asked"""
    agreement: float = 1.0
    """Mean Dice of each hypothesis with their mean, in [0, 1]; 1 without hypotheses"""


class GroundingModel:
    """A loaded checkpoint, ready to answer.

    Attributes
    ----------
    name, version
        As the checkpoint's configuration says.
    sha256
        Hash over weights and configuration: the identity of the model.
    config
        How scores are read; ``network`` is the network itself.
    """

    def __init__(self, model: MedGLIP, *, sha256: str, device: str = "cpu") -> None:
        self.config = model.config
        self.name = model.config.name
        self.version = model.config.version
        self.sha256 = sha256
        self._device = device
        self.network = model.to(device).eval()
        self.processor = Processor(model.config)

    @classmethod
    def from_pretrained(
        cls, folder: str | Path, *, device: str = "cpu"
    ) -> GroundingModel:
        """Load a checkpoint folder and the frozen text encoder, from disk only."""
        path = Path(folder)
        digest = hashlib.sha256()
        for name in (WEIGHTS_FILE, CONFIG_FILE):
            digest.update((path / name).read_bytes())
        model = MedGLIP.from_pretrained(path)
        return cls(model, sha256=digest.hexdigest(), device=device)

    def ground(
        self,
        stack: ImageStack,
        phrases: Sequence[str],
        *,
        progress: Callable[[int, int], None] | None = None,
    ) -> tuple[PhraseGrounding, ...]:
        """Answer every phrase, in order.

        Parameters
        ----------
        progress
            Called with (steps done, steps in all); never with a phrase.

        Raises
        ------
        ValueError
            The pixels are empty, not finite or of an unknown shape.
        """
        _check(stack)
        if not phrases:
            return ()
        parents = self.processor.parents(phrases)
        order = children_first(parents)  # a parent is decided when its children are
        groups = [order[i : i + _PHRASES] for i in range(0, len(order), _PHRASES)]

        def report(done: int, total: int) -> None:
            if progress is not None:
                progress(done, total + len(groups))

        features = see_stack(self.network, stack, device=self._device, progress=report)
        slices = len(features.grid.slice_positions)
        ask_core_from = _NEVER
        if self.config.core_weight > 0:
            ask_core_from = self.config.presence_threshold
        answers: dict[int, PhraseGrounding] = {}
        floors: dict[int, float] = {}
        for number, group in enumerate(groups):
            found = self.evidence(
                features, [phrases[row] for row in group], ask_core_from=ask_core_from
            )
            for row, evidence in zip(group, found, strict=True):
                logit = max(evidence.presence_logit, floors.get(row, -np.inf))
                answers[row] = self._decide(
                    phrases[row],
                    replace(evidence, presence_logit=logit),
                    features,
                    stack,
                )
                if (parent := parents[row]) >= 0:
                    floors[parent] = max(logit, floors.get(parent, -np.inf))
            if progress is not None:
                progress(slices + number + 1, slices + len(groups))
        return tuple(answers[row] for row in range(len(phrases)))

    @torch.no_grad()
    def evidence(
        self, features: StackFeatures, phrases: Sequence[str], *, ask_core_from: float
    ) -> list[PhraseEvidence]:
        """Ask the dense branch about every phrase, and the core where it matters.

        Parameters
        ----------
        phrases
            At most sixteen.
        ask_core_from
            Presence score from which the core looks for a phrase, too; above one:
            never. A network without a core is never asked.
        """
        text = self.processor.read(
            phrases, modality=(features.modality,), body_part=(features.body_part,)
        )
        reading = self.network.read(text.to(self._device))
        presence, dense, overlaps = [], [], []
        for pyramid in features.pyramids:
            logits, hypotheses = self.network.align(pyramid, reading.vectors)
            presence.append(
                self.network.presence(logits, pyramid[-1], reading.vectors).cpu()
            )
            dense.append(logits.sigmoid().cpu().numpy())
            if hypotheses is not None:
                overlaps.append(_overlap(hypotheses, logits))
        slices = torch.cat(presence)  # (slices, phrases)
        best = slices.topk(min(_BEST_SLICES, len(slices)), dim=0).values.mean(0)
        shares = np.concatenate(dense)
        agreement = _mean_dice(overlaps, len(phrases))
        found: dict[int, NDArray[np.float32]] = {}
        for i, logit in enumerate(best):
            score = self.presence_score(float(logit))
            if self.network.config.core and score >= ask_core_from:
                found[i] = self._core_share(features, reading, i)
        return [
            PhraseEvidence(
                float(best[i]),
                features.place(shares[:, i]),
                found.get(i),
                agreement=agreement[i],
            )
            for i in range(len(phrases))
        ]

    def presence_score(self, logit: float) -> float:
        """Return the calibrated probability that a phrase is in the image."""
        shifted = self.config.presence_scale * logit + self.config.presence_shift
        return float(1 / (1 + np.exp(-np.clip(shifted, -50, 50))))

    def _core_share(
        self, features: StackFeatures, reading: Reading, row: int
    ) -> NDArray[np.float32]:
        """Fold the core's queries for one phrase into a probability map.

        A pixel's probability is the best of (query answers phrase) x (query's mask).
        The phrase is asked alone: in company the core's answers depend on each other.
        """
        maps = []
        modality = torch.tensor([modality_index(features.modality)])
        modality = modality.to(self._device)
        for pyramid in features.pyramids:
            batch = len(pyramid[0])
            asked = torch.full((batch, 1), row, device=self._device)
            found = self.network.detect(
                pyramid, modality.expand(batch), reading, asked=asked
            )
            scores = found.logits[:, -1, :, 0].sigmoid().sqrt()  # (batch, queries)
            masks = found.masks.sigmoid()  # (batch, queries, rows/2, columns/2)
            folded = (scores[..., None, None] * masks).amax(dim=1, keepdim=True)
            size = pyramid[0].shape[-2:]
            fine = functional.interpolate(folded, size=size, mode="bilinear")
            maps.append(fine[:, 0].cpu().numpy())
        return features.place(np.concatenate(maps))

    def _decide(
        self,
        phrase: str,
        evidence: PhraseEvidence,
        features: StackFeatures,
        stack: ImageStack,
    ) -> PhraseGrounding:
        config, grid = self.config, features.grid
        score = self.presence_score(evidence.presence_logit)
        if score < config.presence_threshold:
            return _absent(phrase, score)
        share, sure = evidence.dense, score * evidence.agreement
        if evidence.core is not None:
            weight = config.core_weight
            share = (1 - weight) * evidence.dense + weight * evidence.core
            sure *= _branch_agreement(evidence.dense, evidence.core)
        voxel_mm3 = grid.pixel_mm**2 * grid.step_mm
        smallest = config.min_region_mm3 / voxel_mm3 if stack.is_volume else 4.0
        kept = keep_islands(
            share >= config.mask_threshold,
            smallest=smallest,
            is_volume=stack.is_volume,
        )
        if not kept.any():
            return _absent(phrase, score, regionless=True)
        mask = source_mask(share, kept, grid, threshold=config.mask_threshold)
        if not mask.mask.size:
            return _absent(phrase, score, regionless=True)
        sure *= _expected_dice(share, kept)
        area = grid.source_shape[1] * grid.source_shape[2] / (grid.rows * grid.columns)
        boxes = tuple(
            Box(
                slice_index,
                xyxy,
                score * _clarity(share, kept, grid, slice_index, xyxy),
            )
            for slice_index, xyxy in slice_boxes(mask, smallest_pixels=4 * area)
        )
        return PhraseGrounding(
            phrase=phrase,
            score=score,
            is_present=True,
            uncertainty=self._calibrated(1 - sure),
            mask=mask.mask,
            mask_origin=mask.origin,
            boxes=boxes,
        )

    def _calibrated(self, raw: float) -> float:
        """Read a raw uncertainty through the isotonic table of the configuration."""
        if knots := self.config.uncertainty_knots:
            raw = float(np.interp(raw, *np.array(knots).T))
        return float(np.clip(raw, 0.0, 1.0))


def _check(stack: ImageStack) -> None:
    """Refuse pixels that no answer could be true of."""
    pixels = stack.pixels
    colour = pixels.ndim == 4 and pixels.shape[-1] == 3
    if not (pixels.ndim == 3 or colour) or not pixels.size:
        raise ValueError(f"pixels have shape {pixels.shape}, not (slices, rows, cols)")
    if pixels.dtype.kind == "f" and not all(
        np.isfinite(plane).all() for plane in pixels
    ):
        raise ValueError("pixels hold NaN or infinite values")
    spacing = stack.spacing_mm
    if spacing is not None and not all(np.isfinite(s) and s >= 0 for s in spacing):
        raise ValueError(f"spacing {spacing} mm is not a size")


def _absent(phrase: str, score: float, *, regionless: bool = False) -> PhraseGrounding:
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


def _overlap(hypotheses: Tensor, mean: Tensor) -> Tensor:
    """Count the pixels of each hypothesis, of the mean and of both.

    Returns
    -------
    (3, hypotheses, phrases)
    """
    mine, whole = hypotheses > 0, (mean > 0)[None]
    counts = (mine, whole.expand_as(mine), mine & whole)
    return torch.stack([count.sum(dim=(1, 3, 4)).double().cpu() for count in counts])


def _mean_dice(overlaps: list[Tensor], phrases: int) -> list[float]:
    """Return the mean Dice of the hypotheses with their mean, phrase by phrase."""
    if not overlaps:
        return [1.0] * phrases
    mine, whole, both = torch.stack(overlaps).sum(0)  # each (hypotheses, phrases)
    dice = torch.where(mine + whole > 0, 2 * both / (mine + whole).clamp(min=1), 1.0)
    return [float(value) for value in dice.mean(0)]


def _clarity(
    share: NDArray[np.float32],
    kept: NDArray[np.bool_],
    grid: ModelGrid,
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
