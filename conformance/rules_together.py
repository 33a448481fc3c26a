"""Rules between the objects of one result for an archive, and their source images."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from pydicom import Dataset

from conformance.rules_common import Violation, items_of
from conformance.rules_documents import key_objects
from conformance.rules_presentation import drawings, image_references

__all__ = [
    "SourceInstance",
    "check_captured_sources",
    "check_drawings",
    "check_selection",
]


@dataclass(frozen=True, slots=True)
class SourceInstance:
    """A source image that results may refer to."""

    sop_class_uid: str
    series_instance_uid: str
    rows: int
    columns: int
    frame_numbers: frozenset[int]
    """The frames that results may refer to."""
    number_of_frames: int
    """All that the instance has: with more than one, references name theirs."""


Sources = Mapping[str, SourceInstance]


def check_drawings(ds: Dataset, sources: Sources) -> Iterator[Violation]:
    """Yield what is wrong with the images that a presentation state draws on."""
    for series in items_of(ds, "ReferencedSeriesSequence"):
        references = items_of(series, "ReferencedImageSequence")
        where = "ReferencedSeriesSequence"
        for reference in image_references(references):
            yield from _check_reference(reference, sources, where)
            source = sources.get(reference[1])
            uid = series.get("SeriesInstanceUID")
            if source is not None and source.series_instance_uid != uid:
                yield Violation("source-series", where, "another series")
    for drawing in drawings(ds):
        for reference in drawing.images:
            yield from _check_reference(reference, sources, drawing.where)
            source = sources.get(reference[1])
            if source is None:
                continue
            for column, row in drawing.points:
                if not (0 <= column <= source.columns and 0 <= row <= source.rows):
                    yield Violation("outline-inside", drawing.where, "leaves the image")
                    break


def check_captured_sources(ds: Dataset, sources: Sources) -> Iterator[Violation]:
    """Yield what is wrong with the images that a picture or document is made from."""
    pictured = items_of(ds, "SourceImageSequence")
    for reference in image_references(pictured):
        yield from _check_reference(reference, sources, "SourceImageSequence")
    for sop_class, uid, _ in image_references(items_of(ds, "SourceInstanceSequence")):
        source = sources.get(uid)
        if source is None or source.sop_class_uid != sop_class:
            yield Violation("source-exists", "SourceInstanceSequence", "no such source")


def check_selection(
    ds: Dataset, sources: Sources, datasets: Sequence[Dataset]
) -> Iterator[Violation]:
    """Yield what is wrong with what a key object selection selects."""
    made = {str(one.SOPInstanceUID): str(one.SOPClassUID) for one in datasets}
    for one in key_objects(ds):
        if one.presentation_uid is not None and one.presentation_uid not in made:
            yield Violation("presentation-exists", one.where, "no such state")
        if one.sop_instance_uid in made:
            if made[one.sop_instance_uid] != one.sop_class_uid:
                yield Violation("source-class", one.where, "another SOP class")
            continue
        reference = (one.sop_class_uid, one.sop_instance_uid, one.frame_numbers)
        yield from _check_reference(reference, sources, one.where)


def _check_reference(
    reference: tuple[str, str, tuple[int, ...]], sources: Sources, where: str
) -> Iterator[Violation]:
    sop_class, uid, frames = reference
    source = sources.get(uid)
    if source is None:
        yield Violation("source-exists", where, "no such source image")
        return
    if source.sop_class_uid != sop_class:
        yield Violation("source-class", where, "another SOP class")
    if not set(frames) <= source.frame_numbers:
        yield Violation("source-frame", where, "no such source frame")
    if not frames and source.number_of_frames > 1:
        yield Violation("source-frame", where, "which frame is not said")
