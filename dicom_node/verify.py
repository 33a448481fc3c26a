"""Verify every object before it may leave: a violation stops delivery."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from pydicom import Dataset, dcmread
from pydicom.errors import InvalidDicomError

from conformance.rules_sr import COMPREHENSIVE_3D_SR, region_links
from conformance.sharing import share_sequences
from conformance.validators import (
    SourceInstance,
    Violation,
    check_dataset,
    check_together,
)
from dicom_node.errors import InvalidObjectError
from dicom_node.objects.profiles import ImageLink, find_profile
from dicom_node.quiet import quiet

if TYPE_CHECKING:
    from dicom_node.records import ImageSeries, ResultObject

__all__ = ["verify_objects"]


def verify_objects(
    objects: Sequence[ResultObject],
    series: Sequence[ImageSeries],
    *,
    referred: Sequence[ResultObject] = (),
) -> None:
    """Check the objects of one result, each alone and all together.

    They are read back from their files, so what is checked is what is sent.

    Parameters
    ----------
    objects : sequence of ResultObject
        The objects of one profile.
    series : sequence of ImageSeries
        The images that they may refer to.
    referred : sequence of ResultObject
        Segmentations of an earlier result that they may refer to.

    Raises
    ------
    InvalidObjectError
        A rule is broken; the message names each, ``violations`` holds them.

    """
    found: list[Violation] = []
    datasets = []
    for one in objects:
        ds = _read(one)
        broken = [*check_dataset(ds), *_check_record(one, ds)]
        found += [
            Violation(item.rule, f"{one.path.name} {item.where}", item.message)
            for item in broken
        ]
        datasets.append(ds)
    if not found:  # what they say of each other means nothing while one is broken
        found += check_together(
            datasets, _sources(series), referred=[_read(one) for one in referred]
        )
    if found:
        text = "; ".join(str(item) for item in found)
        raise InvalidObjectError(text, violations=tuple(found))


def _read(one: ResultObject) -> Dataset:
    try:
        with quiet():
            ds = dcmread(one.path)
            share_sequences(ds)
            return ds
    except (OSError, InvalidDicomError, EOFError) as error:
        msg = f"{one.path.name} cannot be read back"
        raise InvalidObjectError(msg, path=one.path) from error


def _check_record(one: ResultObject, ds: Dataset) -> Iterator[Violation]:
    """Yield where the record of an object and its file differ."""
    with one.path.open("rb") as file:
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    if sha256 != one.sha256:
        yield Violation("record", "file", "changed since it was made")
    reference = one.reference
    for keyword, value in (
        ("SOPClassUID", reference.sop_class_uid),
        ("SOPInstanceUID", reference.sop_instance_uid),
        ("SeriesInstanceUID", reference.series_instance_uid),
        ("StudyInstanceUID", reference.study_instance_uid),
    ):
        if ds.get(keyword) != value:
            yield Violation("record", keyword, "differs from the record")
    if one.transfer_syntax_uid != ds.file_meta.get("TransferSyntaxUID"):
        yield Violation("record", "TransferSyntaxUID", "differs from the record")
    if ds.get("SOPClassUID") == COMPREHENSIVE_3D_SR:
        yield from _check_links(one, ds)
    segments = {
        item.get("TrackingUID"): int(item.get("SegmentNumber", -1))
        for item in ds.get("SegmentSequence") or ()
    }
    if segments != dict(one.segments):
        yield Violation("record", "SegmentSequence", "differs from the record")


def _check_links(one: ResultObject, ds: Dataset) -> Iterator[Violation]:
    """Yield groups whose coordinates are there or not against their profile."""
    wants = find_profile(one.profile).image_link is not ImageLink.NONE
    links = list(region_links(ds))
    drawn = {link.tracking_uid for link in links if link.has_coordinates}
    for link in links:
        if (link.tracking_uid in drawn) != wants:
            has = "has no" if wants else "has"
            yield Violation("both-links", link.where, f"{has} coordinates")


def _sources(series: Sequence[ImageSeries]) -> dict[str, SourceInstance]:
    frames: dict[str, set[int]] = {}
    found = {}
    for one in series:
        for frame in one.frames:
            numbers = frames.setdefault(frame.sop_instance_uid, set())
            numbers.add(frame.frame_number)
            found[frame.sop_instance_uid] = SourceInstance(
                sop_class_uid=frame.sop_class_uid,
                series_instance_uid=one.series_instance_uid,
                rows=one.rows,
                columns=one.columns,
                frame_numbers=frozenset(numbers),
                number_of_frames=frame.number_of_frames,
            )
    return found
