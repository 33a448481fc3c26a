"""Presentation states: outlines and phrases as vectors over the source images.

A grayscale one for each group of frames that share their grayscale transformations
(PS3.3 A.33.1), a colour one for colour images (A.33.2).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
from highdicom.pr import (
    AnnotationUnitsValues,
    GraphicLayer,
    GraphicObject,
    GraphicTypeValues,
    TextObject,
)
from PIL import ImageCms
from pydicom import Dataset
from pydicom.uid import (
    ColorSoftcopyPresentationStateStorage,
    GrayscaleSoftcopyPresentationStateStorage,
)

from dicom_node.objects.common import clean_text, display_colour, long_string
from dicom_node.objects.outlines import closed_outlines
from dicom_node.objects.references import image_item
from dicom_node.objects.sources import decimal_string
from dicom_node.objects.whole import begin, complete

if TYPE_CHECKING:
    from dicom_node.objects.common import Making
    from dicom_node.objects.display import FrameDisplay
    from dicom_node.objects.key_frames import DrawnRegion
    from dicom_node.records import FrameReference, ImageSeries

__all__ = ["Displays", "Presentation", "make_presentations", "pieces_of"]

Displays = Mapping[tuple[str, int, int], "FrameDisplay"]
"""Transformations by series UID, stack number and frame index."""

_MAX_POINTS = 8000
"""Points of one graphic: its data is at most 65534 bytes long in explicit VR
(PS3.5 7.1.2), and two numbers of four bytes each are a point."""

_MAX_RATIO = 1000
"""Pixel aspect ratios are whole numbers; beyond this nobody sees a difference."""


@dataclass(frozen=True, eq=False)
class Presentation:
    """A presentation state, and the frames that it draws on."""

    dataset: Dataset
    frames: frozenset[tuple[str, int]]
    """SOP Instance UID and frame number."""


def make_presentations(
    making: Making,
    regions: Sequence[DrawnRegion],
    displays: Displays,
    *,
    first_series_number: int,
) -> Iterator[Presentation]:
    """Make the presentation states of a result; none where nothing was found.

    Each is a series of its own, so that a viewer that loads one loads no other.

    Parameters
    ----------
    making : Making
        The result.
    regions : sequence of DrawnRegion
        All of its regions.
    displays : mapping
        The transformations of every frame with a region, where it is grayscale.
    first_series_number : int
        Counted up from here.

    """
    groups: dict[tuple[str, int, str], list[tuple[DrawnRegion, int]]] = {}
    for one in regions:
        series = one.series
        for index in one.frame_indices:
            place = (series.series_instance_uid, series.stack_number)
            key = "" if series.is_colour else displays[*place, index].key
            groups.setdefault((*place, key), []).append((one, index))
    for number, drawn in enumerate(groups.values()):
        yield _make(
            making,
            drawn,
            displays,
            series_number=first_series_number + number,
            part_number=number + 1,
        )


def _make(
    making: Making,
    drawn: Sequence[tuple[DrawnRegion, int]],
    displays: Displays,
    *,
    series_number: int,
    part_number: int,
) -> Presentation:
    series = drawn[0][0].series
    ds = begin(
        making,
        ColorSoftcopyPresentationStateStorage
        if series.is_colour
        else GrayscaleSoftcopyPresentationStateStorage,
        series=("pr", str(part_number)),
        modality="PR",
        series_number=series_number,
        instance_number=1,
        what="outlines" if part_number == 1 else f"outlines, part {part_number}",
    )
    ds.ContentLabel = "REPORT_PHRASES"
    ds.ContentDescription = "Outlines of report phrases"
    ds.ContentCreatorName = ""
    day, time = making.content_day_and_time
    ds.PresentationCreationDate, ds.PresentationCreationTime = day, time
    referenced = Dataset()
    referenced.SeriesInstanceUID = series.series_instance_uid
    referenced.ReferencedImageSequence = _images(series, {k for _, k in drawn})
    ds.ReferencedSeriesSequence = [referenced]
    ds.DisplayedAreaSelectionSequence = [_displayed_area(series)]
    _add_graphics(ds, making, drawn)
    if series.is_colour:
        # The images are shown as they are, in the colours that screens have.
        ds.ICCProfile = _srgb_profile()
        ds.ColorSpace = "SRGB"
    else:
        _add_transformations(ds, drawn, displays)
    complete(making, ds)
    for keyword in ("ContentDate", "ContentTime"):
        del ds[keyword]  # of documents and images; here Presentation Creation Date
    frames = (series.frames[index] for _, index in drawn)
    return Presentation(
        ds, frozenset((one.sop_instance_uid, one.frame_number) for one in frames)
    )


def _images(series: ImageSeries, indices: set[int]) -> list[Dataset]:
    """Refer to images, in the order of the series."""
    numbers: dict[str, list[int]] = {}
    first: dict[str, FrameReference] = {}
    for index in sorted(indices):
        frame = series.frames[index]
        first.setdefault(frame.sop_instance_uid, frame)
        numbers.setdefault(frame.sop_instance_uid, []).append(frame.frame_number)
    return [image_item(frame, numbers[uid]) for uid, frame in first.items()]


def _displayed_area(series: ImageSeries) -> Dataset:
    """Show all of an image, in its true proportions (PS3.3 C.10.4)."""
    item = Dataset()
    # Here pixels are counted from one, unlike in graphics.
    item.DisplayedAreaTopLeftHandCorner = [1, 1]
    item.DisplayedAreaBottomRightHandCorner = [series.columns, series.rows]
    item.PresentationSizeMode = "SCALE TO FIT"
    is_placed = series.affine_lps is not None or series.orientation_lps is not None
    if is_placed and series.pixel_spacing_mm is not None:
        spacing = [decimal_string(one) for one in series.pixel_spacing_mm]
        item.PresentationPixelSpacing = spacing
    else:  # the spacing may be that of a detector, which is not the patient's
        ratio = Fraction(series.pixel_aspect).limit_denominator(_MAX_RATIO)
        whole = [ratio.numerator, ratio.denominator] if ratio > 0 else [1, 1]
        item.PresentationPixelAspectRatio = whole
    return item


def _add_graphics(
    ds: Dataset, making: Making, drawn: Sequence[tuple[DrawnRegion, int]]
) -> None:
    used = sorted({one.index for one, _ in drawn})
    layers = {
        index: GraphicLayer(
            layer_name=f"PHRASE_{index + 1}",
            order=order,
            description=long_string(making.result.phrases[index].phrase.text)
            or f"Phrase {index + 1}",
            display_color=display_colour(index),
        )
        for order, index in enumerate(used, start=1)
    }
    for layer in layers.values():
        layer.GraphicLayerRecommendedDisplayGrayscaleValue = 65535  # white
    ds.GraphicLayerSequence = list(layers.values())
    ds.GraphicAnnotationSequence = [
        _annotation(making, one, index, layers[one.index]) for one, index in drawn
    ]


def _annotation(
    making: Making, one: DrawnRegion, frame_index: int, layer: GraphicLayer
) -> Dataset:
    frame = one.series.frames[frame_index]
    outlines = closed_outlines(one.mask_on(frame_index))
    item = Dataset()
    item.ReferencedImageSequence = [image_item(frame, [frame.frame_number])]
    item.GraphicLayer = layer.GraphicLayer
    item.GraphicObjectSequence = [
        GraphicObject(
            graphic_type=GraphicTypeValues.POLYLINE,
            graphic_data=piece,
            units=AnnotationUnitsValues.PIXEL,
            tracking_id=making.tracking_id(one.region),
            tracking_uid=one.region.tracking_uid,
        )
        for outline in outlines
        for piece in pieces_of(outline)
    ]
    largest = max(outlines, key=lambda points: int(np.ptp(points, axis=0).prod()))
    text = clean_text(making.result.phrases[one.index].phrase.text)[:1024]
    item.TextObjectSequence = [
        TextObject(
            text_value=text or f"Phrase {one.index + 1}",
            units=AnnotationUnitsValues.PIXEL,
            anchor_point=(float(largest[0][0]), float(largest[0][1])),
            anchor_point_visible=True,
            tracking_id=making.tracking_id(one.region),
            tracking_uid=one.region.tracking_uid,
        )
    ]
    return item


def pieces_of(outline: npt.NDArray[np.int64]) -> Iterator[npt.NDArray[np.float64]]:
    """Cut a long outline into pieces that begin where the one before ends."""
    for start in range(0, len(outline) - 1, _MAX_POINTS - 1):
        yield outline[start : start + _MAX_POINTS].astype(np.float64)


def _add_transformations(
    ds: Dataset, drawn: Sequence[tuple[DrawnRegion, int]], displays: Displays
) -> None:
    """Repeat what the source says of its grey values (PS3.3 C.11.1, C.11.8, C.11.6)."""
    series = drawn[0][0].series
    place = (series.series_instance_uid, series.stack_number)
    found = {index: displays[*place, index] for _, index in drawn}
    first = next(iter(found.values()))
    for element in first.modality:
        ds.add(element)
    windows: dict[str, tuple[Dataset, set[int]]] = {}
    for index, one in found.items():
        if one.voi is not None:
            windows.setdefault(one.voi.to_json(), (one.voi, set()))[1].add(index)
    items = []
    for voi, indices in windows.values():
        item = Dataset()
        for element in voi:
            item.add(element)
        if len(indices) < len(found):
            item.ReferencedImageSequence = _images(series, indices)
        items.append(item)
    if items:
        ds.SoftcopyVOILUTSequence = items
    ds.PresentationLUTShape = "INVERSE" if first.is_inverted else "IDENTITY"


def _srgb_profile() -> bytes:
    """Return sRGB as an input profile (PS3.3 C.11.15.1.1)."""
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    # ICC.1 7.2: the class at byte 12 is that of an input device; the time of making
    # at byte 24 is no part of the colours, and would change with every run.
    profile = profile[:12] + b"scnr" + profile[16:24] + bytes(12) + profile[36:]
    return profile + b"\0" * (len(profile) % 2)
