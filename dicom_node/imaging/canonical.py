"""Bring volumes into one orientation by permuting and flipping axes, and back.

The canonical order is what the model is trained on: slices run towards the head,
rows from anterior to posterior, columns from the patient's right to the left, the
directions of +z, +y and +x in LPS. Nothing is resampled: an oblique volume gets the
nearest of the 48 orientations.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import permutations
from typing import Self, TypeVar

import numpy as np
import numpy.typing as npt

from dicom_node.imaging.geometry import slice_normal, voxel_spacing_mm
from dicom_node.records import BoundingBox, ImageSeries

__all__ = ["CanonicalGrid"]

_T = TypeVar("_T", bound=np.generic)


@dataclass(frozen=True, slots=True)
class CanonicalGrid:
    """How a series' grid ``(frame, row, column)`` lies in the canonical one.

    Parameters
    ----------
    source_shape : tuple of int
        Frames, rows and columns of the series.
    axes : tuple of int
        The source axis that each canonical axis (slice, row, column) is.
    flipped : tuple of bool
        Whether a canonical axis runs against its source axis.
    spacing_mm : tuple of float, optional
        Along the canonical axes; None where the series has none.

    """

    source_shape: tuple[int, int, int]
    axes: tuple[int, int, int]
    flipped: tuple[bool, bool, bool]
    spacing_mm: tuple[float, float, float] | None

    @classmethod
    def of(cls, series: ImageSeries) -> Self:
        """Find the orientation nearest to the canonical one.

        Slices without an affine keep their frames and turn within their plane when
        that plane is nearest to axial; images without an orientation stay as they
        are.
        """
        shape = (len(series.frames), series.rows, series.columns)
        if series.affine_lps is not None:
            directions = series.affine_lps[:3, :3]
            axes = _nearest_axes(directions)
            spacing = voxel_spacing_mm(series.affine_lps)
        else:
            axes = (0, 1, 2)
            directions = np.eye(3)[::-1].copy()  # +z, +y, +x
            if series.orientation_lps is not None:
                cosines = np.asarray(series.orientation_lps, np.float64)
                plane = np.column_stack(
                    [slice_normal(series.orientation_lps), cosines[3:], cosines[:3]]
                )
                nearest = _nearest_axes(plane)
                if nearest[0] == 0:
                    directions, axes = plane, nearest
                    directions[2, 0] = abs(directions[2, 0])
            rows_mm, columns_mm = series.pixel_spacing_mm or (1.0, 1.0)
            spacing = (1.0, rows_mm, columns_mm)
        # Canonical axis i is the direction of LPS component 2 - i.
        flipped = tuple(bool(directions[2 - i, axes[i]] < 0) for i in range(3))
        known = series.affine_lps is not None or series.pixel_spacing_mm is not None
        turned = tuple(spacing[axis] for axis in axes)
        return cls(
            source_shape=shape,
            axes=axes,
            flipped=(flipped[0], flipped[1], flipped[2]),
            spacing_mm=(turned[0], turned[1], turned[2]) if known else None,
        )

    @property
    def shape(self) -> tuple[int, int, int]:
        """Slices, rows and columns of the canonical grid."""
        slices, rows, columns = (self.source_shape[axis] for axis in self.axes)
        return slices, rows, columns

    def apply(self, voxels: npt.NDArray[_T]) -> npt.NDArray[_T]:
        """Turn an array of the series into the canonical order, as a view.

        Parameters
        ----------
        voxels : numpy.ndarray
            Shape ``source_shape``, with or without a last axis for colour.

        """
        colour = (3,) if voxels.ndim == 4 else ()
        turned = voxels.transpose(*self.axes, *colour)
        return turned[tuple(_step(flip) for flip in self.flipped)]

    def restore_mask(
        self, mask: npt.NDArray[_T], origin: Sequence[int]
    ) -> tuple[npt.NDArray[_T], tuple[int, int, int]]:
        """Turn what lies in a box, and the box's origin, back into the series' grid.

        Parameters
        ----------
        mask : numpy.ndarray
            Canonical ``(slices, rows, columns)``.
        origin : sequence of int
            Canonical indices of the mask's first voxel.

        """
        size = [0, 0, 0]
        start = [0, 0, 0]
        for i, axis in enumerate(self.axes):
            size[axis] = mask.shape[i]
            start[axis] = (
                self.shape[i] - origin[i] - mask.shape[i]
                if self.flipped[i]
                else origin[i]
            )
        unflipped = mask[tuple(_step(flip) for flip in self.flipped)]
        restored = unflipped.transpose(np.argsort(self.axes))
        return np.ascontiguousarray(restored), (start[0], start[1], start[2])

    def restore_boxes(self, boxes: Sequence[BoundingBox]) -> tuple[BoundingBox, ...]:
        """Turn boxes on canonical slices into boxes on the series' frames.

        Where frames are canonical slices a box stays a box. Elsewhere (a sagittal or
        coronal series) boxes that touch across slices are one body, and each frame
        that cuts it gets the smallest box around the cut.

        Parameters
        ----------
        boxes : sequence of BoundingBox
            ``frame_index`` counts canonical slices, ``xyxy`` is in canonical pixels.

        """
        bodies = [[box] for box in boxes] if self.axes[0] == 0 else _bodies(boxes)
        restored = [box for body in bodies for box in self._cut(body)]
        return tuple(sorted(restored, key=lambda box: (box.frame_index, box.xyxy)))

    def _cut(self, body: Sequence[BoundingBox]) -> list[BoundingBox]:
        """Cut a body of boxes, each one slice thick, along the series' frames."""
        slabs = np.array([self._to_source(box) for box in body])  # (boxes, 2, 3)
        scores = np.array([box.score for box in body])
        first = int(np.floor(slabs[:, 0, 0].min()))
        last = int(np.ceil(slabs[:, 1, 0].max()))
        found = []
        for frame in range(max(first, 0), min(last, self.source_shape[0])):
            cut = (slabs[:, 0, 0] < frame + 1) & (slabs[:, 1, 0] > frame)
            if not cut.any():
                continue
            low = slabs[cut, 0].min(axis=0)
            high = slabs[cut, 1].max(axis=0)
            xyxy = (float(low[2]), float(low[1]), float(high[2]), float(high[1]))
            found.append(BoundingBox(frame, xyxy, float(scores[cut].max())))
        return found

    def _to_source(self, box: BoundingBox) -> npt.NDArray[np.float64]:
        """Return the low and high corner of a one slice thick box, shape (2, 3)."""
        x0, y0, x1, y1 = box.xyxy
        low = (box.frame_index, y0, x0)
        high = (box.frame_index + 1, y1, x1)
        corners = np.zeros((2, 3))
        for i, axis in enumerate(self.axes):
            size = self.shape[i]
            flip = self.flipped[i]
            corners[0, axis] = size - high[i] if flip else low[i]
            corners[1, axis] = size - low[i] if flip else high[i]
        return corners


