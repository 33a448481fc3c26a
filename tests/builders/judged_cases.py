"""Make evaluation cases with square regions, and a model that answers by script."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from model.records import Box, ImageStack, PhraseGrounding
from training.evaluation.cases import EvaluationCase, boxes_of_mask, case_from_masks

__all__ = ["ScriptedModel", "answer_with", "make_case", "nothing", "square"]

Square = tuple[int, int, int, int]
"""Top, left, bottom, right."""


def square(*squares: Square, shape: tuple[int, int, int] = (1, 32, 32)) -> NDArray:
    """Return a mask of squares on every slice."""
    mask = np.zeros(shape, dtype=np.bool_)
    for top, left, bottom, right in squares:
        mask[:, top:bottom, left:right] = True
    return mask


def make_case(
    name: str = "case",
    *,
    masks: dict[str, NDArray],
    absent: Sequence[str] = (),
    patient: str | None = None,
    dataset: str = "toys",
    modality: str = "DX",
    spacing_mm: tuple[float, float, float] | None = (0.0, 1.0, 1.0),
    is_volume: bool = False,
    labels: dict[str, str] | None = None,
    note: str = "",
) -> EvaluationCase:
    """Return a case whose picture is bright where anything is."""
    shape = next(iter(masks.values())).shape if masks else (1, 32, 32)
    pixels = np.random.default_rng(0).normal(0, 0.1, shape).astype(np.float32)
    for mask in masks.values():
        pixels[mask] += 1
    return case_from_masks(
        name,
        ImageStack(pixels, spacing_mm, modality, None, is_volume),
        masks=masks,
        absent=absent,
        patient=patient,
        dataset=dataset,
        labels=labels,
        note=note,
    )


def answer_with(
    phrase: str, mask: NDArray, *, score: float = 0.9, uncertainty: float = 0.1
) -> PhraseGrounding:
    """Return an answer that marks a mask, boxed piece by piece."""
    boxes = tuple(Box(index, xyxy, score) for index, xyxy in boxes_of_mask(mask))
    return PhraseGrounding(
        phrase=phrase,
        score=score,
        is_present=True,
        uncertainty=uncertainty,
        mask=mask,
        mask_origin=(0, 0, 0),
        boxes=boxes,
    )


def nothing(phrase: str, *, score: float = 0.1) -> PhraseGrounding:
    """Return the answer that a phrase is absent."""
    empty = np.zeros((0, 0, 0), dtype=np.bool_)
    return PhraseGrounding(phrase, score, False, score, empty, (0, 0, 0), ())


@dataclass
class ScriptedModel:
    """Answers by a function of stack and phrase."""

    script: Callable[[ImageStack, str], PhraseGrounding]
    name: str = "scripted"
    version: str = "1"
    sha256: str = "0" * 64
    asked: list[tuple[str, ...]] = field(default_factory=list)

    def ground(
        self,
        stack: ImageStack,
        phrases: Sequence[str],
        *,
        progress: Callable[[int, int], None] | None = None,
    ) -> tuple[PhraseGrounding, ...]:
        self.asked.append(tuple(phrases))
        return tuple(self.script(stack, phrase) for phrase in phrases)
