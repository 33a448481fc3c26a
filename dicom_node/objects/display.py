"""How the source wants its frames shown: the transformations of PS3.4 N.2.

A presentation state replaces what the image says, so what it does not repeat is lost:
values without a rescale would be shown raw, and those without a window black.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from pydicom import Dataset
from pydicom.datadict import tag_for_keyword
from pydicom.dataelem import DataElement

from conformance.rules_common import items_of
from dicom_node.imaging.windows import Window, read_windows
from dicom_node.objects.common import long_string
from dicom_node.objects.sources import UNREADABLE, decimal_string, number_of

if TYPE_CHECKING:
    from dicom_node.records import FrameReference, ImageSeries

__all__ = ["FrameDisplay", "frame_display", "window_between"]

_SOFT_TISSUE = ("40", "400")
"""Center and width in HU for a CT that names no window."""


@dataclass(frozen=True, eq=False)
class FrameDisplay:
    """The grayscale transformations of one frame."""

    modality: Dataset
    """Rescale, or a Modality LUT; empty: stored values are what they are."""
    voi: Dataset | None
    """Window, or a VOI LUT; None: the source names none."""
    is_inverted: bool
    """Whether the smallest value is white (MONOCHROME1)."""
    ends: tuple[float, float] | None
    """The least and the largest rescaled value that the stored bits can express;
    None behind a Modality LUT. `PixelReader` mirrors MONOCHROME1 between them."""

    @cached_property
    def key(self) -> str:
        """The same for frames that one presentation state may hold together."""
        return f"{self.is_inverted} {self.modality.to_json()}"

    @property
    def limits(self) -> tuple[float, float] | None:
        """Values of `PixelReader` that are black and white; None: no plain window."""
        if self.voi is None or "WindowCenter" not in self.voi:
            return None
        return self._mirrored(*read_windows(self.voi)[0].limits)

    def window(self, limits: tuple[float, float]) -> Dataset | None:
        """Return a window from values of `PixelReader`; None behind a Modality LUT."""
        if self.ends is None:
            return None
        mirrored = self._mirrored(*limits)
        return None if mirrored is None else window_between(*mirrored)

    def _mirrored(self, low: float, high: float) -> tuple[float, float] | None:
        if not self.is_inverted:
            return low, high
        if self.ends is None:
            return None
        total = self.ends[0] + self.ends[1]
        return total - high, total - low


def frame_display(
    header: Dataset, frame: FrameReference, series: ImageSeries
) -> FrameDisplay:
    """Read the transformations of a frame from its header (without pixels)."""
    groups = list(_groups(header, frame.frame_number))
    modality = _modality(header, groups, series)
    voi = _voi(header, groups)
    if voi is None and series.modality == "CT":
        voi = Dataset()
        voi.WindowCenter, voi.WindowWidth = _SOFT_TISSUE
    return FrameDisplay(
        modality=modality,
        voi=voi,
        is_inverted=_is_inverted(header),
        ends=_ends(header, modality),
    )


def window_between(low: float, high: float) -> Dataset:
    """Return the window that shows `low` black and `high` white."""
    item = Dataset()
    width = high - low
    if width >= 2:
        item.WindowCenter = decimal_string(low + width / 2 + 0.5)
        item.WindowWidth = decimal_string(width + 1)
    else:  # LINEAR takes one off the width (C.11.2.1.2.1): small numbers vanish
        item.WindowCenter = decimal_string(low + width / 2)
        item.WindowWidth = decimal_string(max(width, 1e-6))
        item.VOILUTFunction = "LINEAR_EXACT"
    return item


def _is_inverted(header: Dataset) -> bool:
    photometric = str(header.get("PhotometricInterpretation") or "").strip()
    return photometric == "MONOCHROME1"


def _groups(header: Dataset, frame_number: int) -> Iterator[Dataset]:
    """Yield a frame's own functional groups, then the shared ones (C.7.6.16.1)."""
    per_frame = items_of(header, "PerFrameFunctionalGroupsSequence")
    yield from per_frame[frame_number - 1 : frame_number]
    yield from items_of(header, "SharedFunctionalGroupsSequence")[:1]


