"""Sort slices of one orientation into stacks, each an even grid where it can be."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations, groupby

import numpy as np
import numpy.typing as npt

from dicom_node.errors import GeometryError
from dicom_node.imaging.frames import FrameHeader
from dicom_node.imaging.geometry import Affine, grid_affine, slice_normal

__all__ = ["Stack", "split_into_stacks"]

_SAME_PLACE_MM = 0.01
"""Slices nearer than this lie at the same place."""

_MAX_KEYS = 2
"""How many header values together may tell the stacks of a series apart."""

_SAME_SPACING = 0.05
"""Distances that differ by less than this fraction are equal."""


@dataclass(frozen=True, eq=False)
class Stack:
    """Frames in order; with an affine they are an even, orthogonal grid."""

    frames: tuple[FrameHeader, ...]
    affine_lps: Affine | None


def split_into_stacks(frames: Sequence[FrameHeader]) -> tuple[Stack, ...]:
    """Split slices that share orientation and pixel spacing into stacks.

    Parameters
    ----------
    frames : sequence of FrameHeader
        Slices with a position, of one orientation and pixel spacing.

    Returns
    -------
    tuple of Stack
        Every frame is in exactly one. Slices that repeat a place (phases, echoes,
        acquisitions that overlap) are told apart by their headers, else by the order
        of their instance numbers. At a gap, or where the spacing changes, a new stack
        begins. What forms no grid (tilted gantry, irregular spacing) stays together
        without an affine, and so do repetitions of a single place.

    """
    ordered = _sorted(frames)
    if len(ordered) > 1 and len(_places(ordered)) == 1:
        by_number = sorted(ordered, key=_instance_order)
        return (Stack(tuple(by_number), None),)
    if (affine := _affine(ordered)) is not None:
        return (Stack(tuple(ordered), affine),)
    groups = _told_apart(ordered) or [ordered]
    return tuple(
        stack
        for group in groups
        for occurrence in _occurrences(group)
        for stack in _runs(occurrence)
    )


def _sorted(frames: Sequence[FrameHeader]) -> list[FrameHeader]:
    """Sort along the normal; equal places keep the order of the instances."""
    by_number = sorted(frames, key=_instance_order)
    rounded = np.round(_distances(by_number) / _SAME_PLACE_MM)
    order = np.argsort(rounded, kind="stable")
    return [by_number[index] for index in order]


def _instance_order(frame: FrameHeader) -> tuple[int, str, int]:
    reference = frame.reference
    return (frame.instance_number, reference.sop_instance_uid, reference.frame_number)


def _distances(frames: Sequence[FrameHeader]) -> npt.NDArray[np.float64]:
    orientation = frames[0].orientation
    assert orientation is not None  # noqa: S101 - the caller gives slices with a place
    positions = np.array([frame.reference.position_lps for frame in frames], np.float64)
    distances: npt.NDArray[np.float64] = positions @ slice_normal(orientation)
    return distances - float(distances.min())


def _places(ordered: Sequence[FrameHeader]) -> list[list[FrameHeader]]:
    """Group sorted frames that lie at the same place."""
    distances = _distances(ordered)
    starts = np.concatenate([[True], np.diff(distances) > _SAME_PLACE_MM])
    labels = np.cumsum(starts)
    return [
        [frame for _, frame in members]
        for _, members in groupby(
            zip(labels, ordered, strict=True), key=lambda pair: int(pair[0])
        )
    ]


def _affine(ordered: Sequence[FrameHeader]) -> Affine | None:
    first = ordered[0]
    assert first.orientation is not None  # noqa: S101 - see _distances
    assert first.pixel_spacing_mm is not None  # noqa: S101 - see _distances
    try:
        return grid_affine(
            np.array([frame.reference.position_lps for frame in ordered]),
            first.orientation,
            pixel_spacing_mm=first.pixel_spacing_mm,
            slice_distance_mm=first.slice_distance_mm,
        )
    except GeometryError:
        return None


def _told_apart(ordered: Sequence[FrameHeader]) -> list[list[FrameHeader]] | None:
    """Find header values by which the frames fall into stacks without repetition."""
    width = min(len(frame.telling_apart) for frame in ordered)
    varying = [
        key for key in range(width) if len({f.telling_apart[key] for f in ordered}) > 1
    ]
    acceptable = None
    for size in range(1, _MAX_KEYS + 1):
        for keys in combinations(varying, size):
            groups = list(_grouped(ordered, keys))
            if min(map(len, groups)) < 2 or any(map(_has_repetition, groups)):
                continue
            if all(_affine(group) is not None for group in groups):
                return groups
            if acceptable is None and _has_repetition(ordered):
                acceptable = groups
    return acceptable


def _grouped(
    ordered: Sequence[FrameHeader], keys: tuple[int, ...]
) -> Iterator[list[FrameHeader]]:
    groups: dict[tuple[str, ...], list[FrameHeader]] = defaultdict(list)
    for frame in ordered:
        groups[tuple(frame.telling_apart[key] for key in keys)].append(frame)
    yield from sorted(
        groups.values(), key=lambda group: min(map(_instance_order, group))
    )


def _has_repetition(ordered: Sequence[FrameHeader]) -> bool:
    return len(_places(ordered)) < len(ordered)


def _occurrences(ordered: Sequence[FrameHeader]) -> Iterator[list[FrameHeader]]:
    """Deal the frames of each place out: first ones, second ones ..."""
    places = _places(ordered)
    for occurrence in range(max(map(len, places))):
        yield [place[occurrence] for place in places if occurrence < len(place)]


def _runs(ordered: Sequence[FrameHeader]) -> Iterator[Stack]:
    """Cut a stack where its spacing changes, unless it changes all the time."""
    if (affine := _affine(ordered)) is not None:
        yield Stack(tuple(ordered), affine)
        return
    runs = list(_even_runs(ordered))
    stacks = [Stack(tuple(run), _affine(run)) for run in runs]
    if len(runs) > max(2, len(ordered) // 4) or any(
        stack.affine_lps is None for stack in stacks
    ):
        yield Stack(tuple(ordered), None)
        return
    yield from stacks


def _even_runs(ordered: Sequence[FrameHeader]) -> Iterator[list[FrameHeader]]:
    gaps = np.diff(_distances(ordered))
    usual = float(np.median(gaps))
    run = [ordered[0]]
    step: float | None = None
    for index, frame in enumerate(ordered[1:]):
        gap = float(gaps[index])
        following = float(gaps[index + 1]) if index + 1 < len(gaps) else usual
        # A run's first distance counts when it is the usual one or is repeated.
        fits = (
            _equal(gap, step)
            if step
            else (_equal(gap, usual) or _equal(gap, following))
        )
        if fits:
            step = step or gap
            run.append(frame)
        else:
            yield run
            run, step = [frame], None
    yield run


def _equal(first: float, second: float) -> bool:
    return abs(first - second) <= _SAME_SPACING * max(first, second)
