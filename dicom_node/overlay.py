"""Pictures for people: a slice with the segments of a SEG drawn on it, and a legend.

The masks are read back from the written SEG objects, so the picture shows what a
viewer will get.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import highdicom as hd
import numpy as np
import numpy.typing as npt
from highdicom.color import CIELabColor
from PIL import Image, ImageDraw, ImageFont
from scipy import ndimage

from dicom_node.imaging import PixelReader
from dicom_node.records import FrameReference, ImageSeries, ResultObject

__all__ = ["Layer", "paint", "read_layers", "segmentation_paths", "write_overlays"]

_IMAGE_SIDE = 820
"""The longer side of the slice in the picture, in pixels."""
_LEGEND_WIDTH = 430
_LINE_HEIGHT = 26
_FILL_OPACITY = 0.38
_FRAMES_AT_ONCE = 16
_WARNING = "AI - not for diagnostic use"
_SOFT_TISSUE_HU = (-160.0, 240.0)
"""Window 400 at level 40, which most abdominal CT is read in."""


@dataclass(frozen=True, eq=False)
class Layer:
    """One segment: its label, RGB colour and mask of shape (frames, rows, columns)."""

    label: str
    rgb: tuple[int, int, int]
    mask: npt.NDArray[np.bool_]


def segmentation_paths(objects: Sequence[ResultObject]) -> tuple[Path, ...]:
    """Return the files among result objects that are segmentations."""
    return tuple(one.path for one in objects if one.segments)


def write_overlays(
    seg_paths: Sequence[Path],
    series: Sequence[ImageSeries],
    reader: PixelReader,
    out_dir: Path,
) -> tuple[Path, ...]:
    """Write one picture for each series that has segments.

    Parameters
    ----------
    seg_paths : sequence of pathlib.Path
        Segmentation objects.
    series : sequence of ImageSeries
        The series that they may refer to.
    reader : PixelReader
        Decodes the slice that is shown.
    out_dir : pathlib.Path
        Where ``overlay.png``, ``overlay-2.png`` ... go.

    """
    written: list[Path] = []
    segmentations = [hd.seg.segread(path) for path in seg_paths]
    for one in series:
        mine = [seg for seg in segmentations if _refers_to(seg, one)]
        index = _best_frame(mine, one)
        if index is None:
            continue
        frame = replace(one, frames=(one.frames[index],), affine_lps=None)
        picture = paint(
            reader.read(frame)[0],
            [layer for seg in mine for layer in read_layers(seg, frame)],
            modality=one.modality,
            pixel_spacing_mm=one.pixel_spacing_mm,
            title=f"{one.modality}, frame {index + 1} of {len(one.frames)}",
            sides=_sides(one),
        )
        suffix = f"-{len(written) + 1}" if written else ""
        path = out_dir / f"overlay{suffix}.png"
        picture.save(path)
        written.append(path)
    return tuple(written)


def read_layers(
    segmentation: hd.seg.Segmentation, series: ImageSeries
) -> tuple[Layer, ...]:
    """Read the segments of a SEG on the frames of a series, in their order."""
    pixels = _read_pixels(segmentation, series.frames)
    layers = []
    for index, number in enumerate(segmentation.segment_numbers):
        description = segmentation.get_segment_description(number)
        lab = [int(value) for value in description.RecommendedDisplayCIELabValue]
        layers.append(
            Layer(
                label=str(description.segment_label),
                rgb=_rgb(lab),
                mask=pixels[..., index] > 0,
            )
        )
    return tuple(layers)


def _refers_to(segmentation: hd.seg.Segmentation, series: ImageSeries) -> bool:
    item = segmentation.ReferencedSeriesSequence[0]
    known = {frame.sop_instance_uid for frame in series.frames}
    return item.SeriesInstanceUID == series.series_instance_uid and any(
        one.ReferencedSOPInstanceUID in known for one in item.ReferencedInstanceSequence
    )


def _read_pixels(
    segmentation: hd.seg.Segmentation, frames: Sequence[FrameReference]
) -> npt.NDArray[np.uint8]:
    """Return an array of shape ``(frames, rows, columns, segments)``."""
    uids = list(dict.fromkeys(frame.sop_instance_uid for frame in frames))
    numbers = list(segmentation.segment_numbers)
    if len(uids) == len(frames) and all(one.frame_number == 1 for one in frames):
        pixels = segmentation.get_pixels_by_source_instance(
            uids, segment_numbers=numbers, assert_missing_frames_are_empty=True
        )
    else:
        numbers_of = {
            uid: [one.frame_number for one in frames if one.sop_instance_uid == uid]
            for uid in uids
        }
        read = [
            segmentation.get_pixels_by_source_frame(
                uid,
                of_uid,
                segment_numbers=numbers,
                assert_missing_frames_are_empty=True,
            )
            for uid, of_uid in numbers_of.items()
        ]
        places = [(uid, one) for uid, of_uid in numbers_of.items() for one in of_uid]
        wanted = [(one.sop_instance_uid, one.frame_number) for one in frames]
        pixels = np.concatenate(read)[[places.index(one) for one in wanted]]
    return np.asarray(pixels, dtype=np.uint8)


def paint(
    pixels: npt.NDArray[np.generic],
    layers: Sequence[Layer],
    *,
    modality: str,
    pixel_spacing_mm: tuple[float, float] | None,
    title: str,
    sides: tuple[str, str] | None = None,
) -> Image.Image:
    """Draw layers on one frame, with a legend beside it.

    Parameters
    ----------
    pixels : numpy.ndarray
        Shape ``(rows, columns)`` in modality units, or ``(rows, columns, 3)`` RGB.
    layers : sequence of Layer
        Masks of shape ``(1, rows, columns)``; empty ones are left out.
    modality : str
        Decides the window.
    pixel_spacing_mm : tuple of float, optional
        Between rows, between columns: the picture keeps the true proportions.
    title : str
        First line of the legend.
    sides : tuple of str, optional
        What the left and right edges of the picture are of the patient: R, L, A ...

    """
    drawn = [layer for layer in layers if layer.mask.any()]
    height, width = _display_size(pixels.shape[:2], pixel_spacing_mm)
    grey = Image.fromarray(_to_display(pixels, modality))
    canvas = np.asarray(
        grey.convert("RGB").resize((width, height), Image.Resampling.BICUBIC),
        dtype=np.float32,
    ).copy()
    for layer in drawn:
        mask = np.asarray(
            Image.fromarray(layer.mask[0]).resize(
                (width, height), Image.Resampling.NEAREST
            )
        )
        colour = np.array(layer.rgb, dtype=np.float32)
        canvas[mask] += _FILL_OPACITY * (colour - canvas[mask])
        canvas[mask & ~ndimage.binary_erosion(mask, iterations=2)] = colour
    page = Image.new(
        "RGB",
        (width + _LEGEND_WIDTH, max(height, (len(drawn) + 3) * _LINE_HEIGHT)),
        (16, 18, 22),
    )
    page.paste(Image.fromarray(canvas.round().astype(np.uint8)), (0, 0))
    _draw_legend(page, drawn, left=width + 20, title=title)
    _draw_marks(page, width, height, sides=sides)
    return page


def _best_frame(
    segmentations: Sequence[hd.seg.Segmentation], series: ImageSeries
) -> int | None:
    """Choose the frame that shows most segments, and of those the largest area.

    The segments are read a few frames at a time: all at once they may fill the memory.
    """
    best: tuple[int, int] = (0, 0)
    chosen = None
    for start in range(0, len(series.frames), _FRAMES_AT_ONCE):
        frames = series.frames[start : start + _FRAMES_AT_ONCE]
        areas = [
            np.count_nonzero(_read_pixels(one, frames), axis=(1, 2))
            for one in segmentations
        ]
        if not areas:
            return None
        for offset, row in enumerate(np.concatenate(areas, axis=1)):
            rank = (int(np.count_nonzero(row)), int(row.sum()))
            if rank > best:
                best, chosen = rank, start + offset
    return chosen


def _display_size(
    shape: tuple[int, ...], pixel_spacing_mm: tuple[float, float] | None
) -> tuple[int, int]:
    spacing = pixel_spacing_mm or (1.0, 1.0)
    height, width = shape[0] * spacing[0], shape[1] * spacing[1]
    scale = _IMAGE_SIDE / max(height, width)
    return max(1, round(height * scale)), max(1, round(width * scale))


def _to_display(
    pixels: npt.NDArray[np.generic], modality: str
) -> npt.NDArray[np.uint8]:
    if pixels.ndim == 3:
        return pixels.astype(np.uint8)
    values = pixels.astype(np.float32)
    if modality == "CT":
        low, high = _SOFT_TISSUE_HU
    else:
        low, high = (float(one) for one in np.percentile(values, (1, 99.5)))
    scaled = (values - low) / max(high - low, 1e-6)
    return (scaled.clip(0, 1) * 255).round().astype(np.uint8)


def _draw_legend(
    page: Image.Image, layers: Sequence[Layer], *, left: int, title: str
) -> None:
    draw = ImageDraw.Draw(page)
    font = ImageFont.load_default(size=17)
    draw.text((left, 12), title, font=font, fill=(235, 235, 235))
    for line, layer in enumerate(layers, start=1):
        top = 18 + line * _LINE_HEIGHT
        draw.rectangle((left, top + 3, left + 16, top + 17), fill=layer.rgb)
        draw.text(
            (left + 26, top), _shorten(layer.label), font=font, fill=(235, 235, 235)
        )


def _draw_marks(
    page: Image.Image, width: int, height: int, *, sides: tuple[str, str] | None
) -> None:
    # On the slice itself, so that a cut-out keeps them.
    draw = ImageDraw.Draw(page)
    font = ImageFont.load_default(size=20)
    white = (255, 255, 255)
    draw.text(
        (width / 2, height - 14), _WARNING, font=font, fill=(255, 210, 0), anchor="ms"
    )
    if sides is not None:
        draw.text((10, height / 2), sides[0], font=font, fill=white, anchor="lm")
        draw.text(
            (width - 10, height / 2), sides[1], font=font, fill=white, anchor="rm"
        )


def _sides(series: ImageSeries) -> tuple[str, str] | None:
    """Name the sides of the patient at the left and right edge, PS3.3 C.7.6.1.1.1."""
    if series.orientation_lps is None:
        return None
    row = np.asarray(series.orientation_lps[:3])
    axis = int(np.abs(row).argmax())
    towards, away = (("L", "R"), ("P", "A"), ("H", "F"))[axis]
    return (away, towards) if row[axis] > 0 else (towards, away)


def _shorten(label: str) -> str:
    return label if len(label) <= 44 else f"{label[:43]}\N{HORIZONTAL ELLIPSIS}"


def _rgb(cielab: Sequence[int]) -> tuple[int, int, int]:
    red, green, blue = CIELabColor.from_dicom_value(cielab).to_rgb()
    return int(red), int(green), int(blue)
