"""What every stream yields and every trainer learns from."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Protocol

from torch import Tensor

__all__ = ["Batch", "BatchStream", "PictureRegions"]


@dataclass
class PictureRegions:
    """The separate places of one picture, each owned by one or more phrases."""

    phrase: Tensor
    """(regions, phrases) 1 where the phrase of the batch describes the region"""
    boxes: Tensor
    """(regions, 4) centre-size, shares of the picture"""
    masks: Tensor
    """(regions, rows/2, columns/2) in {0, 1}; NaN throughout where only the box is
    known"""


@dataclass
class Batch:
    """Pictures, and one list of phrases that all of them are compared with."""

    pixels: Tensor
    """(batch, channels, rows, columns), see ``model.processing``"""
    modality: Tensor
    """(batch,) rows of ``model.modality.MODALITIES``"""
    phrases: tuple[str, ...]
    """P texts"""
    masks: Tensor
    """(batch, P, rows, columns) bool"""
    known: Tensor
    """(batch, P) bool: the labels can tell whether the phrase is on the picture"""
    outlined: Tensor
    """(batch, P) bool: `masks` is true to the pixel; False: it is filled boxes"""
    concept: Tensor
    """(P,) int64: equal numbers mean the same thing; -1: unknown"""
    parent: Tensor
    """(P,) int64: row of the phrase that contains this one (left lung: lungs); -1"""
    regions: tuple[PictureRegions, ...]
    """One per picture"""
    weight: Tensor
    """(batch, P) float: how much a label counts; 1 for manual ones"""
    attributes: tuple[str, ...] = ()
    """What the knowledge file says of each phrase; "" where it is silent"""
    contrast_phrases: tuple[str, ...] = ()
    """More wordings for the text objective, no part of any picture"""
    contrast_concept: Tensor | None = None
    """(contrast phrases,)"""
    body_part: tuple[str | None, ...] = field(default=())
    """(batch,) DICOM Body Part Examined"""
    sample_ids: tuple[str, ...] = ()
    """Which sample each picture is: how a resumed run proves it lost none"""


class BatchStream(Protocol):
    """Yields batches for ever and can be put back to any place of its sequence."""

    def __iter__(self) -> Iterator[Batch]:
        """Return itself."""
        ...

    def __next__(self) -> Batch:
        """Yield the next batch; which one depends on the state alone."""
        ...

    def state_dict(self) -> dict[str, Any]:
        """Return the place after the last yielded batch: numbers, texts, nested."""
        ...

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go to a place; the next batch is the one that would have followed it."""
        ...
