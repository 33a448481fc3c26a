"""Windows of grey values: read from a header, mirrored, scaled, and applied."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any, Literal, Self, TypeAlias, cast

import numpy as np
import numpy.typing as npt
from pydicom import Dataset

from dicom_node.imaging.dataset import values_of

__all__ = ["VoiFunction", "Window", "finite_number", "read_windows"]

VoiFunction: TypeAlias = Literal["LINEAR", "LINEAR_EXACT", "SIGMOID"]
"""VOI LUT Function (0028,1056), PS3.3 C.11.2.1.3."""

_FUNCTIONS = frozenset({"LINEAR", "LINEAR_EXACT", "SIGMOID"})

_LARGEST_EXPONENT = 60.0
"""Beyond it a sigmoid is black or white in any precision, and never overflows."""


@dataclass(frozen=True, slots=True)
class Window:
    """A window, in whatever values it is applied to (PS3.3 C.11.2.1.2)."""

    name: str
    centre: float
    width: float
    function: VoiFunction = "LINEAR"

    @property
    def limits(self) -> tuple[float, float]:
        """The values that are black and white; a sigmoid only comes near to them."""
        centre, width = self.centre, self.width
        if self.function == "LINEAR":  # PS3.3 C.11.2.1.2.1
            centre, width = centre - 0.5, width - 1
        return centre - width / 2, centre + width / 2

    def mirrored(self, total: float) -> Self:
        """Return the window that shows ``total - value`` as the inverse of ``value``.

        Parameters
        ----------
        total : float
            The smallest and the largest value that can be, together.

        """
        # LINEAR is about half a value below its centre (PS3.3 C.11.2.1.2.1).
        shift = 1.0 if self.function == "LINEAR" else 0.0
        return replace(self, centre=total - self.centre + shift)

    def scaled(self, slope: float, intercept: float) -> Self:
        """Return the window for ``(value - intercept) / slope``, not ``value``."""
        low, high = self.limits
        width = (high - low) / slope
        centre = ((low + high) / 2 - intercept) / slope
        if self.function == "LINEAR":
            centre, width = centre + 0.5, width + 1
        return replace(self, centre=centre, width=width)

    def shade(self, values: npt.NDArray[Any]) -> npt.NDArray[np.uint8]:
        """Return values as grey from 0 to 255, PS3.3 C.11.2.1.2 and C.11.2.1.3."""
        low, high = self.limits
        if self.function == "SIGMOID":
            exponent = -4 * (values - self.centre) / self.width
            limit = _LARGEST_EXPONENT
            shown = 1 / (1 + np.exp(np.clip(exponent, -limit, limit)))
        elif high > low:
            shown = (values - low) / (high - low)
        else:  # A width of one is a step (PS3.3 C.11.2.1.2.1).
            shown = np.where(values > low, 1.0, 0.0)
        grey: npt.NDArray[np.uint8] = np.rint(shown.clip(0, 1) * 255).astype(np.uint8)
        return grey


def read_windows(ds: Dataset) -> tuple[Window, ...]:
    """Read the windows of a header, or of an item of its functional groups.

    Only LINEAR needs a width of at least one (PS3.3 C.11.2.1.2.1). A narrower one
    comes from values below one (PET), and can only mean LINEAR_EXACT.
    """
    centres, widths = values_of(ds, "WindowCenter"), values_of(ds, "WindowWidth")
    names = values_of(ds, "WindowCenterWidthExplanation")
    said = str(ds.get("VOILUTFunction") or "").strip()
    found = []
    for index, (first, second) in enumerate(zip(centres, widths, strict=False)):
        centre, width = finite_number(first), finite_number(second)
        if centre is None or width is None or width <= 0:
            continue
        function = cast("VoiFunction", said if said in _FUNCTIONS else "LINEAR")
        if function == "LINEAR" and width < 1:
            function = "LINEAR_EXACT"
        name = str(names[index]).strip() if index < len(names) else ""
        found.append(Window(name or f"Image {index + 1}", centre, width, function))
    return tuple(found)


def finite_number(value: Any) -> float | None:
    """Return a value of a header as a number; None: it is none."""
    try:
        number = float(value)
    except (TypeError, ValueError):
        return None
    return number if math.isfinite(number) else None
