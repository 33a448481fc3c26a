"""Pictures of results: the slice that shows most segments of a SEG, painted.

The masks are read back from the written SEG objects, so the picture shows what a
viewer will get.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import highdicom as hd
import numpy as np
import numpy.typing as npt
from highdicom.color import CIELabColor

from dicom_node.imaging import PixelReader, patient_sides
from dicom_node.painting import Layer, paint
from dicom_node.records import FrameReference, ImageSeries, ResultObject

__all__ = ["read_layers", "segmentation_paths", "write_overlays"]

_FRAMES_AT_ONCE = 16


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
            pixel_aspect=one.pixel_aspect,
            title=f"{one.modality}, frame {index + 1} of {len(one.frames)}",
            sides=patient_sides(one.orientation_lps),
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


def _rgb(cielab: Sequence[int]) -> tuple[int, int, int]:
    red, green, blue = CIELabColor.from_dicom_value(cielab).to_rgb()
    return int(red), int(green), int(blue)
