"""Which regions share a segmentation, in which order and encoding."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from dicom_node.objects.planes import Grid, planes_of
from dicom_node.objects.profiles import SegmentationEncoding

if TYPE_CHECKING:
    from dicom_node.objects.profiles import Profile
    from dicom_node.records import Phrase, Region

__all__ = ["Part", "any_overlap", "arrange"]


@dataclass(frozen=True, eq=False)
class Part:
    """A region to encode: the phrase, its index among all, and its frames."""

    index: int
    phrase: Phrase
    region: Region


def arrange(
    parts: Sequence[Part], grid: Grid, profile: Profile
) -> list[tuple[SegmentationEncoding, list[Part]]]:
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
        return [(encoding, list(parts))]
    if encoding is SegmentationEncoding.BINARY:
        frames = [len(planes_of(part.region, grid, 1)) for part in parts]
        limit = profile.max_binary_frames
        is_few = limit is None or sum(frames) <= limit
        is_even = (grid.series.rows * grid.series.columns) % 8 == 0
        if is_few and (is_even or not profile.splits_odd_frames):
            return [(encoding, _in_viewing_order(parts, grid))]
        if is_few and max(frames) == 1:
            return [(encoding, [part]) for part in parts]
    label_map = SegmentationEncoding.LABELMAP
    return [(label_map, group) for group in _without_overlap(parts)]


def _in_viewing_order(parts: Sequence[Part], grid: Grid) -> list[Part]:
    """Order overlapping regions by the last frame that each reaches.

    Cornerstone merges segments in their order, and loses the frames of one that
    reaches less far than what it is merged with.
    """
    if not any_overlap(parts):
        return list(parts)

    def last(part: Part) -> int:
        planes = planes_of(part.region, grid, 1)
        return max(grid.viewing_rank[plane.frame_index] for plane in planes)

    return sorted(parts, key=last)


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


def any_overlap(parts: Sequence[Part]) -> bool:
    """Return whether two of the regions share a voxel."""
    return any(
        _overlap(first.region, second.region)
        for index, first in enumerate(parts)
        for second in parts[index + 1 :]
    )
