"""Read DICOM itself as a labelled dataset: SEG, RTSTRUCT and SR with their images.

A folder holds any number of studies in any arrangement; what belongs together is told
by references. Of long loops the frames are read that the node would look at.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Literal

from training.errors import DatasetError
from training.readers.dicom_codes import Placement, SegmentWords
from training.readers.dicom_drawings import place_drawings
from training.readers.dicom_folder import DicomStudy, find_studies
from training.readers.dicom_rtstruct import read_structure_set
from training.readers.dicom_seg import PhraseSource, read_segmentation
from training.readers.dicom_series import (
    PlacedSeries,
    hashed_uid,
    load_frame,
    load_volume,
)
from training.readers.dicom_sr import (
    Group,
    MeasurementReport,
    read_measurement_report,
)
from training.readers.layout import Layout
from training.readers.source import SourceImage, SourceRegion
from training.registry import DatasetSpec

__all__ = ["DicomLayout", "read_dicom"]


class DicomLayout(Layout):
    """Options of the reader."""

    phrase: PhraseSource = "type"
    """Which words of a segment are its phrase where no report says any"""
    broken_labels: Literal["error", "skip"] = "error"
    """What an object means that cannot be read, or whose images are not there or on
    another grid. Large collections are kept in part; skipping is said, never guessed"""
    unlabelled: bool = False
    """Whether images that nothing is said about are read as well"""


def read_dicom(root: Path, spec: DatasetSpec) -> Iterator[SourceImage]:
    """Yield the labelled volumes and pictures of every study below `root`.

    Raises
    ------
    DatasetError
        A file cannot be read, or names images that are not there.
    """
    layout = DicomLayout.of(spec)
    for study in find_studies(root):
        yield from _images(study, layout, dataset=spec.id)


def _images(
    study: DicomStudy, layout: DicomLayout, *, dataset: str
) -> Iterator[SourceImage]:
    regions: dict[tuple[PlacedSeries, int | None], list[SourceRegion]] = defaultdict(
        list
    )
    for one in _placements(study, layout):
        regions[one.placed, one.frame].append(one.region)
    for placed in study.series:
        places: list[int | None] = [None] if placed.is_volume else []
        frames = range(len(placed.series.frames))
        places += [
            index
            for index in frames
            if (placed, index) in regions or not placed.is_volume
        ]
        for frame in places:
            found = regions.get((placed, frame), [])
            if found or layout.unlabelled:
                yield _image(
                    study, placed, frame, regions=tuple(found), dataset=dataset
                )


def _placements(study: DicomStudy, layout: DicomLayout) -> Iterator[Placement]:
    reports = tuple(_reports(study, layout))
    words = {
        segment: _words(report, group)
        for _, report in reports
        for group in report.groups
        for segment in group.segments
    }
    for path in study.segmentations:
        found = read_segmentation(path, study, phrase=layout.phrase, words=words)
        yield from _kept(found, layout)
    for path in study.structure_sets:
        yield from _kept(read_structure_set(path, study), layout)
    known = {one.sop_instance_uid for one in study.instances}
    for path, report in reports:
        for group in report.groups:
            # What is outlined by a segment is not drawn a second time by its box.
            if not any(uid in known for uid, _ in group.segments):
                found = place_drawings(path, study, report=report, group=group)
                yield from _kept(found, layout)
        yield from _absent(study, report)


def _reports(
    study: DicomStudy, layout: DicomLayout
) -> Iterator[tuple[Path, MeasurementReport]]:
    for path in study.documents:
        try:
            yield path, read_measurement_report(path)
        except DatasetError:
            if layout.broken_labels == "error":
                raise


def _kept(found: Iterator[Placement], layout: DicomLayout) -> Iterator[Placement]:
    """Yield what an object says until it turns out to be broken."""
    try:
        yield from found
    except DatasetError:
        if layout.broken_labels == "error":
            raise


def _words(report: MeasurementReport, group: Group) -> SegmentWords:
    return SegmentWords(
        label=group.label,
        phrase=group.phrase,
        status=report.status_of(group),
        laterality=group.laterality,
        codes=group.codes,
    )


def _absent(study: DicomStudy, report: MeasurementReport) -> Iterator[Placement]:
    """Yield what is said not to be there, on every image that the report names."""
    for status, words in report.evaluations:
        if status != "absent":
            continue
        region = SourceRegion(
            label=words.label,
            phrase=words.phrase,
            status="absent",
            laterality=words.laterality,
            codes=words.codes,
        )
        for placed in study.series:
            named = [
                index
                for index, frame in enumerate(placed.series.frames)
                if frame.sop_instance_uid in report.images
            ]
            if named and placed.is_volume:
                yield Placement(placed, None, region)
            elif not placed.is_volume:
                yield from (Placement(placed, index, region) for index in named)


def _image(
    study: DicomStudy,
    placed: PlacedSeries,
    frame: int | None,
    *,
    regions: tuple[SourceRegion, ...],
    dataset: str,
) -> SourceImage:
    series = placed.series
    if frame is None:
        name = hashed_uid(dataset, series.series_instance_uid)
        if series.stack_number > 1:
            name = f"{name}/{series.stack_number}"
        load = partial(load_volume, placed)
    else:
        reference = series.frames[frame]
        name = hashed_uid(dataset, reference.sop_instance_uid)
        if reference.number_of_frames > 1:
            name = f"{name}/{reference.frame_number}"
        load = partial(load_frame, placed, frame)
    return SourceImage(
        image_id=name,
        load=load,
        regions=regions,
        modality=series.modality,
        body_part=series.body_part.lower() if series.body_part else None,
        patient_id=study.patient_id,
        study_id=study.study_instance_uid,
        report=study.report,
    )
