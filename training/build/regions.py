"""Turn what is known of an image into the regions of each stored picture."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from training.build.findings import Finding
from training.build.normalise import shrink_mask
from training.build.settings import BuildSettings
from training.records import XYXY, Rle, Status
from training.rle import encode_rle

__all__ = ["Draft", "choose_slices", "draft_regions", "pieces_of"]

_EIGHT = np.ones((3, 3), dtype=np.bool_)
"""Pixels that touch at a corner belong together."""


@dataclass(frozen=True, eq=False, kw_only=True)
class Draft:
    """One finding on one stored picture, before it is worded."""

    finding: Finding
    status: Status
    boxes: tuple[XYXY, ...]
    masks: tuple[Rle, ...] | None
    ignore: bool


def choose_slices(
    areas: Mapping[str, NDArray[np.int64]],
    *,
    slices: int,
    lesions: frozenset[str],
    settings: BuildSettings,
) -> tuple[int, ...]:
    """Choose the slices of a volume that become pictures.

    The slice where each label is largest, up to ``lesion_slices`` of each lesion
    evenly over its extent, and every ``slice_step``-th of the volume; where that is
    more than ``max_slices``, in this order of importance.

    Parameters
    ----------
    areas
        Label to its pixels in each slice.
    lesions
        Labels of which every part counts.

    Returns
    -------
    Slice numbers, growing.
    """
    wanted: dict[int, None] = {}
    for name in sorted(areas):
        if areas[name].any():
            wanted[int(areas[name].argmax())] = None
    for name in sorted(lesions & areas.keys()):
        wanted.update(dict.fromkeys(_evenly(areas[name], settings.lesion_slices)))
    first = min(settings.slice_step // 2, (slices - 1) // 2)
    wanted.update(dict.fromkeys(range(first, slices, settings.slice_step)))
    return tuple(sorted(list(wanted)[: settings.max_slices]))


def _evenly(areas: NDArray[np.int64], number: int) -> list[int]:
    filled = np.flatnonzero(areas)
    if not len(filled):
        return []
    places = np.linspace(0, len(filled) - 1, min(number, len(filled)))
    return [int(filled[round(place)]) for place in places.tolist()]


def draft_regions(
    findings: Sequence[Finding],
    *,
    index: int,
    shape: tuple[int, int],
    source_shape: tuple[int, int],
    settings: BuildSettings,
    drops: Counter[str],
) -> tuple[Draft, ...]:
    """Return the regions of one stored picture.

    Parameters
    ----------
    index
        Slice of the volume; 0 for a single picture.
    shape, source_shape
        (rows, columns) of the stored picture and of the source.
    drops
        Counts pieces that are too small.
    """
    drafts = []
    for finding in findings:
        if finding.status == "absent" or (
            finding.ignore and not finding.masks and not finding.boxes
        ):
            drafts.append(_placeless(finding, ignore=finding.ignore))
        elif finding.masks:
            found = _outlined(
                finding, index=index, shape=shape, settings=settings, drops=drops
            )
            if finding.boxes:
                boxed = _boxed(finding, shape=shape, source_shape=source_shape)
                found = [_as_boxes(found, boxed)]
            drafts.extend(found)
        elif finding.boxes:
            drafts.append(_boxed(finding, shape=shape, source_shape=source_shape))
        else:
            drops["present without a place, neither positive nor negative"] += 1
            drafts.append(_placeless(finding, ignore=True))
    return tuple(drafts)


def _placeless(finding: Finding, *, ignore: bool) -> Draft:
    return Draft(
        finding=finding, status=finding.status, boxes=(), masks=None, ignore=ignore
    )


def _boxed(
    finding: Finding, *, shape: tuple[int, int], source_shape: tuple[int, int]
) -> Draft:
    down, across = shape[0] / source_shape[0], shape[1] / source_shape[1]
    boxes = tuple(
        (left * across, top * down, right * across, bottom * down)
        for left, top, right, bottom in finding.boxes
    )
    return Draft(
        finding=finding,
        status=finding.status,
        boxes=boxes,
        masks=None,
        ignore=finding.ignore,
    )


def _as_boxes(outlined: list[Draft], boxed: Draft) -> Draft:
    """Join pieces with a mask and pieces without: only their boxes are known."""
    drawn = [box for draft in outlined for box in draft.boxes]
    return replace(boxed, boxes=(*drawn, *boxed.boxes))


def _outlined(
    finding: Finding,
    *,
    index: int,
    shape: tuple[int, int],
    settings: BuildSettings,
    drops: Counter[str],
) -> list[Draft]:
    """Return the pieces of a finding on one slice; nothing where it does not reach."""
    here = [mask for mask in finding.masks if mask.areas[index]]
    if not here:
        # Whether it is absent here is for the label space to say, unless more of it
        # may be anywhere.
        return [] if finding.complete else [_placeless(finding, ignore=True)]
    boxes: list[XYXY] = []
    masks: list[Rle] = []
    for mask in here:
        plane = shrink_mask(mask.plane(index), shape)
        kept, small = pieces_of(plane, min_area=settings.min_area)
        drops["piece of a mask below min_area"] += small
        for box, piece in kept:
            boxes.append(box)
            masks.append(encode_rle(piece))
    if not boxes:
        return [_placeless(finding, ignore=True)]
    return [
        Draft(
            finding=finding,
            status=finding.status,
            boxes=tuple(boxes),
            masks=tuple(masks),
            ignore=finding.ignore,
        )
    ]


def pieces_of(
    mask: NDArray[np.bool_], *, min_area: int
) -> tuple[list[tuple[XYXY, NDArray[np.bool_]]], int]:
    """Split a mask into its connected pieces.

    Returns
    -------
    Tight box and (rows, columns) mask of each piece of at least `min_area` pixels, and
    how many smaller ones there were.
    """
    labels, number = ndimage.label(mask, structure=_EIGHT)
    kept: list[tuple[XYXY, NDArray[np.bool_]]] = []
    areas = np.bincount(labels.ravel(), minlength=number + 1)
    for value, place in enumerate(ndimage.find_objects(labels), start=1):
        if areas[value] < min_area:
            continue
        rows, columns = place
        box = (
            float(columns.start),
            float(rows.start),
            float(columns.stop),
            float(rows.stop),
        )
        kept.append((box, np.asarray(labels == value)))
    return kept, number - len(kept)
