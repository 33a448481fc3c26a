"""Ground phrases in a stack: the one door through which the node uses the model.

How an answer is made:

1. The stack is laid on the model grid (3 mm) and seen once, slice by slice.
2. Every phrase is compared with every pixel (dense branch). The presence score is the
   calibrated mean evidence of the three best slices.
3. The detection core looks for the phrases that are present; its masks are mixed in
   with the weight ``core_weight``.
4. Probabilities above ``mask_threshold`` form the mask; islands below
   ``min_region_mm3`` or 2 % of the largest island are dropped. No island left means
   the phrase is absent, and its score is halved.
5. The kept islands are interpolated to the source grid and boxed, piece by piece.

Uncertainty is one minus the product of three shares in [0, 1]: the presence score, the
expected Dice of the mask (how far probabilities are from a clear yes or no) and the
agreement of the two branches. For an absent phrase it is the presence score (before
it was halved).
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from model.config import CONFIG_FILE
from model.features import StackFeatures, see_stack
from model.grid import ModelGrid
from model.medglip import WEIGHTS_FILE, MedGLIP
from model.records import Box, ImageStack, PhraseGrounding
from model.regions import keep_islands, slice_boxes, source_mask
from model.text import TextEncoder

__all__ = ["GroundingModel", "PhraseEvidence"]

_PHRASES = 16
"""Phrases compared at a time; bounds memory, and is what the core was trained with."""

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
        self._text = TextEncoder(model.config)

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
        groups = [
            list(phrases[i : i + _PHRASES]) for i in range(0, len(phrases), _PHRASES)
        ]

        def report(done: int, total: int) -> None:
            if progress is not None:
                progress(done, total + len(groups))

        features = see_stack(self.network, stack, device=self._device, progress=report)
        slices = len(features.grid.slice_positions)
        answers: list[PhraseGrounding] = []
        for number, group in enumerate(groups):
            found = self.evidence(
                features, group, ask_core_from=self.config.presence_threshold
            )
            for phrase, evidence in zip(group, found, strict=True):
                answers.append(self._decide(phrase, evidence, features, stack))
            if progress is not None:
                progress(slices + number + 1, slices + len(groups))
        return tuple(answers)

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
            Presence score from which the core looks for a phrase, too.
        """
        hidden, mask = self._text.encode(phrases)
        vectors = self.network.phrase_adapter(
            hidden.to(self._device), mask.to(self._device)
        )
        presence, dense = [], []
        for pyramid in features.pyramids:
            logits = self.network.dense(pyramid[0], vectors)
            presence.append(self.network.presence(logits, pyramid[-1], vectors).cpu())
            dense.append(logits.sigmoid().cpu().numpy())
        slices = torch.cat(presence)  # (slices, phrases)
        best = slices.topk(min(_BEST_SLICES, len(slices)), dim=0).values.mean(0)
        shares = np.concatenate(dense)
        asked = [
            i
            for i, logit in enumerate(best)
            if self.presence_score(float(logit)) >= ask_core_from
        ]
        found: dict[int, NDArray[np.float32]] = {}
        if asked:
            core = np.concatenate(
                [
                    self._core_masks(pyramid, vectors[asked]).cpu().numpy()
                    for pyramid in features.pyramids
                ]
            )
            found = {i: features.place(core[:, n]) for n, i in enumerate(asked)}
        return [
            PhraseEvidence(float(best[i]), features.place(shares[:, i]), found.get(i))
            for i in range(len(phrases))
        ]

    def presence_score(self, logit: float) -> float:
        """Return the calibrated probability that a phrase is in the image."""
        shifted = self.config.presence_scale * logit + self.config.presence_shift
        return float(1 / (1 + np.exp(-np.clip(shifted, -50, 50))))

    def _core_masks(self, pyramid: tuple[Tensor, ...], vectors: Tensor) -> Tensor:
        """Fold the core's queries into one probability map per phrase.

        A pixel's probability is the best of (query answers phrase) x (query's mask).
        """
        batch = len(pyramid[0])
        rows = vectors.expand(batch, -1, -1)
        known = torch.ones(rows.shape[:2], dtype=torch.bool, device=rows.device)
        found = self.network.core(pyramid, rows, known)
        scores = found.logits[:, -1].sigmoid().sqrt()  # (batch, queries, phrases)
        masks = found.masks.sigmoid()  # (batch, queries, rows/2, columns/2)
        folded = torch.stack(
            [
                (scores[:, :, i, None, None] * masks).amax(dim=1)
                for i in range(scores.shape[-1])
            ],
            dim=1,
        )
        return torch.nn.functional.interpolate(
            folded, size=pyramid[0].shape[-2:], mode="bilinear"
        )

    def _decide(
        self,
        phrase: str,
        evidence: PhraseEvidence,
        features: StackFeatures,
        stack: ImageStack,
    ) -> PhraseGrounding:
        config, grid = self.config, features.grid
        score = self.presence_score(evidence.presence_logit)
        if score < config.presence_threshold or evidence.core is None:
            return _absent(phrase, score)
        weight = config.core_weight
        share = (1 - weight) * evidence.dense + weight * evidence.core
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
        sure = score * _expected_dice(share, kept)
        sure *= _agreement(evidence.dense, evidence.core)
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
            uncertainty=float(np.clip(1 - sure, 0.0, 1.0)),
            mask=mask.mask,
            mask_origin=mask.origin,
            boxes=boxes,
        )


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


def _agreement(dense: NDArray[np.float32], core: NDArray[np.float32]) -> float:
    """Return how far the branches mark the same place: 1 same, one half disjoint."""
    first, second = dense >= 0.5, core >= 0.5
    total = int(first.sum()) + int(second.sum())
    overlap = 2 * int((first & second).sum()) / max(total, 1)
    return 0.5 + 0.5 * overlap


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
