"""What a viewer's canvas shows of a mask, and what it should show."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

__all__ = [
    "corner_points_lps",
    "intersection_over_union",
    "project",
    "share_of_hue",
    "shown_segments",
]

_LEAST_COSINE = 0.94
"""Between the directions from grey of the painted and the expected colour: 20 degrees.
Colours of neighbouring phrases are 137 degrees of hue apart."""

Pixels = npt.NDArray[np.bool_]

_LEAST_CHROMA = 18.0
"""Colour (distance from grey, 0 to 255) below which a pixel counts as not painted;
the images under test are grey."""


def corner_points_lps(
    position: Sequence[float],
    orientation: Sequence[float],
    spacing_mm: Sequence[float],
    *,
    steps: int = 100,
) -> list[list[float]]:
    """Return where pixels (0, 0), (0, steps) and (steps, 0) of an image lie.

    Parameters
    ----------
    position : sequence of float
        Image Position (Patient), mm.
    orientation : sequence of float
        Image Orientation (Patient): direction of the columns' index, then the rows'.
    spacing_mm : sequence of float
        Pixel Spacing: between rows, between columns.
    steps : int
        How many pixels away the second and the third point are.

    """
    origin = np.asarray(position, float)
    along_row = np.asarray(orientation[:3], float) * spacing_mm[1] * steps
    along_column = np.asarray(orientation[3:], float) * spacing_mm[0] * steps
    points = (origin, origin + along_row, origin + along_column)
    return [[float(value) for value in point] for point in points]


def project(
    mask: Pixels,
    points_canvas: Sequence[Sequence[float]],
    shape: tuple[int, int],
    *,
    steps: int = 100,
) -> Pixels:
    """Draw an image's mask as the canvas should show it.

    Parameters
    ----------
    mask : ndarray of bool, shape (rows, columns)
        In the image's own grid.
    points_canvas : sequence
        Where the canvas shows the points of `corner_points_lps`, ``(x, y)``.
    shape : tuple of int
        Height and width of the canvas.
    steps : int
        As for `corner_points_lps`.

    Returns
    -------
    ndarray of bool, shape ``shape``

    """
    origin, right, down = (np.asarray(point, float) for point in points_canvas)
    canvas_of_index = np.column_stack(
        [(right - origin) / steps, (down - origin) / steps]
    )
    index_of_canvas = np.linalg.inv(canvas_of_index)
    y, x = np.mgrid[: shape[0], : shape[1]] + 0.5
    offsets = np.stack([x - origin[0], y - origin[1]])  # (2, height, width)
    column, row = np.rint(np.tensordot(index_of_canvas, offsets, axes=1)).astype(int)
    inside = (
        (row >= 0) & (row < mask.shape[0]) & (column >= 0) & (column < mask.shape[1])
    )
    shown = np.zeros(shape, bool)
    shown[inside] = mask[row[inside], column[inside]]
    return shown


def shown_segments(
    picture: Path, colours: Mapping[int, Sequence[int]]
) -> dict[int, Pixels]:
    """Say which pixels of a picture are painted in which segment's colour.

    A translucent colour over grey keeps the direction of its distance from grey, so
    each painted pixel belongs to the segment whose colour points the same way.

    Parameters
    ----------
    picture : pathlib.Path
        The canvas as PNG.
    colours : mapping
        Segment number to red, green and blue, 0 to 255.

    """
    with Image.open(picture) as canvas:
        pixels = np.asarray(canvas.convert("RGB"), float)
    chroma = pixels - pixels.mean(axis=2, keepdims=True)
    amount = np.linalg.norm(chroma, axis=2)
    numbers = list(colours)
    wanted = np.array([colours[number] for number in numbers], float)
    wanted -= wanted.mean(axis=1, keepdims=True)
    wanted /= np.linalg.norm(wanted, axis=1, keepdims=True)
    nearest = np.argmax(chroma @ wanted.T, axis=2)
    painted = amount > _LEAST_CHROMA
    return {
        number: painted & (nearest == position)
        for position, number in enumerate(numbers)
    }


def share_of_hue(picture: Path, where: Pixels, colour: Sequence[int]) -> float:
    """Return how many of some pixels have the hue of a colour; 1 of none.

    Parameters
    ----------
    picture : pathlib.Path
        The canvas as PNG.
    where : ndarray of bool, shape (height, width)
        The pixels to look at.
    colour : sequence of int
        Red, green and blue, 0 to 255.

    """
    if not where.any():
        return 1.0
    with Image.open(picture) as canvas:
        pixels = np.asarray(canvas.convert("RGB"), float)[where]
    chroma = pixels - pixels.mean(axis=1, keepdims=True)
    wanted = np.asarray(colour, float) - np.mean(colour)
    lengths = np.linalg.norm(chroma, axis=1) * np.linalg.norm(wanted)
    cosines = chroma @ wanted / np.maximum(lengths, 1e-9)
    return float((cosines >= _LEAST_COSINE).mean())


def intersection_over_union(one: Pixels, other: Pixels) -> float:
    """Return the Jaccard index of two masks; 1 when both are empty."""
    union = np.count_nonzero(one | other)
    return 1.0 if union == 0 else np.count_nonzero(one & other) / union