def _nearest_axes(directions: npt.NDArray[np.float64]) -> tuple[int, int, int]:
    """Return the source axis nearest to each of +z, +y, +x, all different."""
    lengths = np.linalg.norm(directions, axis=0)
    cosines = np.abs(directions / lengths)
    # Ties (exactly 45 degrees) go to the order of the source, so that equal input
    # gives equal output.
    best = max(
        permutations(range(3)),
        key=lambda axes: round(sum(cosines[2 - i, axes[i]] for i in range(3)), 9),
    )
    return best[0], best[1], best[2]


def _bodies(boxes: Sequence[BoundingBox]) -> list[list[BoundingBox]]:
    """Group boxes that overlap on the same slice or the next."""
    label = list(range(len(boxes)))

    def find(index: int) -> int:
        while label[index] != index:
            index = label[index]
        return index

    order = sorted(range(len(boxes)), key=lambda index: boxes[index].frame_index)
    for position, index in enumerate(order):
        for other in order[position + 1 :]:
            if boxes[other].frame_index > boxes[index].frame_index + 1:
                break
            if _overlap(boxes[index], boxes[other]):
                label[find(other)] = find(index)
    bodies: dict[int, list[BoundingBox]] = {}
    for index, box in enumerate(boxes):
        bodies.setdefault(find(index), []).append(box)
    return list(bodies.values())


def _overlap(one: BoundingBox, other: BoundingBox) -> bool:
    (ax0, ay0, ax1, ay1), (bx0, by0, bx1, by1) = one.xyxy, other.xyxy
    return ax0 < bx1 and bx0 < ax1 and ay0 < by1 and by0 < ay1


def _step(flip: bool) -> slice:
    return slice(None, None, -1 if flip else 1)
