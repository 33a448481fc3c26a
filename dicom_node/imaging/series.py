"""Sort a study's instances into image series that can be processed.

What each kind of image becomes:

* Slices with a place in the patient (CT, MR, PET, tomosynthesis; classic or
  multi-frame) become volumes, one for each stack (`stacks`); a tilted gantry or
  irregular spacing leaves slices without an affine.
* Projections, ultrasound, endoscopy, photographs and secondary captures become
  series of frames; frames of different size are apart.
* A long loop, or a volume repeated many times, is sampled evenly and the rest is
  named in ``not_processed``.
* Localizers and dose screens are named in ``not_processed``.
* Documents, segmentations, presentation states and the like are no images: they are
  passed over in silence.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from datetime import date, datetime, time
from itertools import groupby
from typing import Final

import numpy as np

from dicom_node.errors import ImagingError, NotAnImageError
from dicom_node.imaging.dataset import quiet_reading, read_dataset
from dicom_node.imaging.frames import (
    FrameHeader,
    ImageHeader,
    read_image_header,
)
from dicom_node.imaging.geometry import slice_normal
from dicom_node.imaging.stacks import Stack, split_into_stacks
from dicom_node.records import ImageSeries, NotProcessed, StoredInstance

__all__ = ["MAX_LOOP_FRAMES", "MAX_REPEATS", "find_series", "latest_datetime"]

MAX_LOOP_FRAMES: Final = 16
"""Frames of one loop (ultrasound cine, angiogram, cardiac MR) that are processed,
evenly spaced: more of the same view cost time and add little."""

MAX_REPEATS: Final = 4
"""Volumes at the same place (phases, diffusion directions) that are processed."""

_DOSE_SCREEN = re.compile(
    r"dose[ _-]*(report|info|record|summary|screen)|patient protocol|screen[ _-]*save",
    re.IGNORECASE,
)

_ORIENTATION_TOLERANCE = 1e-3
_SPACING_TOLERANCE_MM = 1e-3

_LOCALIZER_MAX_FRAMES = 3
_LOCALIZER_RATIO = 5
"""A few CT images across a stack that is this many times larger are its scouts."""

_PARALLEL = 0.9
"""Cosine of the angle between normals beyond which planes count as parallel."""

_DATETIMES = (
    ("ContentDate", "ContentTime"),
    ("AcquisitionDate", "AcquisitionTime"),
    ("SeriesDate", "SeriesTime"),
    ("StudyDate", "StudyTime"),
)


def find_series(
    instances: Sequence[StoredInstance],
) -> tuple[tuple[ImageSeries, ...], tuple[NotProcessed, ...]]:
    """Sort the instances of one study into image series.

    Parameters
    ----------
    instances : sequence of StoredInstance
        Of one study, in any order; it does not change the result. An instance that
        is given twice counts once.

    Returns
    -------
    tuple of ImageSeries
        What can be processed, in the order of series and instance numbers.
    tuple of NotProcessed
        What looks like an image and is left out, and why.

    """
    by_series: dict[str, list[ImageHeader]] = defaultdict(list)
    refused: dict[tuple[str, str], list[str]] = defaultdict(list)
    ordered = sorted(instances, key=lambda one: (one.sop_instance_uid, one.sha256))
    for uid, copies in groupby(ordered, key=lambda one: one.sop_instance_uid):
        instance = next(copies)
        try:
            header = read_image_header(instance)
        except NotAnImageError:
            continue
        except ImagingError as error:
            refused[instance.series_instance_uid, str(error)].append(uid)
            continue
        if reason := _not_of_interest(header):
            refused[header.series_instance_uid, reason].append(uid)
        else:
            by_series[header.series_instance_uid].append(header)
    left_out = [
        NotProcessed(uid, f"{len(uids)} of its instances ({uids[0]} ...): {reason}")
        if len(uids) > 1
        else NotProcessed(uid, f"instance {uids[0]}: {reason}")
        for (uid, reason), uids in refused.items()
    ]
    found: list[ImageSeries] = []
    for uid in sorted(by_series):
        series, skipped = _sort_series(by_series[uid])
        found.extend(series)
        left_out.extend(skipped)
    return tuple(found), tuple(left_out)


def latest_datetime(instances: Sequence[StoredInstance]) -> datetime:
    """Return the latest date and time in the headers of instances.

    Instances without any, or that cannot be read, do not count; when none counts
    the answer is the beginning of 1970. The result has no time zone, as in the
    headers.
    """
    latest = datetime.combine(date(1970, 1, 1), time())
    tags = [keyword for pair in _DATETIMES for keyword in pair]
    for instance in instances:
        try:
            with quiet_reading():
                ds = read_dataset(instance.path, specific_tags=tags)
                values = [
                    (str(ds.get(day, "")), str(ds.get(hour, "")))
                    for day, hour in _DATETIMES
                ]
        except Exception:  # noqa: BLE001, S112 - find_series names what is unreadable
            continue
        for day, hour in values:
            moment = _datetime(day, hour)
            if moment is not None:
                latest = max(latest, moment)
    return latest


def _datetime(day: str, hour: str) -> datetime | None:
    match = re.fullmatch(r"(\d{4})\.?(\d{2})\.?(\d{2})", day.strip())
    if not match:
        return None
    parts = re.fullmatch(r"(\d{2}):?(\d{2})?:?(\d{2})?(?:\.(\d{1,6}))?", hour.strip())
    hours, minutes, seconds, fraction = parts.groups("0") if parts else "0000"
    year, month, of_month = (int(part) for part in match.groups())
    try:
        return datetime.combine(
            date(year, month, of_month),
            time(int(hours), int(minutes), int(seconds), int(fraction.ljust(6, "0"))),
        )
    except ValueError:
        return None


def _not_of_interest(header: ImageHeader) -> str | None:
    kinds = {part.strip().upper() for part in header.image_type}
    if "LOCALIZER" in kinds:
        return "localizers are not processed"
    if kinds & {"SCREEN SAVE", "DOSE_INFO", "DOSE INFO"} or _DOSE_SCREEN.search(
        header.series_description
    ):
        return "dose report screens are not processed"
    return None


def _sort_series(
    headers: Sequence[ImageHeader],
) -> tuple[list[ImageSeries], list[NotProcessed]]:
    series_uid = headers[0].series_instance_uid
    groups = list(_alike(headers))
    _, largest = max(groups, key=lambda group: len(group[1]))
    stacks: list[tuple[ImageHeader, Stack]] = []
    left_out: list[NotProcessed] = []
    for header, frames in groups:
        if _is_scout(header, frames, largest):
            left_out.append(
                NotProcessed(
                    series_uid,
                    f"{len(frames)} images across the stack: localizers are not "
                    "processed",
                )
            )
        elif frames[0].orientation is None or frames[0].pixel_spacing_mm is None:
            stacks.extend((header, Stack(loop, None)) for loop in _loops(frames))
        else:
            stacks.extend((header, stack) for stack in split_into_stacks(frames))
    kept, reasons = _sample(stacks)
    left_out.extend(NotProcessed(series_uid, reason) for reason in reasons)
    return [
        _image_series(header, stack, number)
        for number, (header, stack) in enumerate(kept, start=1)
    ], left_out


def _alike(
    headers: Sequence[ImageHeader],
) -> Iterator[tuple[ImageHeader, list[FrameHeader]]]:
    """Group frames that share matrix, colour, place system, orientation, spacing."""
    groups: list[tuple[ImageHeader, list[FrameHeader]]] = []
    ordered = sorted(
        headers,
        key=lambda one: (
            one.frames[0].instance_number,
            one.frames[0].reference.sop_instance_uid,
        ),
    )
    for header in ordered:
        for frame in header.frames:
            for first, members in groups:
                if _same_kind(first, header) and _same_plane(members[0], frame):
                    members.append(frame)
                    break
            else:
                groups.append((header, [frame]))
    yield from groups


def _same_kind(one: ImageHeader, other: ImageHeader) -> bool:
    return (
        one.rows == other.rows
        and one.columns == other.columns
        and one.is_colour == other.is_colour
        and one.pixel_aspect_ratio == other.pixel_aspect_ratio
        and one.modality == other.modality
        and one.frame_of_reference_uid == other.frame_of_reference_uid
    )


def _same_plane(one: FrameHeader, other: FrameHeader) -> bool:
    pairs = (
        (one.orientation, other.orientation, _ORIENTATION_TOLERANCE),
        (one.pixel_spacing_mm, other.pixel_spacing_mm, _SPACING_TOLERANCE_MM),
    )
    for mine, theirs, tolerance in pairs:
        if mine is None or theirs is None:
            if mine is not theirs:
                return False
        elif max(abs(a - b) for a, b in zip(mine, theirs, strict=True)) > tolerance:
            return False
    return True


def _is_scout(
    header: ImageHeader, frames: Sequence[FrameHeader], largest: Sequence[FrameHeader]
) -> bool:
    mine, theirs = frames[0].orientation, largest[0].orientation
    if header.modality != "CT" or mine is None or theirs is None:
        return False
    is_across = abs(slice_normal(mine) @ slice_normal(theirs)) < _PARALLEL
    is_small = len(frames) <= _LOCALIZER_MAX_FRAMES
    return bool(
        is_across and is_small and len(largest) >= _LOCALIZER_RATIO * len(frames)
    )


def _loops(frames: Sequence[FrameHeader]) -> Iterator[tuple[FrameHeader, ...]]:
    """Give each multi-frame instance a series of its own; single images share one."""
    by_instance: dict[str, list[FrameHeader]] = defaultdict(list)
    for frame in frames:
        by_instance[frame.reference.sop_instance_uid].append(frame)
    singles = [one[0] for one in by_instance.values() if len(one) == 1]
    if singles:
        yield tuple(singles)
    for loop in by_instance.values():
        if len(loop) > 1:
            yield tuple(loop)


def _sample(
    stacks: Sequence[tuple[ImageHeader, Stack]],
) -> tuple[list[tuple[ImageHeader, Stack]], list[str]]:
    """Choose frames of long loops and of volumes that repeat the same place."""
    kept: list[tuple[ImageHeader, Stack]] = []
    reasons: list[str] = []
    repeats: dict[tuple[object, ...], list[int]] = defaultdict(list)
    for index, (header, stack) in enumerate(stacks):
        if stack.affine_lps is not None:
            place = tuple(np.round(stack.affine_lps, 2).ravel().tolist())
            key = (header.rows, header.columns, len(stack.frames), place)
            repeats[key].append(index)
    skipped: set[int] = set()
    for indices in repeats.values():
        chosen = {indices[i] for i in _evenly(len(indices), MAX_REPEATS)}
        skipped |= set(indices) - chosen
        if len(indices) > MAX_REPEATS:
            reasons.append(
                f"{MAX_REPEATS} of {len(indices)} volumes at the same place are "
                "processed, evenly spaced"
            )
    for index, (header, stack) in enumerate(stacks):
        if index in skipped:
            continue
        count = len(stack.frames)
        if count > MAX_LOOP_FRAMES and _is_loop(stack):
            frames = tuple(stack.frames[i] for i in _evenly(count, MAX_LOOP_FRAMES))
            reasons.append(
                f"{MAX_LOOP_FRAMES} of {count} frames of a loop are processed, "
                "evenly spaced"
            )
            kept.append((header, Stack(frames, None)))
        else:
            kept.append((header, stack))
    return kept, reasons


def _is_loop(stack: Stack) -> bool:
    """Tell repetitions of one view from separate images and from slices."""
    if stack.affine_lps is not None:
        return False
    instances = {frame.reference.sop_instance_uid for frame in stack.frames}
    places = {frame.reference.position_lps for frame in stack.frames}
    return len(places) == 1 and (len(instances) == 1 or None not in places)


def _evenly(count: int, wanted: int) -> list[int]:
    if count <= wanted:
        return list(range(count))
    return [round(i * (count - 1) / (wanted - 1)) for i in range(wanted)]


def _image_series(header: ImageHeader, stack: Stack, number: int) -> ImageSeries:
    first = stack.frames[0]
    return ImageSeries(
        study_instance_uid=header.study_instance_uid,
        series_instance_uid=header.series_instance_uid,
        modality=header.modality,
        body_part=header.body_part,
        frames=tuple(frame.reference for frame in stack.frames),
        rows=header.rows,
        columns=header.columns,
        is_colour=header.is_colour,
        pixel_spacing_mm=first.pixel_spacing_mm,
        affine_lps=stack.affine_lps,
        frame_of_reference_uid=header.frame_of_reference_uid,
        series_description=header.series_description,
        orientation_lps=first.orientation,
        stack_number=number,
        pixel_aspect_ratio=header.pixel_aspect_ratio,
    )
