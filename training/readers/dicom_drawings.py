"""Place what a measurement report draws on the frames that it draws on."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt

from training.errors import DatasetError
from training.readers.contours import fill_polygon
from training.readers.dicom_codes import Placement
from training.readers.dicom_folder import DicomStudy
from training.readers.dicom_series import PlacedSeries
from training.readers.dicom_sr import Drawing, Group, MeasurementReport
from training.readers.source import Mask, SourceRegion

__all__ = ["place_drawings"]

_CURVE_POINTS = 72
"""Corners that a circle or an ellipse is drawn with, to find its box."""

_OUTLINES = frozenset({"POLYLINE", "POLYGON"})
_CURVES = frozenset({"CIRCLE", "ELLIPSE"})

Points = npt.NDArray[np.float64]


def place_drawings(
    path: Path, study: DicomStudy, *, report: MeasurementReport, group: Group
) -> Iterator[Placement]:
    """Yield what a group draws, joined on every frame that it draws on.

    Closed outlines give masks and boxes; rectangles, circles and ellipses, which are
    drawn round a finding, give boxes. Points and open lines enclose nothing.

    Parameters
    ----------
    path : pathlib.Path
        Of the document, for messages.
    study : DicomStudy
    report : MeasurementReport
    group : Group

    Raises
    ------
    DatasetError
        Coordinates cannot be those of their shape, or the image is not there.
    """
    outlines: dict[tuple[PlacedSeries, int], list[tuple[str, Points]]] = {}
    for drawing in group.drawings:
        try:
            corners = _corners(drawing)
        except (ValueError, IndexError) as error:
            raise DatasetError(
                f"{path.name}: {drawing.graphic} with {len(drawing.values)} numbers"
            ) from error
        if corners is None:
            continue
        place = _place(study, drawing, corners)
        if place is None:
            raise DatasetError(f"{path.name}: draws on an image that is not there")
        placed, frame, points = place
        outlines.setdefault((placed, frame), []).append((drawing.graphic, points))
    for (placed, frame), found in outlines.items():
        boxes = tuple(_box(placed, points) for _, points in found)
        exact = all(
            graphic in _OUTLINES and not _is_rectangle(points)
            for graphic, points in found
        )
        curves = tuple(points for _, points in found)
        region = SourceRegion(
            label=group.label,
            phrase=group.phrase,
            status=report.status_of(group),
            boxes_xyxy=boxes,
            mask=partial(_outline_mask, placed, curves) if exact else None,
            laterality=group.laterality,
            codes=group.codes,
            tier=group.tier,
        )
        yield Placement(placed, frame, region)


def _corners(drawing: Drawing) -> Points | None:
    """Return the corners of a closed shape, (n, 2 or 3); None: it encloses nothing."""
    size = 3 if drawing.image is None else 2
    points = np.array(drawing.values, np.float64).reshape(-1, size)
    if drawing.graphic in _CURVES:
        return _curve(drawing.graphic, points)
    if drawing.graphic not in _OUTLINES:
        return None  # points and volumes without an edge on the picture
    is_closed = bool(np.allclose(points[0], points[-1]))
    if drawing.graphic == "POLYLINE" and not is_closed:
        return None  # a line that was measured
    corners = points[:-1] if is_closed else points
    return corners if len(corners) >= 3 else None


def _curve(graphic: str, points: Points) -> Points:
    """Turn a circle (centre, border) or an ellipse (ends of its axes) to corners."""
    angles = np.linspace(0, 2 * np.pi, _CURVE_POINTS, endpoint=False)[:, np.newaxis]
    if graphic == "CIRCLE":
        radius = float(np.linalg.norm(points[1] - points[0]))
        around = np.hstack([np.cos(angles), np.sin(angles)])
        return np.asarray(points[0] + radius * around, np.float64)
    centre = (points[0] + points[1]) / 2
    first, second = (points[1] - points[0]) / 2, (points[3] - points[2]) / 2
    around = np.cos(angles) * first + np.sin(angles) * second
    return np.asarray(centre + around, np.float64)


def _place(
    study: DicomStudy, drawing: Drawing, corners: Points
) -> tuple[PlacedSeries, int, Points] | None:
    """Find the frame, and the corners on it as (row, column), centres being whole."""
    if drawing.image is not None:
        for placed in study.series:
            frame = placed.frame_of.get(drawing.image)
            if frame is not None:
                # PS3.3 C.18.6.1.2: column first, and the corner of a pixel is whole.
                return placed, frame, corners[:, ::-1] - 0.5
        return None
    for placed in study.in_frame_of_reference(drawing.frame_of_reference_uid or ""):
        found = placed.index_of(corners)
        frames = set(found[:, 0].astype(int).tolist())
        if len(frames) == 1 and min(frames) >= 0:
            return placed, frames.pop(), found[:, 1:]
    return None


def _is_rectangle(points: Points) -> bool:
    """Tell whether corners are those of a box along the pixels: no outline."""
    low, high = points.min(axis=0), points.max(axis=0)
    at_edge = np.isclose(points, low) | np.isclose(points, high)
    return len(points) == 4 and bool(at_edge.all())


def _box(placed: PlacedSeries, points: Points) -> tuple[float, float, float, float]:
    """Return the box round corners on the frame as it is shown."""
    rows, columns = placed.series.rows, placed.series.columns
    top, left = points.min(axis=0) + 0.5
    bottom, right = points.max(axis=0) + 0.5
    if placed.keeps_frames:
        grid = placed.grid
        # Canonical rows and columns may be the frame's columns and rows.
        edges = {1: (top, bottom, rows), 2: (left, right, columns)}
        turned = []
        for axis in (1, 2):
            low, high, size = edges[grid.axes[axis]]
            turned.append(
                (size - high, size - low) if grid.flipped[axis] else (low, high)
            )
        (top, bottom), (left, right) = turned
    return float(left), float(top), float(right), float(bottom)


def _outline_mask(placed: PlacedSeries, curves: tuple[Points, ...]) -> Mask:
    shape = (placed.series.rows, placed.series.columns)
    mask = np.zeros(shape, np.bool_)
    for points in curves:
        mask |= fill_polygon(points, shape)
    return placed.turn_frame(mask)
