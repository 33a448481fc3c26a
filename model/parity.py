"""Tell how far two ways of computing answer the same questions apart."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from model.records import Box, ImageStack, PhraseGrounding

__all__ = [
    "BOUNDS",
    "PROBE_PHRASES",
    "Parity",
    "compare_answers",
    "probe_stacks",
    "worst_of",
]

PROBE_PHRASES = ("liver", "lungs", "left kidney", "vertebrae", "heart", "effusion")
"""What is asked of the probe, present or not."""


@dataclass(frozen=True, slots=True)
class Parity:
    """How far answers lie apart, over all phrases.

    Attributes
    ----------
    score
        Largest difference of a score or an uncertainty, in [0, 1].
    probability
        Mean difference of a voxel's probability, in [0, 1], where either mask is.
    dice
        Least overlap of a phrase's two masks. Here and for probabilities only phrases
        count that have a thousandth of the stack in either answer: of a mask of ten
        voxels rounding takes one.
    box_iou
        Least overlap of a box of at least a hundredth of the picture with the best of
        the other answer's on that slice; 0 where that has none.
    """

    score: float
    probability: float
    dice: float
    box_iou: float

    def is_within(self, bounds: Parity) -> bool:
        """Whether nothing lies further apart than in `bounds`; never with NaN."""
        return (
            self.score <= bounds.score
            and self.probability <= bounds.probability
            and self.dice >= bounds.dice
            and self.box_iou >= bounds.box_iou
        )

    def __str__(self) -> str:
        """Tell the four numbers."""
        return (
            f"scores {self.score:.2g}, probabilities {self.probability:.2g}, "
            f"Dice {self.dice:.4f}, boxes {self.box_iou:.4f}"
        )


BOUNDS = Parity(score=0.01, probability=0.01, dice=0.98, box_iou=0.8)
"""What another way of computing may change: less than a reader of masks would see, and
no score across a threshold that was set to two digits."""


def probe_stacks() -> tuple[ImageStack, ...]:
    """Return drawn pictures of a body: a volume, one picture, and loose slices.

    They differ in modality, number of pictures and size, odd sizes among them: what is
    compiled or rounded for one shape need not be right for another. Nothing in them is
    drawn by chance: every run asks the same.

    Returns
    -------
    A CT in Hounsfield units, a radiograph in stored values, and an MR of three slices
    that are no volume.
    """
    return (
        ImageStack(
            _trunk(6, 144, 176), (4.0, 2.5, 2.5), "CT", "ABDOMEN", is_volume=True
        ),
        ImageStack(
            # What X-rays pass through is bright there: the sum of what is behind.
            4095 - _trunk(5, 133, 121).clip(-1000, 1000).sum(axis=0, keepdims=True),
            None,
            "CR",
            "CHEST",
            is_volume=False,
        ),
        ImageStack(
            (_trunk(3, 75, 91) + 1000).clip(0, 1600) / 2,
            (9.0, 4.1, 4.1),
            "MR",
            None,
            is_volume=False,
        ),
    )


def _trunk(slices: int, rows: int, columns: int) -> NDArray[np.float32]:
    """Return a drawn trunk in Hounsfield units: lungs, spine and organs."""
    z, y, x = np.mgrid[0:slices, 0:rows, 0:columns].astype(np.float32)
    y, x = 2 * y / rows - 1, 2 * x / columns - 1
    texture = 12 * np.sin(0.9 * x * 88 + z) * np.cos(0.7 * y * 72)
    pixels = np.full(z.shape, -1000, dtype=np.float32)
    pixels[x**2 / 0.72 + y**2 / 0.58 < 1] = -90  # fat
    pixels[x**2 / 0.62 + y**2 / 0.46 < 1] = 45  # soft tissue
    places = (  # centre (y, x), half axes, HU; the patient's right is at the left
        ((-0.05, -0.35), (0.42, 0.30), 65.0),  # liver
        ((-0.12, 0.36), (0.40, 0.26), -820.0),  # lung
        ((0.22, 0.33), (0.18, 0.12), 160.0),  # kidney
        ((0.38, 0.0), (0.16, 0.12), 450.0),  # vertebra
        ((0.16, 0.06), (0.07, 0.05), 170.0),  # aorta
        ((-0.30, 0.04), (0.22, 0.20), 110.0),  # heart
    )
    for (row, column), (high, wide), value in places:
        grown = 1 + 0.04 * z
        inside = ((y - row) / high) ** 2 + ((x - column) / wide) ** 2 < grown
        pixels[inside] = value
    pixels += np.where(pixels > -200, texture, 0)
    return pixels


def worst_of(found: Iterable[Parity]) -> Parity:
    """Return the furthest apart that anything lies in comparisons; NaN is kept."""
    rows = [(one.score, one.probability, one.dice, one.box_iou) for one in found]
    scores, probabilities, overlaps, boxes = zip(*rows, strict=True)
    return Parity(
        score=float(np.max(scores)),
        probability=float(np.max(probabilities)),
        dice=float(np.min(overlaps)),
        box_iou=float(np.min(boxes)),
    )


def compare_answers(
    exact: Sequence[PhraseGrounding],
    other: Sequence[PhraseGrounding],
    *,
    shape: tuple[int, int, int],
) -> Parity:
    """Compare two lists of answers to the same questions.

    Parameters
    ----------
    shape
        (slices, rows, columns) of the stack.
    """
    scores, shares, overlaps, boxes = [0.0], [0.0], [1.0], [1.0]
    for one, two in zip(exact, other, strict=True):
        scores += [abs(one.score - two.score), abs(one.uncertainty - two.uncertainty)]
        mine, theirs = _laid(one, shape), _laid(two, shape)
        first, second = _mask(one, shape), _mask(two, shape)
        either = first | second
        if either.mean() < 0.001:
            continue
        shares.append(float(np.abs(mine - theirs)[either].mean()))
        both = int((first & second).sum())
        overlaps.append(2 * both / (int(first.sum()) + int(second.sum())))
        least = shape[1] * shape[2] / 100
        boxes.append(_least_overlap(one.boxes, two.boxes, least=least))
    return Parity(
        score=float(np.max(scores)),
        probability=float(np.max(shares)),
        dice=float(np.min(overlaps)),
        box_iou=float(np.min(boxes)),
    )


def _laid(answer: PhraseGrounding, shape: tuple[int, int, int]) -> NDArray[np.float32]:
    whole = np.zeros(shape, dtype=np.float32)
    values = answer.mask if answer.probability is None else answer.probability / 255
    whole[_part(answer)] = values
    return whole


def _mask(answer: PhraseGrounding, shape: tuple[int, int, int]) -> NDArray[np.bool_]:
    whole = np.zeros(shape, dtype=np.bool_)
    whole[_part(answer)] = answer.mask
    return whole


def _part(answer: PhraseGrounding) -> tuple[slice, ...]:
    ends = zip(answer.mask_origin, answer.mask.shape, strict=True)
    return tuple(slice(first, first + size) for first, size in ends)


def _least_overlap(
    exact: Sequence[Box], other: Sequence[Box], *, least: float
) -> float:
    """Return the worst overlap of a large box with the best of the other answer's."""
    found = [1.0]
    for boxes, others in ((exact, other), (other, exact)):
        for box in boxes:
            if _area(box.xyxy) >= least:
                beside = [o for o in others if o.slice_index == box.slice_index]
                found.append(max((_iou(box.xyxy, o.xyxy) for o in beside), default=0.0))
    return min(found)


def _iou(
    first: tuple[float, float, float, float], second: tuple[float, float, float, float]
) -> float:
    left, top = max(first[0], second[0]), max(first[1], second[1])
    right, bottom = min(first[2], second[2]), min(first[3], second[3])
    both = max(0.0, right - left) * max(0.0, bottom - top)
    return both / (_area(first) + _area(second) - both)


def _area(xyxy: tuple[float, float, float, float]) -> float:
    return (xyxy[2] - xyxy[0]) * (xyxy[3] - xyxy[1])
