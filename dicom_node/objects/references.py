"""How results refer to other objects, and to the requests that they answer."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from typing import TYPE_CHECKING, Any

from highdicom.sr import CodedConcept
from pydicom import Dataset

from dicom_node.objects.study_module import plain_sequence

if TYPE_CHECKING:
    from dicom_node.objects.common import Making
    from dicom_node.records import FrameReference, ObjectReference

__all__ = [
    "hierarchy",
    "image_item",
    "related_series",
    "requests_of",
    "source_instance",
    "source_item",
    "texts_of",
]


def hierarchy(references: Iterable[ObjectReference]) -> list[Dataset]:
    """Return objects by study and series (PS3.3 C.17.2.1, Table C.17-3).

    Objects named twice are there once; the order is that in which each is named.
    """
    studies: dict[str, dict[str, dict[str, ObjectReference]]] = {}
    for one in references:
        series = studies.setdefault(one.study_instance_uid, {})
        series.setdefault(one.series_instance_uid, {})[one.sop_instance_uid] = one
    return [_study_item(study, series) for study, series in studies.items()]


def image_item(frame: FrameReference, numbers: Iterable[int] = ()) -> Dataset:
    """Refer to an image, and of a multi-frame one to some frames (PS3.3 Table 10-3)."""
    item = Dataset()
    item.ReferencedSOPClassUID = frame.sop_class_uid
    item.ReferencedSOPInstanceUID = frame.sop_instance_uid
    chosen = sorted(set(numbers))
    if chosen and frame.number_of_frames > 1:
        item.ReferencedFrameNumber = chosen if len(chosen) > 1 else chosen[0]
    return item


def related_series(making: Making, sop_class_uids: Collection[str]) -> list[Dataset]:
    """Return the series of some SOP classes that this result supersedes.

    Objects that are no documents have no predecessors in the standard; their
    series say what they follow (Related Series, PS3.3 C.7.3.1).
    """
    found = dict.fromkeys(
        (one.study_instance_uid, one.series_instance_uid)
        for one in making.result.predecessors
        if one.sop_class_uid in sop_class_uids
    )
    items = []
    for study, series in found:
        item = Dataset()
        item.StudyInstanceUID = study
        item.SeriesInstanceUID = series
        item.PurposeOfReferenceCodeSequence = []
        items.append(item)
    return items


def requests_of(source: Dataset, study_instance_uid: str) -> list[Dataset]:
    """Return requests with every type 2 element of PS3.3 C.17.2 there.

    Images keep them in Request Attributes Sequence, documents in Referenced Request
    Sequence.
    """
    found = plain_sequence(source, "ReferencedRequestSequence")
    found = found or plain_sequence(source, "RequestAttributesSequence")
    requests = []
    for item in found:
        request = Dataset()
        request.StudyInstanceUID = item.get("StudyInstanceUID") or study_instance_uid
        request.ReferencedStudySequence = []
        request.AccessionNumber = item.get("AccessionNumber") or ""
        request.PlacerOrderNumberImagingServiceRequest = (
            item.get("PlacerOrderNumberImagingServiceRequest") or ""
        )
        request.FillerOrderNumberImagingServiceRequest = (
            item.get("FillerOrderNumberImagingServiceRequest") or ""
        )
        request.RequestedProcedureID = item.get("RequestedProcedureID") or ""
        request.RequestedProcedureDescription = (
            item.get("RequestedProcedureDescription") or ""
        )
        request.RequestedProcedureCodeSequence = (
            item.get("RequestedProcedureCodeSequence") or []
        )
        requests.append(request)
    return requests


def source_instance(frame: FrameReference) -> Dataset:
    """Refer to an instance that a document was made from (PS3.3 C.24.2)."""
    item = Dataset()
    item.ReferencedSOPClassUID = frame.sop_class_uid
    item.ReferencedSOPInstanceUID = frame.sop_instance_uid
    return item


def source_item(frame: FrameReference, numbers: Iterable[int] = ()) -> Dataset:
    """Refer to an image that a picture was made from (CID 7202)."""
    item = image_item(frame, numbers)
    item.PurposeOfReferenceCodeSequence = [
        CodedConcept("121322", "DCM", "Source image for image processing operation")
    ]
    return item


def texts_of(ds: Dataset) -> Iterator[str]:
    """Yield every text in a data set, those of nested items too."""
    for element in ds:
        if element.VR == "SQ":
            for item in element.value:
                yield from texts_of(item)
        elif element.VR in {"LO", "LT", "PN", "SH", "ST", "UC", "UT"}:
            value: Any = element.value
            yield str(value)


def _study_item(study: str, series: dict[str, dict[str, ObjectReference]]) -> Dataset:
    series_items = []
    for uid, references in series.items():
        series_item = Dataset()
        series_item.SeriesInstanceUID = uid
        series_item.ReferencedSOPSequence = []
        for one in references.values():
            item = Dataset()
            item.ReferencedSOPClassUID = one.sop_class_uid
            item.ReferencedSOPInstanceUID = one.sop_instance_uid
            series_item.ReferencedSOPSequence.append(item)
        series_items.append(series_item)
    study_item = Dataset()
    study_item.StudyInstanceUID = study
    study_item.ReferencedSeriesSequence = series_items
    return study_item
