"""Judge result objects: our own rules for each kind, then an outside judge.

The rules are those of PS3.3 that a receiver relies on, and, for objects that this
node made, what it promises for each of its results. Every rule has a name, and a
broken rule tells where and what, without values that may say something of a
patient.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from pydicom import Dataset, dcmread
from pydicom.errors import InvalidDicomError

from conformance.judges import ask_dciodvfy, find_dciodvfy
from conformance.rules_common import Violation, check_common, is_own_result
from conformance.rules_documents import (
    ENCAPSULATED_PDF,
    KEY_OBJECT_SELECTION,
    SECONDARY_CAPTURE,
    check_capture,
    check_key_objects,
    check_pdf,
)
from conformance.rules_presentation import PRESENTATION_CLASSES, check_presentation
from conformance.rules_seg import SEGMENTATION_CLASSES, check_segmentation
from conformance.rules_sr import (
    COMPREHENSIVE_3D_SR,
    check_report,
    image_references,
    region_links,
)
from conformance.rules_together import (
    SourceInstance,
    check_captured_sources,
    check_drawings,
    check_selection,
)

__all__ = [
    "Judgement",
    "SourceInstance",
    "Violation",
    "check_dataset",
    "check_together",
    "is_judged",
    "judge_file",
]

_RULES: Mapping[str, Callable[..., Iterable[Violation]]] = {
    **dict.fromkeys(SEGMENTATION_CLASSES, check_segmentation),
    **dict.fromkeys(PRESENTATION_CLASSES, check_presentation),
    COMPREHENSIVE_3D_SR: check_report,
    SECONDARY_CAPTURE: check_capture,
    KEY_OBJECT_SELECTION: check_key_objects,
    ENCAPSULATED_PDF: check_pdf,
}
"""SOP Class UID to the rules of its objects."""


@dataclass(frozen=True, slots=True)
class Judgement:
    """What the judges said of a file."""

    path: Path
    sop_class_uid: str
    violations: tuple[Violation, ...]
    """Rules of ours that it breaks, and errors of the outside judge (rule
    ``dciodvfy``) without its known false ones."""
    judges: tuple[str, ...] = ("rules",)
    """Who judged: ``rules``, and ``dciodvfy`` where it is installed."""

    @property
    def is_valid(self) -> bool:
        """Whether nobody found an error."""
        return not self.violations


def is_judged(path: Path) -> bool:
    """Return whether a file is of a SOP class that there are rules for."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            ds = dcmread(path, specific_tags=["SOPClassUID"], stop_before_pixels=True)
    except (OSError, InvalidDicomError, EOFError, ValueError, TypeError):
        return False
    return str(ds.get("SOPClassUID", "")) in _RULES


def judge_file(path: Path) -> Judgement:
    """Judge one file by our rules and, where it is installed, by dciodvfy.

    Files of other SOP classes are judged by the outside judge alone.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            ds = dcmread(path)
            ds.decode()
    except (OSError, InvalidDicomError, EOFError, ValueError, TypeError) as error:
        broken = Violation("readable", "file", f"not readable: {type(error).__name__}")
        return Judgement(path, "", (broken,))
    violations = tuple(check_dataset(ds))
    program = find_dciodvfy()
    judges: tuple[str, ...] = ("rules",)
    if program is not None:
        judges = (*judges, "dciodvfy")
        violations += tuple(
            Violation("dciodvfy", "file", text)
            for text in ask_dciodvfy(program, path, ds)
        )
    return Judgement(path, str(ds.get("SOPClassUID", "")), violations, judges)


def check_dataset(ds: Dataset) -> list[Violation]:
    """Return the rules that one data set breaks; none for other SOP classes."""
    rules = _RULES.get(str(ds.get("SOPClassUID", "")))
    if rules is None:
        return []
    own = is_own_result(ds)
    return [*check_common(ds, own=own), *rules(ds, own=own)]


def check_together(
    datasets: Sequence[Dataset],
    sources: Mapping[str, SourceInstance],
    *,
    referred: Sequence[Dataset] = (),
) -> list[Violation]:
    """Return the rules that objects of one result break between them.

    Parameters
    ----------
    datasets : sequence of Dataset
        The objects of one result: SEGs and SR, or those for an archive.
    sources : mapping
        The images they may refer to, by SOP Instance UID.
    referred : sequence of Dataset
        SEGs of an earlier result whose segments a report may refer to again.

    """
    segmentations = [ds for ds in datasets if ds.SOPClassUID in SEGMENTATION_CLASSES]
    reports = [ds for ds in datasets if ds.SOPClassUID == COMPREHENSIVE_3D_SR]
    found: list[Violation] = []
    if len({ds.StudyInstanceUID for ds in datasets}) > 1:
        found.append(Violation("one-study", "result", "objects of several studies"))
    uids = [ds.SOPInstanceUID for ds in datasets]
    if len(set(uids)) != len(uids):
        found.append(Violation("unique-uid", "result", "a SOP Instance UID twice"))
    summaries = [ds for ds in datasets if ds.SOPClassUID == ENCAPSULATED_PDF]
    if (count := len(reports) + len(summaries)) != 1:
        found.append(Violation("one-report", "result", f"{count} reports"))
    for ds in segmentations:
        found.extend(_check_sources(ds, sources))
    for ds in reports:
        found.extend(_check_images(ds, sources))
        found.extend(_check_links(ds, segmentations, referred))
    for ds in datasets:
        if ds.SOPClassUID in PRESENTATION_CLASSES:
            found.extend(check_drawings(ds, sources))
        if ds.SOPClassUID in {SECONDARY_CAPTURE, ENCAPSULATED_PDF}:
            found.extend(check_captured_sources(ds, sources))
        if ds.SOPClassUID == KEY_OBJECT_SELECTION:
            found.extend(check_selection(ds, sources, datasets))
    return found


def _check_sources(
    ds: Dataset, sources: Mapping[str, SourceInstance]
) -> Iterable[Violation]:
    """Yield what is wrong with a SEG's references to its source."""
    series = {item.SeriesInstanceUID for item in ds.get("ReferencedSeriesSequence", [])}
    size = (ds.Rows, ds.Columns)
    known: dict[int, list[tuple[str, str]]] = {}  # frames may share their derivation
    for number, groups in enumerate(ds.PerFrameFunctionalGroupsSequence, start=1):
        derivations = groups.get("DerivationImageSequence", ())
        if id(derivations) not in known:
            known[id(derivations)] = [
                broken
                for derivation in derivations
                for item in derivation.get("SourceImageSequence", [])
                for broken in _check_source(item, sources, series=series, size=size)
            ]
        for rule, message in known[id(derivations)]:
            yield Violation(rule, f"frame {number}", message)


