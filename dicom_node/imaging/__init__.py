"""From DICOM instances to series of frames, their geometry and their pixels.

A name's module is loaded when the name is asked for: the decoding process, whose
modules lie here too, starts with what it uses and no more.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
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

_MODULES = {
    "canonical": ("CanonicalGrid",),
    "display": ("Display", "patient_sides", "series_display", "to_display"),
    "pixels": ("PixelReader", "Pixels"),
    "series": ("MAX_LOOP_FRAMES", "MAX_REPEATS", "find_series", "latest_datetime"),
    "windows": ("Window",),
}
_MODULE_OF = {name: module for module, names in _MODULES.items() for name in names}

if not TYPE_CHECKING:  # a checker would take any name for one that is here

    def __getattr__(name: str) -> object:
        """Load the module of a name (PEP 562)."""
        if name not in _MODULE_OF:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        value = getattr(import_module(f"{__name__}.{_MODULE_OF[name]}"), name)
        globals()[name] = value  # found at once from now on
        return value

    def __dir__() -> list[str]:
        """List the names, those of modules that are not loaded yet among them."""
        return sorted({*globals(), *__all__})
