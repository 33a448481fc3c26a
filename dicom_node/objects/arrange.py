"""Which regions share a segmentation, in which order and encoding."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from dicom_node.objects.profiles import SegmentationEncoding

if TYPE_CHECKING:
    from dicom_node.objects.planes import Grid
    from dicom_node.objects.profiles import Profile
    from dicom_node.records import Mask, Phrase, Region

__all__ = ["Group", "Part", "arrange"]


@dataclass(frozen=True, eq=False)
class Part:
    """A region to encode: the phrase, its index among all, and its frames."""

    index: int
    phrase: Phrase
    region: Region
    frames: tuple[int, ...]
    """Those of the series where its mask is not empty."""


@dataclass(frozen=True, eq=False)
class Group:
    """The regions that share an instance, in the order of their segments."""

    encoding: SegmentationEncoding
    parts: Sequence[Part]
    has_overlap: bool
    """Whether a voxel is not zero in two of them, as they are written."""


def arrange(parts: Sequence[Part], grid: Grid, profile: Profile) -> list[Group]:
    """Decide which regions share an instance, and how each instance is encoded.

    FRACTIONAL holds all of them, and BINARY too where a frame ends on a byte. Where
    it does not, OHIF 3.13 reads every frame after the first from the wrong bit and
    draws a sheared region. For profiles that mind, a region of one frame has a BINARY
    instance of its own there, and regions of more frames become label maps, which
    OHIF, Slicer (dcmqi) and highdicom read right: a receiver without label maps
    refuses them, which is better than a wrong outline. Label maps hold no overlap, so
    a region that overlaps goes to the next instance.

    Profiles with a limit of BINARY frames get label maps beyond it: these need one
    frame for each plane and not for each segment on it.
    """
    encoding = profile.segmentation
    if encoding is SegmentationEncoding.FRACTIONAL:
        # Any probability of a second segment is lost in a label map, which NO says
        # that the instance can become (PS3.3 C.8.20.2.3.3).
        overlap = _any_overlap(parts, grid, _possible)
        return [Group(encoding, parts, overlap)]
    if encoding is SegmentationEncoding.BINARY:
        frames = [len(part.frames) for part in parts]
        limit = profile.max_binary_frames
        is_few = limit is None or sum(frames) <= limit
        is_even = (grid.series.rows * grid.series.columns) % 8 == 0
        if is_few and (is_even or not profile.splits_odd_frames):
            if not _any_overlap(parts, grid):
                return [Group(encoding, parts, has_overlap=False)]
            return [Group(encoding, _in_viewing_order(parts, grid), has_overlap=True)]
        if is_few and max(frames) == 1:
            return [Group(encoding, [part], has_overlap=False) for part in parts]
    label_map = SegmentationEncoding.LABELMAP
    if not _any_overlap(parts, grid):
        return [Group(label_map, parts, has_overlap=False)]
    return [
        Group(label_map, group, has_overlap=False) for group in _without_overlap(parts)
    ]


def _in_viewing_order(parts: Sequence[Part], grid: Grid) -> list[Part]:
    """Order overlapping regions by the last frame that each reaches.

    Cornerstone merges segments in their order, and loses the frames of one that
    reaches less far than what it is merged with.
    """
    return sorted(
        parts, key=lambda part: max(grid.viewing_rank[one] for one in part.frames)
    )


def _certain(region: Region) -> Mask:
    return region.mask


def _possible(region: Region) -> npt.NDArray[np.generic]:
    return region.mask if region.probability is None else region.probability


def _any_overlap(
    parts: Sequence[Part],
    grid: Grid,
    pixels_of: Callable[[Region], npt.NDArray[np.generic]] = _certain,
) -> bool:
    """Return whether two of the regions have pixels that are not zero on a voxel."""
    on_frame: dict[int, list[Region]] = {}
    for part in parts:
        for frame in part.frames:
            on_frame.setdefault(frame, []).append(part.region)
    # Each frame is painted region by region: pairs would be the square of them.
    canvas = np.empty((grid.series.rows, grid.series.columns), np.bool_)
    for frame, regions in on_frame.items():
        if len(regions) == 1:
            continue
        canvas[:] = False
        for region in regions:
            first, row, column = region.mask_origin
            pixels = pixels_of(region)[frame - first]
            rows, columns = pixels.shape
            window = canvas[row : row + rows, column : column + columns]
            if np.logical_and(window, pixels).any():
                return True
            np.logical_or(window, pixels, out=window)
    return False


def _without_overlap(parts: Sequence[Part]) -> list[list[Part]]:
    groups: list[list[Part]] = []
    for part in parts:
        for group in groups:
            if not any(_overlap(part.region, other.region) for other in group):
                group.append(part)
                break
        else:
            groups.append([part])
    return groups


def _overlap(first: Region, second: Region) -> bool:
    starts = np.maximum(first.mask_origin, second.mask_origin)
    ends = np.minimum(
        np.add(first.mask_origin, first.mask.shape),
        np.add(second.mask_origin, second.mask.shape),
    )
    if (starts >= ends).any():
        return False
    windows = []
    for region in (first, second):
        low = starts - region.mask_origin
        high = ends - region.mask_origin
        windows.append(
            region.mask[low[0] : high[0], low[1] : high[1], low[2] : high[2]]
        )
    return bool(np.logical_and(*windows).any())
