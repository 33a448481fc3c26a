"""Key frames: the few frames that show every region at its largest."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from dicom_node.errors import ObjectError

if TYPE_CHECKING:
    import numpy.typing as npt

    from dicom_node.objects.common import Making
    from dicom_node.records import FrameReference, ImageSeries, Region

__all__ = ["MAX_KEY_FRAMES", "DrawnRegion", "KeyFrame", "choose", "drawn_regions"]

MAX_KEY_FRAMES = 12
"""Pictures that one result sends: a person turns over so many, and an old archive
takes them in. What is left out is counted in the result."""


@dataclass(frozen=True, eq=False)
class DrawnRegion:
    """A region in its series: the index of its phrase among all, and its masks."""

    index: int
    series: ImageSeries
    region: Region

    def mask_on(self, frame_index: int) -> npt.NDArray[np.bool_]:
        """Return the mask on one frame, shape ``(rows, columns)``; perhaps empty."""
        whole = np.zeros((self.series.rows, self.series.columns), bool)
        first, row, column = self.region.mask_origin
        if 0 <= frame_index - first < len(self.region.mask):
            part = self.region.mask[frame_index - first]
            rows, columns = part.shape
            whole[row : row + rows, column : column + columns] = part
        return whole

    @property
    def frame_indices(self) -> tuple[int, ...]:
        """The frames of the series that the mask is on."""
        used = np.flatnonzero(self.region.mask.any(axis=(1, 2)))
        return tuple((used + self.region.mask_origin[0]).tolist())

    @property
    def largest_frame(self) -> int:
        """The first frame on which the mask is largest."""
        areas = np.count_nonzero(self.region.mask, axis=(1, 2))
        return int(self.region.mask_origin[0] + areas.argmax())


@dataclass(frozen=True, eq=False)
class KeyFrame:
    """A frame and the regions that are on it, in the order of their phrases."""

    series: ImageSeries
    frame_index: int
    regions: tuple[DrawnRegion, ...]

    @property
    def frame(self) -> FrameReference:
        """The reference of the frame."""
        return self.series.frames[self.frame_index]

    @property
    def alone(self) -> ImageSeries:
        """The series with this frame only, to read its pixels."""
        return replace(self.series, frames=(self.frame,), affine_lps=None)


def drawn_regions(making: Making) -> tuple[DrawnRegion, ...]:
    """Return every region of a result, in the order of its phrases.

    Raises
    ------
    ObjectError
        A mask is empty or leaves its series.

    """
    found = []
    for index, series, region in making.placed_regions():
        ends = np.add(region.mask_origin, region.mask.shape)
        limits = (len(series.frames), series.rows, series.columns)
        if min(region.mask_origin) < 0 or (ends > limits).any():
            msg = "a mask leaves its series"
            raise ObjectError(msg, tracking_uid=region.tracking_uid)
        if not region.mask.any():
            msg = "a region has an empty mask"
            raise ObjectError(msg, tracking_uid=region.tracking_uid)
        found.append(DrawnRegion(index, series, region))
    return tuple(found)


def choose(
    regions: Sequence[DrawnRegion], *, limit: int = MAX_KEY_FRAMES
) -> tuple[tuple[KeyFrame, ...], int]:
    """Choose the frame on which each region is largest.

    Every phrase has one before any phrase has its second. Regions that are largest
    on the same frame share it.

    Returns
    -------
    tuple of (tuple of KeyFrame, int)
        At most `limit` frames, in the order of phrases, and how many more there are.

    """
    turns: dict[int, int] = {}
    ranked = []
    for one in regions:
        turn = turns[one.index] = turns.get(one.index, 0) + 1
        ranked.append((turn, one.index, one))
    ranked.sort(key=lambda item: item[:2])
    places: dict[tuple[str, int, int], DrawnRegion] = {}
    for _, _, one in ranked:
        series = one.series
        key = (series.series_instance_uid, series.stack_number, one.largest_frame)
        places.setdefault(key, one)
    frames = []
    for key, first in list(places.items())[:limit]:
        shown = tuple(
            one
            for one in regions
            if one.series is first.series and key[2] in one.frame_indices
        )
        frames.append(KeyFrame(first.series, key[2], shown))
    return tuple(frames), max(0, len(places) - limit)