def _modality(header: Dataset, groups: list[Dataset], series: ImageSeries) -> Dataset:
    found = Dataset()
    places = [
        item
        for group in groups
        for item in items_of(group, "PixelValueTransformationSequence")
    ]
    for place in (*places, header):
        slope = number_of(place, "RescaleSlope")
        intercept = number_of(place, "RescaleIntercept")
        if slope is None or intercept is None or slope == 0:
            continue
        found.RescaleIntercept = decimal_string(intercept)
        found.RescaleSlope = decimal_string(slope)
        default = "HU" if series.modality == "CT" else "US"  # US: unspecified
        found.RescaleType = long_string(str(place.get("RescaleType") or "")) or default
        return found
    if tables := _tables(header, "ModalityLUTSequence"):
        table = tables[0]
        source = items_of(header, "ModalityLUTSequence")[0]
        kind = long_string(str(source.get("ModalityLUTType") or ""))
        table.ModalityLUTType = kind or "US"
        found.ModalityLUTSequence = [table]
    return found


def _voi(header: Dataset, groups: list[Dataset]) -> Dataset | None:
    places = [
        item for group in groups for item in items_of(group, "FrameVOILUTSequence")
    ]
    for place in (*places, header):
        for window in _windows(place):
            found = Dataset()
            found.WindowCenter = decimal_string(window.centre)
            found.WindowWidth = decimal_string(window.width)
            if window.function != "LINEAR":
                found.VOILUTFunction = window.function
            return found
    if tables := _tables(header, "VOILUTSequence"):
        found = Dataset()
        found.VOILUTSequence = tables[:1]
        return found
    return None


def _tables(header: Dataset, keyword: str) -> list[Dataset]:
    """Copy lookup tables with the VRs that need no other element to be decided."""
    copies = []
    is_signed = header.get("PixelRepresentation") == 1
    for item in items_of(header, keyword):
        try:
            count, first, bits = (int(one) for one in item.LUTDescriptor)
            count %= 1 << 16  # 65536 entries are written as 0
            data = item["LUTData"].value
            if not isinstance(data, bytes):
                data = b"".join(int(one).to_bytes(2, "little") for one in data)
        except UNREADABLE:
            continue
        if len(data) not in {2 * (count or 1 << 16), count + count % 2} or bits > 16:
            continue
        copy = Dataset()
        vr = "SS" if is_signed or first < 0 else "US"
        if (vr == "SS" and not -(1 << 15) <= first < 1 << 15) or (
            vr == "SS" and count >= 1 << 15
        ):
            continue
        _add(copy, "LUTDescriptor", vr, [count, first, bits])
        _add(copy, "LUTData", "OW", data)
        copies.append(copy)
    return copies


def _add(ds: Dataset, keyword: str, vr: str, value: object) -> None:
    ds.add(DataElement(tag_for_keyword(keyword) or 0, vr, value))


def _ends(header: Dataset, modality: Dataset) -> tuple[float, float] | None:
    if "ModalityLUTSequence" in modality:
        return None
    bits = number_of(header, "BitsStored") or number_of(header, "BitsAllocated")
    if bits is None or not 1 <= bits <= 32:
        return None
    low, high = 0.0, float(2 ** int(bits) - 1)
    if header.get("PixelRepresentation") == 1:
        low, high = -float(2 ** (int(bits) - 1)), float(2 ** (int(bits) - 1) - 1)
    slope = float(modality.get("RescaleSlope", 1))
    intercept = float(modality.get("RescaleIntercept", 0))
    return low * slope + intercept, high * slope + intercept


def _windows(ds: Dataset) -> tuple[Window, ...]:
    try:
        return read_windows(ds)
    except UNREADABLE:
        return ()
