"""The frames of a series, in their one order."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

__all__ = ["FrameReference", "ImageSeries"]


@dataclass(frozen=True, slots=True)
class FrameReference:
    """One frame of a series, in the series' order.

    ``position_lps`` is Image Position (Patient) in millimetres, or None.
    """

    sop_instance_uid: str
    sop_class_uid: str
    frame_number: int
    """Frame Number (0008,1160), from 1; 1 for single-frame instances."""
    path: Path
    position_lps: tuple[float, float, float] | None = None
    number_of_frames: int = 1
    """Frames of the instance, of which the series may hold fewer."""

    @property
    def referenced_frame_number(self) -> int | None:
        """Referenced Frame Number (0008,1160): None for an instance of one frame.

        A reference to a multi-frame instance without it means every frame (PS3.3
        10.3).
        """
        return self.frame_number if self.number_of_frames > 1 else None


@dataclass(frozen=True, eq=False)
class ImageSeries:
    """The frames of one series that share rows, columns, spacing and orientation.

    A volume has its frames sorted along the normal (the cross product of the
    direction of a row and that of a column, so the frames of an axial series in
    standard orientation run from feet to head) with even spacing, and its
    ``affine_lps`` maps ``(frame, row, column)`` indices to the centre of the voxel
    in LPS millimetres (PS3.3 C.7.6.2.1.1); a single slice is a volume whose
    spacing along the normal is its thickness. Slices of one orientation that do
    not form such a grid (tilted gantry, uneven spacing) are sorted along the normal
    and have no affine. Images without a place in the patient keep instance order.
    One DICOM series may yield several of these (phases, echoes, two stacks), told
    apart by ``stack_number``.
    """

    study_instance_uid: str
    series_instance_uid: str
    modality: str
    body_part: str | None
    frames: tuple[FrameReference, ...]
    rows: int
    columns: int
    is_colour: bool
    pixel_spacing_mm: tuple[float, float] | None
    """Between rows, between columns; None: unknown."""
    affine_lps: npt.NDArray[np.float64] | None
    frame_of_reference_uid: str | None
    series_description: str = ""
    orientation_lps: tuple[float, float, float, float, float, float] | None = None
    """Image Orientation (Patient): direction of a row, then of a column."""
    stack_number: int = 1
    """Counts, from 1, the groups that the DICOM series falls into."""
    pixel_aspect_ratio: tuple[int, int] | None = None
    """Pixel Aspect Ratio (0028,0034): vertical to horizontal size; None: not said."""

    @property
    def is_volume(self) -> bool:
        """Whether the frames form an evenly spaced stack in patient space."""
        return self.affine_lps is not None

    @property
    def pixel_aspect(self) -> float:
        """The height of a pixel by its width; square where nobody says."""
        height, width = self.pixel_spacing_mm or self.pixel_aspect_ratio or (1, 1)
        return height / width