def _check_source(
    item: Dataset,
    sources: Mapping[str, SourceInstance],
    *,
    series: Collection[str],
    size: tuple[int, int],
) -> Iterable[tuple[str, str]]:
    source = sources.get(item.ReferencedSOPInstanceUID)
    if source is None:
        yield "source-exists", "no such source image"
        return
    if source.sop_class_uid != item.ReferencedSOPClassUID:
        yield "source-class", "another SOP class"
    if source.series_instance_uid not in series:
        yield "source-series", "another series"
    if (source.rows, source.columns) != size:
        yield "source-grid", "another size"
    frame = item.get("ReferencedFrameNumber")
    if frame is not None and int(frame) not in source.frame_numbers:
        yield "source-frame", "no such source frame"
    if frame is None and source.number_of_frames > 1:
        yield "source-frame", "which frame is not said"


def _check_images(
    ds: Dataset, sources: Mapping[str, SourceInstance]
) -> Iterable[Violation]:
    """Yield what is wrong with a report's references to images and its boxes."""
    for reference in image_references(ds):
        if reference.sop_class_uid in SEGMENTATION_CLASSES:
            continue
        source = sources.get(reference.sop_instance_uid)
        if source is None:
            yield Violation("image-exists", reference.where, "no such source image")
            continue
        if not set(reference.frame_numbers) <= source.frame_numbers:
            yield Violation("image-frame", reference.where, "no such source frame")
        is_drawn_on = bool(reference.points)
        if is_drawn_on and not reference.frame_numbers and source.number_of_frames > 1:
            yield Violation("image-frame", reference.where, "which frame is not said")
        for column, row in reference.points:
            if not (0 <= column <= source.columns and 0 <= row <= source.rows):
                yield Violation("box-inside", reference.where, "outside the image")
                break


def _check_links(
    ds: Dataset, segmentations: Sequence[Dataset], referred: Sequence[Dataset]
) -> Iterable[Violation]:
    """Yield what is wrong between the report's groups and the segments."""
    segments = {
        (seg.SOPInstanceUID, int(item.SegmentNumber)): item
        for seg in (*segmentations, *referred)
        for item in seg.SegmentSequence
    }
    linked = set()
    for link in region_links(ds):
        if link.segment is None:
            continue
        item = segments.get(link.segment)
        if item is None:
            yield Violation("segment-exists", link.where, "no such segment")
            continue
        linked.add(link.segment)
        if item.get("TrackingUID") != link.tracking_uid:
            yield Violation("tracking-uid", link.where, "the segment has another")
        if item.get("TrackingID") != link.tracking_id:
            yield Violation("tracking-id", link.where, "the segment has another")
    own = {seg.SOPInstanceUID for seg in segmentations}
    for key in sorted(one for one in set(segments) - linked if one[0] in own):
        where = f"segment {key[1]}"
        yield Violation("segment-reported", where, "no group refers to it")
