"""Load the frames of a DICOM series in canonical axes, and find places in them."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from dicom_node.errors import NodeError
from dicom_node.imaging import CanonicalGrid
from dicom_node.imaging.dataset import quiet_reading, read_dataset
from dicom_node.imaging.decode import check_pixels, decode_frames
from dicom_node.imaging.geometry import slice_normal
from dicom_node.records import ImageSeries
from training.errors import DatasetError
from training.readers.source import Mask, Picture

__all__ = ["PlacedSeries", "hashed_uid", "load_frame", "load_volume"]

_MAX_PIXELS_BYTES = 1 << 33
"""Largest decoded instance; a long enhanced CT takes 1 GiB."""

_SAME_DIRECTION = 1e-3
"""How far direction cosines of the same plane may differ."""

_SAME_SPACING = 1e-2
"""Fraction by which pixel spacings of the same grid may differ."""

_OFF_PLANE_MM = 0.1
"""How far a picture may lie from a frame without a slice distance and be on it."""

_OFF_PLANE_SHARE = 0.25
"""The same for a volume, in slice distances."""

_OFF_GRID = 0.05
"""How far corners of two grids may lie from whole pixels, in pixels."""


@dataclass(frozen=True, eq=False)
class PlacedSeries:
    """A series of frames, and how it turns to canonical axes."""

    series: ImageSeries

    @cached_property
    def grid(self) -> CanonicalGrid:
        """The nearest of the 48 orientations; frames without a place stay."""
        return CanonicalGrid.of(self.series)

    @property
    def is_volume(self) -> bool:
        """Whether the frames are slices of one grey volume."""
        return self.series.is_volume and not self.series.is_colour

    @property
    def spacing_mm(self) -> tuple[float, float, float] | None:
        """Along the canonical axes; the first is 0 for single pictures."""
        spacing = self.grid.spacing_mm
        if spacing is None or self.is_volume:
            return spacing
        return 0.0, spacing[1], spacing[2]

    @cached_property
    def frame_of(self) -> dict[tuple[str, int], int]:
        """SOP Instance UID and Frame Number to the frame's index."""
        return {
            (frame.sop_instance_uid, frame.frame_number): index
            for index, frame in enumerate(self.series.frames)
        }

    @property
    def keeps_frames(self) -> bool:
        """Whether canonical slices are the frames, perhaps turned in their plane."""
        return self.grid.axes[0] == 0

    def turn_volume(self, mask: Mask) -> Mask:
        """Turn a mask (frames, rows, columns) to canonical axes."""
        return np.ascontiguousarray(self.grid.apply(mask))

    def turn_frame(self, frame: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """Turn one frame, (rows, columns) or with colours, as it is shown.

        A frame that is no canonical slice (sagittal, coronal) is shown as stored.
        """
        if not self.keeps_frames:
            return frame
        return np.ascontiguousarray(self.grid.apply(frame[np.newaxis])[0])

    def locate(
        self,
        position_lps: Sequence[float],
        orientation_lps: Sequence[float],
        spacing_mm: Sequence[float],
    ) -> tuple[int, int, int] | None:
        """Find the frame of a picture in the patient, and its first pixel on it.

        Parameters
        ----------
        position_lps : sequence of float
            Image Position (Patient) of the picture, mm.
        orientation_lps : sequence of float
            Image Orientation (Patient).
        spacing_mm : sequence of float
            Pixel Spacing.

        Returns
        -------
        tuple of int, optional
            Frame, row and column; None: it lies on no frame, or on another grid.
        """
        series = self.series
        if series.orientation_lps is None or series.pixel_spacing_mm is None:
            return None
        mine, theirs = np.array(series.orientation_lps), np.array(orientation_lps)
        ratio = np.array(spacing_mm) / np.array(series.pixel_spacing_mm)
        if (
            np.abs(mine - theirs).max() > _SAME_DIRECTION
            or np.abs(ratio - 1).max() > _SAME_SPACING
        ):
            return None
        frame, row, column = self.index_of(np.array([position_lps]))[0].tolist()
        places = np.rint([row, column])
        if frame < 0 or np.abs(places - [row, column]).max() > _OFF_GRID:
            return None
        return int(frame), int(places[0]), int(places[1])

    def index_of(self, points_lps: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """Find frame, row and column of points in the patient.

        Parameters
        ----------
        points_lps : numpy.ndarray
            (n, 3) in mm.

        Returns
        -------
        numpy.ndarray
            (n, 3): the nearest frame, -1 where none is near; row and column, of
            which whole numbers are centres of pixels.
        """
        series = self.series
        positions = [frame.position_lps for frame in series.frames]
        found = np.full((len(points_lps), 3), -1.0)
        orientation, spacing = series.orientation_lps, series.pixel_spacing_mm
        if orientation is None or spacing is None or None in positions:
            return found
        origins = np.array(positions, np.float64)  # (frames, 3)
        normal = slice_normal(orientation)
        off = points_lps @ normal - (origins @ normal)[:, np.newaxis]  # (frames, n)
        nearest = np.abs(off).argmin(axis=0)
        distance = np.abs(off).min(axis=0)
        local = points_lps - origins[nearest]
        found[:, 0] = np.where(distance <= self._off_plane_mm, nearest, -1)
        found[:, 1] = local @ np.array(orientation[3:]) / spacing[0]
        found[:, 2] = local @ np.array(orientation[:3]) / spacing[1]
        return found

    @property
    def _off_plane_mm(self) -> float:
        affine = self.series.affine_lps
        if affine is None:
            return _OFF_PLANE_MM
        return _OFF_PLANE_SHARE * float(np.linalg.norm(affine[:3, 0]))


def hashed_uid(dataset: str, uid: str) -> str:
    """Return a name for what a UID names that does not lead back to a patient."""
    return hashlib.sha256(f"{dataset}\x1f{uid}".encode()).hexdigest()[:32]


def load_volume(placed: PlacedSeries) -> Picture:
    """Decode every frame of a volume into canonical axes.

    Raises
    ------
    DatasetError
        An instance cannot be decoded.
    """
    series = placed.series
    shape = (len(series.frames), series.rows, series.columns)
    voxels = np.empty(shape, np.float32)
    for index, frame in _decoded(series, range(len(series.frames))):
        voxels[index] = frame
    turned = np.ascontiguousarray(placed.grid.apply(voxels))
    return Picture(turned, placed.spacing_mm, is_volume=True)


def load_frame(placed: PlacedSeries, index: int) -> Picture:
    """Decode one frame as a picture, turned in its plane.

    Raises
    ------
    DatasetError
        The instance cannot be decoded.
    """
    ((_, frame),) = _decoded(placed.series, (index,))
    spacing = placed.spacing_mm
    if not placed.keeps_frames and placed.series.pixel_spacing_mm is not None:
        spacing = (0.0, *placed.series.pixel_spacing_mm)
    if spacing is not None:
        spacing = (0.0, spacing[1], spacing[2])
    return Picture(placed.turn_frame(frame), spacing, is_volume=False)


def _decoded(
    series: ImageSeries, indices: Sequence[int]
) -> Iterator[tuple[int, npt.NDArray[Any]]]:
    """Yield the wanted frames, instance by instance, each read once."""
    by_path: dict[Path, list[int]] = {}
    for index in indices:
        by_path.setdefault(series.frames[index].path, []).append(index)
    for path, members in by_path.items():
        numbers = [series.frames[index].frame_number for index in members]
        try:
            with quiet_reading():
                ds = read_dataset(path)
                check_pixels(ds, max_pixels_bytes=_MAX_PIXELS_BYTES)
                frames = list(zip(members, decode_frames(ds, numbers), strict=True))
        except Exception as error:  # broken files raise nearly anything in pydicom
            reason = str(error) if isinstance(error, NodeError) else ""
            raise DatasetError(
                f"{path.name}: cannot be decoded ({reason or type(error).__name__})"
            ) from error
        yield from frames
