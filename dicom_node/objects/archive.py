"""The objects for archives that show neither SEG nor SR, and how they refer.

Presentation states draw outlines over the images, secondary captures hold them in
their pixels, the key object selection names the frames that matter, and the PDF says
everything in words. When nothing was found the pictures and the PDF say so.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from pydicom import Dataset

from dicom_node.errors import ObjectError
from dicom_node.objects.capture import make_capture, paint_pictures
from dicom_node.objects.common import FIRST_SERIES_NUMBER
from dicom_node.objects.display import FrameDisplay, frame_display
from dicom_node.objects.key_frames import DrawnRegion, KeyFrame, choose, drawn_regions
from dicom_node.objects.key_objects import make_key_objects
from dicom_node.objects.presentation import make_presentations
from dicom_node.objects.sources import SourceHeaders, read_header
from dicom_node.objects.summary import make_summary
from dicom_node.painting import grey_limits

if TYPE_CHECKING:
    import numpy.typing as npt

    from dicom_node.objects.common import FrameReader, Making

__all__ = ["make_archive_objects"]

_KEY_OBJECTS = FIRST_SERIES_NUMBER + 1
_CAPTURES = FIRST_SERIES_NUMBER + 2
_PRESENTATIONS = FIRST_SERIES_NUMBER + 3
"""Series Number of the first presentation state; the PDF has the first of all, as the
report that it is."""

_Place = tuple[str, int, int]


def make_archive_objects(making: Making) -> Iterator[tuple[str, Dataset]]:
    """Make the objects, each with the name of its file.

    Raises
    ------
    ObjectError
        There is nobody to read pixels, a mask does not fit its series, or a source
        instance cannot be read.
    PixelDecodingError
        A frame cannot be decoded.

    """
    if making.reader is None:
        msg = f"profile {making.profile.name} paints pictures and has no pixel reader"
        raise ObjectError(msg)
    regions = drawn_regions(making)
    keys, more = choose(regions)
    displays = _displays(regions, making.reader)
    presentations = list(
        make_presentations(
            making, regions, displays, first_series_number=_PRESENTATIONS
        )
    )
    pixels = [making.reader.read(key.alone)[0] for key in keys]
    pictures = paint_pictures(making, keys, pixels, displays, more=more)
    headers = SourceHeaders()
    captures = [
        make_capture(
            making, picture, headers, series_number=_CAPTURES, instance_number=number
        )
        for number, picture in enumerate(pictures, start=1)
    ]
    for number, one in enumerate(presentations, start=1):
        yield f"pr-{number}.dcm", one.dataset
    for number, ds in enumerate(captures, start=1):
        yield f"sc-{number}.dcm", ds
    if keys:
        selection = make_key_objects(
            making,
            keys,
            presentations=presentations,
            captures=captures,
            series_number=_KEY_OBJECTS,
            more=more,
        )
        yield "ko.dcm", selection
    summary = make_summary(
        making, pictures, series_number=FIRST_SERIES_NUMBER, more=more
    )
    yield "pdf.dcm", summary


def _displays(
    regions: Sequence[DrawnRegion], reader: FrameReader
) -> dict[_Place, FrameDisplay]:
    """Read how every grayscale frame with a region is shown.

    Frames that name no window get one that fits the pixels of their series.
    """
    found: dict[_Place, FrameDisplay] = {}
    fitting: dict[tuple[str, int], tuple[float, float]] = {}
    headers: dict[Any, Dataset] = {}
    for one in regions:
        series = one.series
        if series.is_colour:
            continue
        group = (series.series_instance_uid, series.stack_number)
        for index in one.frame_indices:
            frame = series.frames[index]
            if (*group, index) in found:
                continue
            if frame.path not in headers:
                headers[frame.path] = read_header(frame.path)
            display = frame_display(headers[frame.path], frame, series)
            if display.voi is None:
                if group not in fitting:
                    key = KeyFrame(series, one.largest_frame, ())
                    pixels: npt.NDArray[Any] = reader.read(key.alone)[0]
                    fitting[group] = grey_limits(pixels, series.modality)
                display = replace(display, voi=display.window(fitting[group]))
            found[*group, index] = display
    return found
