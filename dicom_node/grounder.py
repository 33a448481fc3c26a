"""The Grounder protocol: what finds phrases in images, and how it answers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeAlias

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from dicom_node.imaging import Pixels
from dicom_node.records import BoundingBox, ImageSeries, Mask

__all__ = ["GroundedPrompt", "Grounder", "ModelIdentity", "Progress", "boxes_around"]

Progress: TypeAlias = Callable[[int, int], None]
"""Called with what is done and what there is to do."""


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

    """

    prompt: str
    score: float
    is_present: bool
    uncertainty: float
    mask: Mask
    mask_origin: tuple[int, int, int]
    boxes: tuple[BoundingBox, ...]
    probability: npt.NDArray[np.uint8] | None = None


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
