"""How a series is shown on a screen: windows, sides, and 16-bit values for a page."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from pydicom import Dataset

from conformance.rules_common import items_of
from dicom_node.imaging.dataset import quiet_reading, read_dataset
from dicom_node.imaging.geometry import Orientation
from dicom_node.imaging.windows import Window, finite_number, read_windows
from dicom_node.records import FrameReference, ImageSeries

__all__ = [
    "Display",
    "as_decoded",
    "patient_sides",
    "series_display",
    "series_windows",
    "to_display",
]

_TAGS = (
    "WindowCenter",
    "WindowWidth",
    "WindowCenterWidthExplanation",
    "VOILUTFunction",
    "RescaleSlope",
    "RescaleIntercept",
    "ModalityLUTSequence",
    "BitsStored",
    "BitsAllocated",
    "PixelRepresentation",
    "PhotometricInterpretation",
    "SharedFunctionalGroupsSequence",
    "PerFrameFunctionalGroupsSequence",
)

_INT16 = np.iinfo(np.int16)
_STEPS = 65_000
"""Values that a range is divided into where 16 bits do not hold it as it is."""


@dataclass(frozen=True, slots=True)
class Display:
    """How the frames of a series are shown.

    A displayed value times ``slope`` plus ``intercept`` is the modality's: both are
    1 and 0 wherever 16 bits hold the modality's values.
    """

    dtype: Literal["int16", "uint8", "rgb8"]
    slope: float = 1.0
    intercept: float = 0.0
    windows: tuple[Window, ...] = ()


_CT_WINDOWS = (
    Window("Soft tissue", 40, 400),
    Window("Lung", -600, 1500),
    Window("Bone", 450, 1800),
    Window("Brain", 40, 80),
    Window("Liver", 60, 150),
)
"""In HU; what CT is commonly read in."""


def series_display(series: ImageSeries) -> Display:
    """Return how a series is shown.

    Its windows are those that its middle frame names, then the usual ones of CT. A
    header that cannot be read names none.
    """
    if series.is_colour:
        return Display("rgb8")
    count = len(series.frames)
    headers = list(_headers(series, sorted({0, count // 2, count - 1})))
    if len({one.rescale for one in headers}) > 1:
        # PET scales every slice by a factor of its own.
        headers = list(_headers(series, range(count)))
    presets = _CT_WINDOWS if series.modality == "CT" else ()
    if not headers:
        return Display("int16", windows=presets)
    low = min(one.low for one in headers)
    high = max(one.high for one in headers)
    is_whole = all(one.is_whole for one in headers)
    middle = headers[len(headers) // 2]
    if is_whole and low >= 0 and high <= 255:
        return Display("uint8", windows=(*middle.windows, *presets))
    slope, intercept = _scale(low, high, is_whole=is_whole)
    if series.modality == "CT" and is_whole:
        # Sixteen bits are often allocated from -1024 on, and no tissue is beyond
        # 32767 HU.
        slope, intercept = 1.0, 0.0
    return Display(
        "int16",
        slope,
        intercept,
        tuple(one.scaled(slope, intercept) for one in (*middle.windows, *presets)),
    )


def series_windows(series: ImageSeries) -> tuple[Window, ...]:
    """Return the windows that a series is shown with, in values of `PixelReader`.

    Those of its middle frame come first, then the usual ones of CT.
    """
    middle = len(series.frames) // 2
    own = [one for header in _headers(series, [middle]) for one in header.windows]
    return (*own, *(_CT_WINDOWS if series.modality == "CT" else ()))


def as_decoded(window: Window, frame: FrameReference) -> Window:
    """Return a window in modality values as one in values of `PixelReader`."""
    for header in _read([frame]):
        return (
            window.mirrored(header.low + header.high) if header.is_mirrored else window
        )
    return window


def to_display(
    pixels: npt.NDArray[np.generic], display: Display
) -> npt.NDArray[np.generic]:
    """Return modality values, or RGB, as what a page shows.

    Parameters
    ----------
    pixels : numpy.ndarray
        As `PixelReader.read` gives them.
    display : Display
        Of their series.

    Returns
    -------
    numpy.ndarray
        Of the same shape; int16 in little endian, or uint8.

    """
    if display.dtype == "rgb8":
        return pixels.astype(np.uint8, copy=False)
    values: npt.NDArray[np.floating[Any]] = pixels.astype(np.float32, copy=False)
    if (display.slope, display.intercept) != (1.0, 0.0):
        values = (values.astype(np.float64) - display.intercept) / display.slope
    kind = np.dtype("uint8" if display.dtype == "uint8" else "<i2")
    limits = np.iinfo(kind)
    whole: npt.NDArray[np.generic] = (
        np.rint(values).clip(limits.min, limits.max).astype(kind)
    )
    return whole


def patient_sides(orientation: Orientation | None) -> dict[str, str] | None:
    """Name the sides of the patient at the edges of an image, PS3.3 C.7.6.1.1.1.

    Returns
    -------
    dict or None
        L, R, A, P, H or F by ``left``, ``right``, ``top`` and ``bottom``; None:
        nobody knows.

    """
    if orientation is None:
        return None
    left, right = _ends(orientation[:3])
    top, bottom = _ends(orientation[3:])
    return {"left": left, "right": right, "top": top, "bottom": bottom}


def _ends(direction: tuple[float, ...]) -> tuple[str, str]:
    axis = int(np.abs(direction).argmax())
    towards, away = (("L", "R"), ("P", "A"), ("H", "F"))[axis]
    return (away, towards) if direction[axis] > 0 else (towards, away)


@dataclass(frozen=True, slots=True)
class _Header:
    """What one frame says: the range of its modality values, and its windows.

    The windows are in values of `PixelReader`.
    """

    low: float
    high: float
    is_whole: bool
    rescale: tuple[float, float]
    is_mirrored: bool
    """Whether `PixelReader` mirrors the values, so that larger is brighter."""
    windows: tuple[Window, ...]


def _headers(series: ImageSeries, indices: Sequence[int]) -> Iterator[_Header]:
    yield from _read([series.frames[index] for index in indices])


def _read(frames: Sequence[FrameReference]) -> Iterator[_Header]:
    for frame in frames:
        try:
            with quiet_reading():
                ds = read_dataset(frame.path, specific_tags=_TAGS)
                found = _parse(ds, frame)
        except Exception:  # noqa: BLE001, S112 - hostile bytes raise nearly anything
            continue
        yield found


def _parse(ds: Dataset, frame: FrameReference) -> _Header:
    groups = list(_groups(ds, frame.frame_number))
    slope, intercept = 1.0, 0.0
    for group in groups:
        if rescale := finite_number(group.get("RescaleSlope")):
            slope = rescale
            intercept = finite_number(group.get("RescaleIntercept")) or 0.0
            break
    low, high = _range(ds, slope, intercept)
    windows = next((found for one in groups if (found := read_windows(one))), ())
    is_mirrored = str(ds.get("PhotometricInterpretation")) == "MONOCHROME1"
    if is_mirrored:
        windows = tuple(one.mirrored(low + high) for one in windows)
    return _Header(
        low=low,
        high=high,
        is_whole=slope == int(slope) and intercept == int(intercept),
        rescale=(slope, intercept),
        is_mirrored=is_mirrored,
        windows=windows,
    )


def _groups(ds: Dataset, number: int) -> Iterator[Dataset]:
    """Yield what may say it of a frame, the most particular first."""
    per_frame = items_of(ds, "PerFrameFunctionalGroupsSequence")
    shared = items_of(ds, "SharedFunctionalGroupsSequence")
    for group in (*per_frame[number - 1 : number], *shared[:1]):
        for macro in ("PixelValueTransformationSequence", "FrameVOILUTSequence"):
            yield from items_of(group, macro)
    yield ds


def _range(ds: Dataset, slope: float, intercept: float) -> tuple[float, float]:
    if tables := items_of(ds, "ModalityLUTSequence"):
        values = np.asarray(tables[0].LUTData, np.float64)
        return float(values.min()), float(values.max())
    bits = int(ds.BitsStored)
    low, high = 0.0, 2.0**bits - 1
    if ds.get("PixelRepresentation"):
        low, high = -(2.0 ** (bits - 1)), 2.0 ** (bits - 1) - 1
    ends = (low * slope + intercept, high * slope + intercept)
    return min(ends), max(ends)


def _scale(low: float, high: float, *, is_whole: bool) -> tuple[float, float]:
    if is_whole and low >= _INT16.min and high <= _INT16.max:
        return 1.0, 0.0
    if is_whole and high - low <= _INT16.max - _INT16.min:
        return 1.0, low - _INT16.min
    return (high - low) / _STEPS or 1.0, (high + low) / 2
