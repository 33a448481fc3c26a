"""The Grounder protocol: what finds phrases in images, and how it answers."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias, runtime_checkable

import numpy as np
import numpy.typing as npt

from dicom_node.imaging import CanonicalGrid, Pixels
from dicom_node.records import BoundingBox, ImageSeries, Mask

__all__ = [
    "GroundedPrompt",
    "Grounder",
    "ModelIdentity",
    "Progress",
    "TurnProgress",
    "boxes_around",
    "restore_answer",
]

Progress: TypeAlias = Callable[[int, int], None]
"""Called with what is done and what there is to do."""


@runtime_checkable
class TurnProgress(Protocol):
    """Progress that is also told whether the model is at this question, or another."""

    def __call__(self, done: int, total: int, /) -> None:
        """Take what is done and what there is to do."""

    def turn(self, has_turn: bool) -> None:
        """Take whether the model turns to this question, or away from it."""


@dataclass(frozen=True, slots=True)
class ModelIdentity:
    """Which model answers: its name, version and the SHA-256 of its weights."""

    name: str
    version: str
    sha256: str


@dataclass(frozen=True, eq=False)
class GroundedPrompt:
    """What the model says about one prompt in one series.

    Parameters
    ----------
    prompt : str
        What was asked.
    score : float
        Probability that it is in the images, from 0 to 1.
    is_present : bool
        The model's decision.
    uncertainty : float
        From 0 (sure) to 1.
    mask : numpy.ndarray
        Cropped mask in the series' own grid; shape ``(0, 0, 0)`` when nothing is
        found.
    mask_origin : tuple of int
        ``(frame, row, column)`` of the mask's first voxel.
    boxes : tuple of BoundingBox
        In the series' own frames and pixels, sorted by frame.
    probability : numpy.ndarray, optional
        That a voxel belongs to the prompt, 255 for certain, in the shape of ``mask``;
        None when it was not asked for, or the model gives none.
    computed_on : str
        The device, and how many pictures it saw at once where they were fewer than
        usual; empty where the grounder does not tell.

    """

    prompt: str
    score: float
    is_present: bool
    uncertainty: float
    mask: Mask
    mask_origin: tuple[int, int, int]
    boxes: tuple[BoundingBox, ...]
    probability: npt.NDArray[np.uint8] | None = None
    computed_on: str = ""


class Grounder(Protocol):
    """What finds phrases in images."""

    @property
    def identity(self) -> ModelIdentity:
        """Which model answers."""
        ...

    def ground(
        self,
        series: ImageSeries,
        pixels: Pixels,
        prompts: Sequence[str],
        *,
        progress: Progress | None = None,
        with_probabilities: bool = False,
    ) -> tuple[GroundedPrompt, ...]:
        """Find prompts in a series.

        Parameters
        ----------
        series : ImageSeries
            Whose grid the answers are in.
        pixels : numpy.ndarray
            Its pixels, as `PixelReader.read` returns them.
        prompts : sequence of str
            What to find.
        progress : Progress, optional
            Told how far it is.
        with_probabilities : bool
            Answer with the probability of every voxel of a mask's box, where the
            model has it.

        Returns
        -------
        tuple of GroundedPrompt
            One for each prompt, in their order.

        """
        ...


def boxes_around(
    mask: Mask, origin: tuple[int, int, int], *, score: float
) -> tuple[BoundingBox, ...]:
    """Return the box around each connected piece on each frame of a cropped mask.

    Parameters
    ----------
    mask : numpy.ndarray
        Shape ``(frames, rows, columns)``.
    origin : tuple of int
        Where its first voxel lies in the grid that the boxes are in.
    score : float
        Of every box.

    """
    # Loaded with the first result: a node at rest does without.
    from scipy import ndimage

    boxes = []
    for index, plane in enumerate(mask):
        pieces, _ = ndimage.label(plane, structure=np.ones((3, 3)))
        for rows, columns in ndimage.find_objects(pieces):
            xyxy = (
                float(origin[2] + columns.start),
                float(origin[1] + rows.start),
                float(origin[2] + columns.stop),
                float(origin[1] + rows.stop),
            )
            boxes.append(BoundingBox(origin[0] + index, xyxy, score))
    return tuple(sorted(boxes, key=lambda box: (box.frame_index, box.xyxy)))


def restore_answer(
    answer: Mapping[str, Any], masks: bytes, grid: CanonicalGrid, *, computed_on: str
) -> GroundedPrompt:
    """Bring what a model found in canonical order back into the series' own grid.

    Parameters
    ----------
    answer : mapping
        One grounding, as the worker process writes it.
    masks : bytes
        Masks and probabilities of all of them.
    grid : CanonicalGrid
        How the series lies in canonical order.
    computed_on : str
        See `GroundedPrompt`.

    Raises
    ------
    KeyError, TypeError, ValueError, IndexError, OverflowError
        The answer does not describe a mask.

    """
    shape, cropped = answer["mask_shape"], answer["mask_origin"]
    size, offset = math.prod(shape), answer["mask_offset"]
    flat = np.frombuffer(masks, np.bool_, count=size, offset=offset)
    mask, origin = grid.restore_mask(flat.reshape(shape), cropped)
    probability = None
    if answer["has_probability"]:  # right behind the mask
        shares = np.frombuffer(masks, np.uint8, count=size, offset=offset + size)
        probability, _ = grid.restore_mask(shares.reshape(shape), cropped)
    score, uncertainty = float(answer["score"]), float(answer["uncertainty"])
    sure = (score, uncertainty, *(box[2] for box in answer["boxes"]))
    if not all(map(math.isfinite, sure)):
        msg = "a score is no number"
        raise ValueError(msg)
    boxes = tuple(
        BoundingBox(index, (x0, y0, x1, y1), confidence)
        for index, (x0, y0, x1, y1), confidence in answer["boxes"]
    )
    if grid.axes[0] != 0 and mask.any():
        # Frames cut what the model saw slice by slice: look at the cut itself.
        best = max((box.score for box in boxes), default=score)
        restored = boxes_around(mask, origin, score=best)
    else:
        restored = grid.restore_boxes(boxes)
    return GroundedPrompt(
        prompt=answer["prompt"],
        score=score,
        is_present=bool(answer["is_present"]),
        uncertainty=uncertainty,
        mask=mask,
        mask_origin=origin,
        boxes=restored,
        probability=probability,
        computed_on=computed_on,
    )
