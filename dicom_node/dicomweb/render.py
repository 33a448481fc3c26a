"""Frames as pictures for a browser: windowed, scaled, PNG or JPEG (PS3.18 10.4)."""

from __future__ import annotations

import io
import re
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image

from dicom_node.errors import DicomwebError, ImagingError
from dicom_node.imaging import PixelReader
from dicom_node.imaging.display import as_decoded, series_windows
from dicom_node.imaging.frames import read_image_header
from dicom_node.imaging.windows import VoiFunction, Window
from dicom_node.records import ImageSeries, StoredInstance

__all__ = ["RenderOptions", "parse_options", "render_frame"]

_MAX_SIDE = 8192
"""Pixels of a viewport's side."""

_NUMBER = r"[+-]?[0-9]{1,9}(?:\.[0-9]{1,9})?"
_FUNCTIONS: dict[str, VoiFunction] = {
    "linear": "LINEAR",
    "linear-exact": "LINEAR_EXACT",
    "sigmoid": "SIGMOID",
}
_WINDOW = re.compile(rf"({_NUMBER}),({_NUMBER}),({'|'.join(_FUNCTIONS)})")
_VIEWPORT = re.compile(r"([0-9]{1,5}),([0-9]{1,5})")
_QUALITY = re.compile(r"[0-9]{1,3}")


@dataclass(frozen=True, slots=True)
class RenderOptions:
    """How a picture is made."""

    window: Window | None = None
    """In modality values; None: the image's own."""
    viewport: tuple[int, int] | None = None
    """Width and height that the picture fits into; None: its own size."""
    quality: int = 90
    """Of a JPEG, 1 to 100."""


def parse_options(
    *, window: str | None, viewport: str | None, quality: str | None
) -> RenderOptions:
    """Read what an address says of a picture, PS3.18 8.3.5.1.

    Raises
    ------
    DicomwebError
        A value cannot be understood.

    """
    chosen = None
    if window is not None:
        match = _WINDOW.fullmatch(window.lower())
        if match is None or not _is_wide_enough(float(match[2]), match[3]):
            msg = "window is not centre,width,linear|linear-exact|sigmoid"
            raise DicomwebError(msg, status=400)
        chosen = Window("", float(match[1]), float(match[2]), _FUNCTIONS[match[3]])
    size = None
    if viewport is not None:
        match = _VIEWPORT.fullmatch(viewport)
        if match is None or not all(
            1 <= int(one) <= _MAX_SIDE for one in match.groups()
        ):
            msg = f"viewport is not width,height from 1 to {_MAX_SIDE}"
            raise DicomwebError(msg, status=400)
        size = int(match[1]), int(match[2])
    best = 90
    if quality is not None:
        if not _QUALITY.fullmatch(quality) or not 1 <= int(quality) <= 100:
            raise DicomwebError("quality is not a number from 1 to 100", status=400)
        best = int(quality)
    return RenderOptions(chosen, size, best)


def _is_wide_enough(width: float, function: str) -> bool:
    # Only a linear one is at least one wide (PS3.3 C.11.2.1.2.1).
    return width >= 1 if function == "linear" else width > 0


def render_frame(
    instance: StoredInstance,
    number: int,
    *,
    reader: PixelReader,
    options: RenderOptions,
    media_type: str,
) -> bytes:
    """Return a frame as a picture.

    Parameters
    ----------
    instance : StoredInstance
        The image.
    number : int
        Frame Number, from 1.
    reader : PixelReader
        Decodes it.
    options : RenderOptions
        Window, size and quality.
    media_type : str
        ``image/png`` or ``image/jpeg``.

    Raises
    ------
    DicomwebError
        It is no image, has no such frame, or cannot be decoded.

    """
    try:
        series = _one_frame(instance, number)
        pixels = reader.read(series)[0]
    except ImagingError as error:
        msg = f"the instance cannot be shown: {error}"
        raise DicomwebError(msg, status=404) from error
    if series.is_colour:
        picture = Image.fromarray(pixels.astype(np.uint8), "RGB")
    else:
        values = pixels.astype(np.float32, copy=False)
        picture = Image.fromarray(_window(series, values, options).shade(values))
    size = _size(series, options.viewport)
    if size != picture.size:
        picture = picture.resize(size, Image.Resampling.BILINEAR)
    file = io.BytesIO()
    if media_type == "image/png":
        picture.save(file, "PNG", compress_level=3)
    else:
        picture.save(file, "JPEG", quality=options.quality)
    return file.getvalue()


def _one_frame(instance: StoredInstance, number: int) -> ImageSeries:
    header = read_image_header(instance)
    if not 1 <= number <= len(header.frames):
        raise DicomwebError(f"there is no frame {number}", status=404)
    frame = header.frames[number - 1]
    return ImageSeries(
        study_instance_uid=header.study_instance_uid,
        series_instance_uid=header.series_instance_uid,
        modality=header.modality,
        body_part=header.body_part,
        frames=(frame.reference,),
        rows=header.rows,
        columns=header.columns,
        is_colour=header.is_colour,
        pixel_spacing_mm=frame.pixel_spacing_mm,
        affine_lps=None,
        frame_of_reference_uid=header.frame_of_reference_uid,
        pixel_aspect_ratio=header.pixel_aspect_ratio,
    )


def _size(series: ImageSeries, viewport: tuple[int, int] | None) -> tuple[int, int]:
    """Return width and height of a picture whose pixels are square."""
    # The coarser side grows, so that no pixel is lost.
    width = series.columns / min(series.pixel_aspect, 1.0)
    height = series.rows * max(series.pixel_aspect, 1.0)
    scale = min(1.0, _MAX_SIDE / max(width, height))
    if viewport is not None:
        scale = min(viewport[0] / width, viewport[1] / height)
    elif (series.columns, series.rows) == (round(width), round(height)):
        scale = 1.0
    return max(1, round(width * scale)), max(1, round(height * scale))


def _window(
    series: ImageSeries, values: npt.NDArray[np.float32], options: RenderOptions
) -> Window:
    """Return the window in values of `PixelReader`, which mirrors MONOCHROME1."""
    if options.window is not None:
        return as_decoded(options.window, series.frames[0])
    for one in series_windows(series):
        return one
    low, high = (float(one) for one in np.percentile(values, (1, 99)))
    return Window("", (low + high) / 2, max(high - low, 1e-6), "LINEAR_EXACT")
