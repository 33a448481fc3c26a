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

from tests.builders.canvas import intersection_over_union, project, shown_segments

__all__ = ["colours_of", "compare_overlay"]

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
    picture = Path(slice_["overlaid"])
    with Image.open(picture) as canvas:
        width, height = canvas.size
    masks = [
        project(mask, slice_["points_canvas"], (height, width))
        for one in segmentations
        for mask in _masks(one, image)
    ]
    covered = np.sum(masks, axis=0)
    shown = shown_segments(picture, colours_of(segmentations))
    return {
        number: intersection_over_union(
            shown[number] & (covered <= 1), mask & (covered == 1)
        )
        for number, mask in enumerate(masks, start=1)
        if np.count_nonzero(mask & (covered == 1)) >= _LEAST_PIXELS
        or not mask.any()  # what is not in this image must not be painted on it
    }


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
