"""The report: Comprehensive 3D SR, TID 1500, one for each result (PS3.3 A.35.13)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, cast

from highdicom import sr
from highdicom.sr import RelationshipTypeValues as Relationship
from pydicom import Dataset
from pydicom.sr.codedict import Collection, codes
from pydicom.sr.coding import Code
from pydicom.uid import (
    CTImageStorage,
    ExplicitVRLittleEndian,
    KeyObjectSelectionDocumentStorage,
)

from dicom_node import __version__
from dicom_node.errors import ObjectError
from dicom_node.identity import MANUFACTURER, MODEL_NAME
from dicom_node.objects.common import (
    Making,
    add_coding_schemes,
    long_string,
    observer_context,
)
from dicom_node.objects.references import hierarchy, requests_of, texts_of
from dicom_node.objects.sr_content import phrase_evaluations, region_groups
from dicom_node.objects.sr_review import add_verification, people_items
from dicom_node.objects.study_module import copy_study_modules, plain_sequence
from dicom_node.records import ObjectReference

if TYPE_CHECKING:
    from dicom_node.records import ImageSeries, ResultObject

__all__ = ["make_report"]

_QUALITATIVE_EVALUATIONS = sr.CodedConcept(
    "C0034375", "UMLS", "Qualitative Evaluations"
)
_SOURCE = sr.CodedConcept("260753009", "SCT", "Source")
_MODALITIES = {code.value: code for code in Collection("CID33").concepts.values()}
"""CID 33: codes of modalities, by what Modality (0008,0060) says."""

_SR_STORAGE_PREFIX = "1.2.840.10008.5.1.4.1.1.88."
"""SR Storage SOP Classes (PS3.4 B.5)."""


def make_report(making: Making, segmentations: Sequence[ResultObject]) -> Dataset:
    """Make the report of a result.

    Parameters
    ----------
    making : Making
        The result.
    segmentations : sequence of ResultObject
        The SEGs that were made of it.

    Raises
    ------
    ObjectError
        A region has no segment, or a value cannot be encoded.

    """
    root = _root(making, segmentations)
    # The builder copies the tree and looks through it twice for what it refers to,
    # which was a third of a report's time. It gets an empty one; that all references
    # are evidence is a rule that every report is verified by.
    ds: Dataset = sr.Comprehensive3DSR(
        evidence=[_template(making)],
        content=_report_container([]),
        series_instance_uid=making.uid("sr-series"),
        series_number=making.first_series_number,
        sop_instance_uid=making.uid("sr"),
        instance_number=1,
        manufacturer=MANUFACTURER,
        is_complete=True,
        is_final=False,
        is_verified=False,
        transfer_syntax_uid=ExplicitVRLittleEndian,
        series_description=making.series_description(
            "report" if making.review is None else "corrected report"
        ),
        manufacturer_model_name=MODEL_NAME,
        software_versions=__version__,
        device_serial_number=making.result.model_sha256[:16] or "unknown",
    )
    ds.update(root)
    _name_evidence(ds, making, segmentations)
    _add_requests(ds, making)
    _add_predecessors(ds, making)
    making.stamp(ds)
    copy_study_modules(making.source, ds, list(texts_of(ds)))
    ds.StudyInstanceUID = making.result.study_instance_uid
    if making.review is not None and making.review.verifier is not None:
        add_verification(ds, making.review.verifier)
    add_coding_schemes(ds)
    return ds


def _root(
    making: Making,
    segmentations: Sequence[ResultObject],
) -> Dataset:
    segments: dict[str, tuple[ObjectReference, int]] = {
        uid: (one.reference, number)
        for one in segmentations
        for uid, number in one.segments.items()
    }
    groups = []
    for index, series, region in making.placed_regions():
        segment = segments.get(region.tracking_uid)
        if segment is None and region.tracking_uid not in making.without_segment:
            msg = "a region has no segment"
            raise ObjectError(msg, tracking_uid=region.tracking_uid)
        phrase = making.result.phrases[index].phrase
        groups += region_groups(making, phrase, series, region, segment)
    language = sr.LanguageOfContentItemAndDescendants(
        sr.CodedConcept("en", "RFC5646", "English")
    )
    items: list[sr.ContentItem] = [
        *language,
        *sr.ObservationContext(observer_device_context=observer_context(making)),
    ]
    if making.review is not None:
        items += people_items(making.review)
    items += [
        sr.CodeContentItem(
            codes.DCM.ProcedureReported, procedure, Relationship.HAS_CONCEPT_MOD
        )
        for procedure in _procedures(making.source)
    ]
    items += _image_library(making.result.series)
    measurements = cast("list[sr.ContentItem]", [one[0] for one in groups])
    items += _container(codes.DCM.ImagingMeasurements, measurements)
    items += _container(_QUALITATIVE_EVALUATIONS, list(phrase_evaluations(making)))
    root = _report_container(items)
    _separate(root)
    return root


def _report_container(items: Sequence[sr.ContentItem]) -> Dataset:
    # The builder's own report template refuses a result without any region.
    root: Dataset = sr.ContainerContentItem(
        codes.DCM.ImagingMeasurementReport, template_id="1500"
    )
    root.ContentSequence = sr.ContentSequence(items)
    return root


def _container(
    name: sr.CodedConcept | Code, items: Sequence[sr.ContentItem]
) -> list[sr.ContentItem]:
    """Return a container with the items; none around nothing."""
    if not items:
        return []
    container = sr.ContainerContentItem(name, relationship_type=Relationship.CONTAINS)
    container.ContentSequence = sr.ContentSequence(items)
    return [container]


def _separate(item: Dataset) -> None:
    """Mark containers as lists: their items are no running text (C.18.8.1.1)."""
    if item.ValueType == "CONTAINER":
        item.ContinuityOfContent = "SEPARATE"
        for child in item.get("ContentSequence", ()):
            _separate(child)


def _procedures(source: Dataset) -> list[sr.CodedConcept]:
    """Return the procedure codes of the study, else a code for any imaging."""
    found = []
    for item in plain_sequence(source, "ProcedureCodeSequence"):
        value, scheme = item.get("CodeValue"), item.get("CodingSchemeDesignator")
        if value and scheme:
            meaning = long_string(str(item.get("CodeMeaning") or value))
            found.append(sr.CodedConcept(str(value), str(scheme), meaning))
    return found or [sr.CodedConcept.from_code(codes.SCT.ImagingProcedure)]


def _image_library(series: Sequence[ImageSeries]) -> list[sr.ContentItem]:
    """Return the images that were looked at, series by series (TID 1600)."""
    groups = []
    for one in series:
        items: list[sr.ContentItem] = []
        if one.modality in _MODALITIES:
            items.append(
                sr.CodeContentItem(
                    codes.DCM.Modality,
                    _MODALITIES[one.modality],
                    Relationship.HAS_ACQ_CONTEXT,
                )
            )
        if one.frame_of_reference_uid is not None:
            items.append(
                sr.UIDRefContentItem(
                    codes.DCM.FrameOfReferenceUID,
                    one.frame_of_reference_uid,
                    Relationship.HAS_ACQ_CONTEXT,
                )
            )
        images = {frame.sop_instance_uid: frame for frame in one.frames}
        items += [
            sr.ImageContentItem(
                _SOURCE,
                frame.sop_class_uid,
                frame.sop_instance_uid,
                relationship_type=Relationship.CONTAINS,
            )
            for frame in images.values()
        ]
        group = sr.ContainerContentItem(
            codes.DCM.ImageLibraryGroup, relationship_type=Relationship.CONTAINS
        )
        group.ContentSequence = sr.ContentSequence(items)
        groups.append(group)
    if not groups:
        return []
    library = sr.ContainerContentItem(
        codes.DCM.ImageLibrary,
        template_id="1600",
        relationship_type=Relationship.CONTAINS,
    )
    library.ContentSequence = sr.ContentSequence(groups)
    return [library]


def _name_evidence(
    ds: Dataset, making: Making, segmentations: Sequence[ResultObject]
) -> None:
    """Name everything the report refers to or was made from (PS3.3 C.17.2.3).

    All of it belongs to the study and so to its requested procedures: it goes into
    Current Requested Procedure Evidence. Pertinent Other Evidence is for objects of
    other requested procedures.
    """
    named: dict[str, ObjectReference] = {}
    for one in _evidence(making, segmentations):
        named.setdefault(one.sop_instance_uid, one)
    del ds.CurrentRequestedProcedureEvidenceSequence  # of the template
    if named:
        ds.CurrentRequestedProcedureEvidenceSequence = hierarchy(named.values())


def _evidence(
    making: Making, segmentations: Sequence[ResultObject]
) -> Iterator[ObjectReference]:
    study = making.result.study_instance_uid
    for series in making.result.series:
        for frame in series.frames:
            yield ObjectReference(
                frame.sop_class_uid,
                frame.sop_instance_uid,
                series.series_instance_uid,
                study,
            )
    for one in segmentations:
        yield replace(one.reference, study_instance_uid=study)
    reports = {one.source: one for one in making.result.reports if one.is_document}
    for report in reports.values():
        yield ObjectReference(
            report.sop_class_uid or "",
            report.sop_instance_uid or "",
            report.series_instance_uid or "",
            study,
        )


def _template(making: Making) -> Dataset:
    """Return an instance that the builder takes an empty patient and study from.

    The real ones are copied afterwards, and the reference to it is dropped.
    """
    ds = Dataset()
    ds.SOPClassUID = CTImageStorage
    ds.SOPInstanceUID = making.uid("template")
    ds.SeriesInstanceUID = making.uid("template-series")
    ds.StudyInstanceUID = making.result.study_instance_uid
    for keyword in ("PatientID", "PatientName", "PatientBirthDate", "PatientSex"):
        setattr(ds, keyword, "")
    for keyword in ("AccessionNumber", "StudyID", "ReferringPhysicianName"):
        setattr(ds, keyword, "")
    ds.StudyDate = ds.StudyTime = None
    return ds


def _add_requests(ds: Dataset, making: Making) -> None:
    """Copy what was requested and performed from the source (PS3.3 C.17.2)."""
    performed = plain_sequence(making.source, "PerformedProcedureCodeSequence")
    performed = performed or plain_sequence(making.source, "ProcedureCodeSequence")
    ds.PerformedProcedureCodeSequence = performed
    if requests := requests_of(making.source, making.result.study_instance_uid):
        ds.ReferencedRequestSequence = requests


def _add_predecessors(ds: Dataset, making: Making) -> None:
    """Name the documents that this one supersedes (PS3.3 C.17.2.1); SR only."""
    superseded = [
        one
        for one in making.result.predecessors
        if one.sop_class_uid.startswith(_SR_STORAGE_PREFIX)
        and one.sop_class_uid != KeyObjectSelectionDocumentStorage
    ]
    if superseded:
        ds.PredecessorDocumentsSequence = hierarchy(superseded)
