"""Hold what one evaluation asks: a stack, phrases and where they truly are."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from model.records import ImageStack
from training.errors import DatasetError

__all__ = [
    "EvaluationCase",
    "Mask",
    "PhraseTruth",
    "TruthBox",
    "boxes_of_mask",
    "case_from_masks",
]

Mask = NDArray[np.bool_]
TruthBox = tuple[int, tuple[float, float, float, float]]
"""Slice index, and left, top, right, bottom in continuous pixels."""

_SQUARE = np.ones((3, 3), dtype=np.bool_)


@dataclass(frozen=True, eq=False, kw_only=True)
class PhraseTruth:
    """Where one phrase truly is, or that it is nowhere."""

    phrase: str
    is_present: bool
    label: str = ""
    """Class that the phrase is counted with; "" means the phrase itself"""
    load_mask: Callable[[], Mask] | None = None
    """Loads (slices, rows, columns) on the stack's grid; None: only boxes are known"""
    boxes: tuple[TruthBox, ...] = ()
    """Drawn boxes; when none were drawn, those of the mask's pieces count"""

    @property
    def category(self) -> str:
        """Return the class that the phrase is counted with."""
        return self.label or self.phrase


@dataclass(frozen=True, eq=False, kw_only=True)
class EvaluationCase:
    """One stack and everything that is asked about it."""

    name: str
    """Unique in an evaluation; a pseudonym, never a patient's name"""
    patient: str
    """Pseudonym: intervals are drawn over patients, not over phrases"""
    stack: ImageStack
    truths: tuple[PhraseTruth, ...]
    """Present and absent phrases; none appears twice"""
    dataset: str
    note: str = ""
    """What a reader of the report must know of these labels"""

    def __post_init__(self) -> None:
        phrases = [truth.phrase for truth in self.truths]
        if len(set(phrases)) != len(phrases):
            raise DatasetError(f"case {self.name} asks a phrase twice")
        for truth in self.truths:
            placed = truth.load_mask is not None or bool(truth.boxes)
            if truth.is_present != placed:
                raise DatasetError(
                    f"case {self.name}: a phrase is present exactly if it has a place"
                )

    @property
    def phrases(self) -> tuple[str, ...]:
        """Return what to ask, in order."""
        return tuple(truth.phrase for truth in self.truths)


def case_from_masks(
    name: str,
    stack: ImageStack,
    *,
    masks: Mapping[str, Mask | Callable[[], Mask]],
    absent: Iterable[str] = (),
    dataset: str,
    patient: str | None = None,
    labels: Mapping[str, str] | None = None,
    note: str = "",
) -> EvaluationCase:
    """Make a case from one mask, or its loader, per phrase.

    Parameters
    ----------
    masks
        Phrase to (slices, rows, columns), not empty.
    absent
        Phrases that are surely not in the stack.
    patient
        Pseudonym; the case's name when None.
    labels
        Phrase to the class that it is counted with.
    """
    known = labels or {}
    present = [
        PhraseTruth(
            phrase=phrase,
            is_present=True,
            label=known.get(phrase, ""),
            load_mask=_loader(mask),
        )
        for phrase, mask in masks.items()
    ]
    nothing = [
        PhraseTruth(phrase=phrase, is_present=False, label=known.get(phrase, ""))
        for phrase in absent
    ]
    return EvaluationCase(
        name=name,
        patient=patient or name,
        stack=stack,
        truths=(*present, *nothing),
        dataset=dataset,
        note=note,
    )


def boxes_of_mask(mask: Mask) -> tuple[TruthBox, ...]:
    """Return one tight box per 8-connected piece and slice of a mask."""
    boxes: list[TruthBox] = []
    for index, plane in enumerate(mask):
        if plane.any():
            pieces, _ = ndimage.label(plane, _SQUARE)
            for rows, columns in ndimage.find_objects(pieces):
                edges = (columns.start, rows.start, columns.stop, rows.stop)
                left, top, right, bottom = (float(edge) for edge in edges)
                boxes.append((index, (left, top, right, bottom)))
    return tuple(boxes)


def _loader(mask: Mask | Callable[[], Mask]) -> Callable[[], Mask]:
    return mask if callable(mask) else lambda: mask
