"""From DICOM instances to series of frames, their geometry and their pixels."""

from dicom_node.imaging.canonical import CanonicalGrid
from dicom_node.imaging.display import (
    Display,
    patient_sides,
    series_display,
    to_display,
)
from dicom_node.imaging.pixels import PixelReader, Pixels
from dicom_node.imaging.series import (
    MAX_LOOP_FRAMES,
    MAX_REPEATS,
    find_series,
    latest_datetime,
)
from dicom_node.imaging.windows import Window

__all__ = [
    "MAX_LOOP_FRAMES",
    "MAX_REPEATS",
    "CanonicalGrid",
    "Display",
    "PixelReader",
    "Pixels",
    "Window",
    "find_series",
    "latest_datetime",
    "patient_sides",
    "series_display",
    "to_display",
]
