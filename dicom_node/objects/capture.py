"""Secondary captures: pictures with the regions and phrases in their pixels.

Single-frame RGB, uncompressed: what every archive has shown for decades (PS3.3 A.8.1).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from highdicom.sr import CodedConcept
from pydicom import Dataset
from pydicom.uid import SecondaryCaptureImageStorage

from dicom_node import __version__
from dicom_node.identity import MANUFACTURER, MODEL_NAME
from dicom_node.imaging import patient_sides
from dicom_node.objects.common import display_colour, long_string
from dicom_node.objects.key_frames import KeyFrame
from dicom_node.objects.outcomes import (
    left_out,
    outcome_and_score,
    phrase_line,
    phrase_text,
)
from dicom_node.objects.planes import make_grid
from dicom_node.objects.references import source_item
from dicom_node.objects.whole import begin, complete
from dicom_node.painting import Layer, grey_limits, paint, paint_text

if TYPE_CHECKING:
    import numpy.typing as npt
    from PIL import Image

    from dicom_node.objects.common import Making
    from dicom_node.objects.presentation import Displays
    from dicom_node.objects.sources import SourceHeaders
    from dicom_node.records import PhraseResult

__all__ = ["Picture", "make_capture", "paint_pictures"]

_LEAST_SIDE = 512
_MOST_SIDE = 1536
"""Sides of the frame in its picture: small images are magnified, and large ones kept
to what a workstation shows at once."""

_LABEL_LENGTH = 200
"""Letters of a phrase beside the picture of it."""

_DESCRIPTION = "Regions of report phrases drawn on the image, scaled, with a legend"


@dataclass(frozen=True, eq=False)
class Picture:
    """A painted page; the frame that it shows, None for a page of text."""

    image: Image.Image
    key: KeyFrame | None


def paint_pictures(
    making: Making,
    keys: Sequence[KeyFrame],
    pixels: Sequence[npt.NDArray[np.generic]],
    displays: Displays,
    *,
    more: int,
) -> tuple[Picture, ...]:
    """Paint the key frames, then pages that list every phrase.

    Parameters
    ----------
    making : Making
        The result.
    keys : sequence of KeyFrame
        What is shown.
    pixels : sequence of numpy.ndarray
        The pixels of each, as `PixelReader` reads them.
    displays : mapping
        Grayscale transformations of the frames.
    more : int
        Key frames that are left out.

    """
    painted = [
        Picture(_paint(making, key, array, displays), key)
        for key, array in zip(keys, pixels, strict=True)
    ]
    pages = paint_text("Report phrases", list(_summary(making, more=more)))
    return (*painted, *(Picture(page, None) for page in pages))


def _paint(
    making: Making,
    key: KeyFrame,
    pixels: npt.NDArray[np.generic],
    displays: Displays,
) -> Image.Image:
    series = key.series
    place = (series.series_instance_uid, series.stack_number, key.frame_index)
    limits = None if series.is_colour else displays[place].limits
    masks: dict[int, npt.NDArray[np.bool_]] = {}
    for one in key.regions:
        mask = one.mask_on(key.frame_index)
        masks[one.index] = masks.get(one.index, False) | mask
    phrases = making.result.phrases
    return paint(
        pixels,
        [
            Layer(
                label=_label(phrases[index], index),
                rgb=_rgb(index),
                mask=mask[np.newaxis],
            )
            for index, mask in sorted(masks.items())
        ],
        modality=series.modality,
        pixel_aspect=series.pixel_aspect,
        title=f"{series.modality}, frame {key.frame_index + 1} of {len(series.frames)}",
        sides=patient_sides(series.orientation_lps),
        limits=limits or grey_limits(pixels, series.modality),
        notes=("", _made_by(making)),
        side=min(max(series.rows, series.columns, _LEAST_SIDE), _MOST_SIDE),
    )


def _label(one: PhraseResult, index: int) -> str:
    """Return the number, the phrase and its outcome; the list holds long ones whole."""
    words = long_string(phrase_text(one, index), _LABEL_LENGTH)
    return f"{index + 1}. {words} ({outcome_and_score(one)})"


def _summary(making: Making, *, more: int) -> list[str]:
    result = making.result
    found = [phrase_line(one, k) for k, one in enumerate(result.phrases) if one.regions]
    rest = [
        phrase_line(one, k) for k, one in enumerate(result.phrases) if not one.regions
    ]
    lines = [_made_by(making), ""]
    lines += ["Located:", *found] if found else ["No region is drawn."]
    if more:
        lines.append(f"{more} more key frames are not shown as pictures.")
    if rest:
        lines += ["", "Absent or not located:", *rest]
    if not result.phrases:
        lines.append("There was no phrase to look for.")
    if reasons := left_out(result):
        lines += ["", "Not processed:", *reasons]
    return lines


def make_capture(
    making: Making,
    picture: Picture,
    headers: SourceHeaders,
    *,
    series_number: int,
    instance_number: int,
) -> Dataset:
    """Make the secondary capture of a picture.

    All pictures of a result are one series.
    """
    ds = begin(
        making,
        SecondaryCaptureImageStorage,
        series=("sc",),
        modality="OT",
        series_number=series_number,
        instance_number=instance_number,
        what="pictures",
    )
    ds.ImageType = ["DERIVED", "SECONDARY"]
    ds.ConversionType = "WSD"
    ds.SecondaryCaptureDeviceManufacturer = MANUFACTURER
    ds.SecondaryCaptureDeviceManufacturerModelName = MODEL_NAME
    ds.SecondaryCaptureDeviceSoftwareVersions = __version__
    ds.DateOfSecondaryCapture, ds.TimeOfSecondaryCapture = making.content_day_and_time
    ds.PatientOrientation = ""
    ds.BurnedInAnnotation = "YES"  # the words of the report
    ds.LossyImageCompression = "00"
    if picture.key is not None:
        frame = picture.key.frame
        ds.SourceImageSequence = [source_item(frame, [frame.frame_number])]
        ds.DerivationDescription = _DESCRIPTION
        ds.DerivationCodeSequence = [
            CodedConcept("113085", "DCM", "Spatial resampling")
        ]
        make_grid(picture.key.alone, headers).copy_lossy_compression(ds)
    pixels = np.asarray(picture.image.convert("RGB"))
    ds.SamplesPerPixel = 3
    ds.PhotometricInterpretation = "RGB"
    ds.PlanarConfiguration = 0
    ds.Rows, ds.Columns = pixels.shape[:2]
    ds.BitsAllocated = ds.BitsStored = 8
    ds.HighBit, ds.PixelRepresentation = 7, 0
    data = pixels.tobytes()
    ds.PixelData = data + b"\0" * (len(data) % 2)
    ds["PixelData"].VR = "OB"
    complete(making, ds)
    return ds


def _made_by(making: Making) -> str:
    return (
        f"Made by {making.algorithm_name} {making.algorithm_version}, "
        f"{MODEL_NAME} {__version__}"
    )


def _rgb(index: int) -> tuple[int, int, int]:
    red, green, blue = display_colour(index).to_rgb()
    return int(red), int(green), int(blue)
