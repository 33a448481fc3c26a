"""Segmentations against what a viewer shows of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import highdicom as hd
import numpy as np
import numpy.typing as npt
import pydicom
from PIL import Image

from tests.builders.canvas import (
    intersection_over_union,
    project,
    share_of_hue,
    shown_segments,
)

__all__ = ["colours_of", "compare_masks", "compare_overlay"]

_LEAST_PIXELS = 2000
"""Canvas pixels that a segment must have in a slice to be compared."""


def colours_of(
    segmentations: Sequence[hd.seg.Segmentation],
) -> dict[int, tuple[int, ...]]:
    """Return each segment's colour, red, green and blue; numbered through all."""
    items = [item for one in segmentations for item in one.SegmentSequence]
    return {
        number: hd.color.CIELabColor.from_dicom_value(
            item.RecommendedDisplayCIELabValue
        ).to_rgb()
        for number, item in enumerate(items, start=1)
    }


def compare_overlay(
    segmentations: Sequence[hd.seg.Segmentation],
    image: pydicom.Dataset,
    slice_: Mapping[str, Any],
) -> dict[int, float]:
    """Compare what a viewer painted over an image with the segmentations.

    Parameters
    ----------
    segmentations : sequence
        All that is loaded; segments are numbered through them from 1.
    image : pydicom.Dataset
        The image that is shown.
    slice_ : mapping
        What the page driver says of it.

    Returns
    -------
    dict
        Intersection over union of painted and expected canvas pixels for each
        segment that is large enough in this image. Where segments overlap their
        colours mix, so that none is to be found there: those pixels do not count.

    """
    masks = [mask for one in segmentations for mask in _masks(one, image)]
    return compare_masks(masks, list(colours_of(segmentations).values()), slice_)


def compare_masks(
    masks: Sequence[npt.NDArray[np.bool_]],
    colours: Sequence[Sequence[int]],
    slice_: Mapping[str, Any],
) -> dict[int, float]:
    """Compare what a viewer painted over an image with masks in the image's grid.

    Parameters
    ----------
    masks : sequence of numpy.ndarray
        One for each segment that is loaded, empty where it is not in this image.
    colours : sequence
        Red, green and blue of each.
    slice_ : mapping
        What the page driver says of the image.

    Returns
    -------
    dict
        As `compare_overlay`, by the number of the mask from 1. It is the share of
        painted pixels in the right colour where that is less.

    """
    picture = Path(slice_["overlaid"])
    with Image.open(picture) as canvas:
        width, height = canvas.size
    expected = [
        project(mask, slice_["points_canvas"], (height, width)) for mask in masks
    ]
    covered = np.sum(expected, axis=0)
    by_number = dict(enumerate(colours, start=1))
    shown = shown_segments(picture, by_number)
    found = {}
    for number, mask in enumerate(expected, start=1):
        alone = mask & (covered == 1)
        if np.count_nonzero(alone) < _LEAST_PIXELS and mask.any():
            continue
        # What is not in this image must not be painted on it.
        painted = shown[number] & (covered <= 1)
        found[number] = min(
            intersection_over_union(painted, alone),
            share_of_hue(picture, painted & alone, by_number[number]),
        )
    return found


def _masks(
    segmentation: hd.seg.Segmentation, image: pydicom.Dataset
) -> list[npt.NDArray[np.bool_]]:
    numbers = [item.SegmentNumber for item in segmentation.SegmentSequence]
    pixels = segmentation.get_pixels_by_source_instance(
        [image.SOPInstanceUID],
        segment_numbers=numbers,
        assert_missing_frames_are_empty=True,
    )[0]  # (rows, columns, segments)
    return [pixels[..., position] > 0 for position in range(len(numbers))]
