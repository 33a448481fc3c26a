"""Write a report as a Basic Text SR document, as a reporting system would send it."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

from pydicom import uid
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.sequence import Sequence as DicomSequence

from dicom_node.errors import ReportError
from dicom_node.identity import MANUFACTURER, MODEL_NAME, derive_uid
from dicom_node.records import Code
from dicom_node.reports.codes import private_code
from dicom_node.reports.words import read_table

__all__ = ["make_report_document"]

_FROM_IMAGE = (
    "PatientName",
    "PatientID",
    "PatientBirthDate",
    "PatientSex",
    "StudyInstanceUID",
    "StudyDate",
    "StudyTime",
    "ReferringPhysicianName",
    "StudyID",
    "AccessionNumber",
)
"""Attributes of patient and study of type 1 or 2 (PS3.3 C.7.1.1, C.7.2.1)."""

_OPTIONAL_FROM_IMAGE = ("IssuerOfPatientID", "StudyDescription", "PatientAge")

_OTHER_NAMES = {
    "technique": "current procedure descriptions",
    "procedure": "current procedure descriptions",
    "comparison": "prior procedure descriptions",
    "indication": "indications for procedure",
    "indications": "indications for procedure",
    "clinical history": "clinical information",
}
"""What reports call the sections of CID 7001."""

_REPORT = Code("LN", "11528-7", "Radiology Report")
_LANGUAGE = Code("DCM", "121049", "Language of Content Item and Descendants")
_ENGLISH = Code("RFC5646", "en", "English")
_OBSERVER_TYPE = Code("DCM", "121005", "Observer Type")
_DEVICE = Code("DCM", "121007", "Device")
_DEVICE_UID = Code("DCM", "121012", "Device Observer UID")


def make_report_document(
    text_sections: Sequence[tuple[str, str]], *, template: Dataset
) -> Dataset:
    """Make a Basic Text SR document of a report (PS3.16 TID 2000).

    Parameters
    ----------
    text_sections : sequence of (str, str)
        Title and text of each section. Known titles ("Findings", "Impression",
        "History" ...) get the codes of CID 7001, others a private code.
    template : pydicom.Dataset
        An image of the study that is reported on; its patient and study attributes
        are taken over. It needs a Study Instance UID.

    Returns
    -------
    pydicom.Dataset
        With file meta information, ready for ``save_as(enforce_file_format=True)``.
        Same sections and template, same UIDs and bytes.

    Raises
    ------
    ReportError
        There is no section with text, or the template has no Study Instance UID.

    """
    sections = [(title, text) for title, text in text_sections if text.strip()]
    study_uid = str(template.get("StudyInstanceUID", "") or "")
    if not sections:
        msg = "a report document needs a section with text"
        raise ReportError(msg)
    if not study_uid:
        msg = "the image that the report is about has no Study Instance UID"
        raise ReportError(msg)
    ds = Dataset()
    ds.SpecificCharacterSet = "ISO_IR 192"
    _add_patient_and_study(ds, template)
    words = "\0".join(part for section in sections for part in section)
    ds.Modality = "SR"
    ds.SeriesInstanceUID = derive_uid("report series", study_uid)
    ds.SeriesNumber = 900
    ds.SeriesDescription = "Report"
    ds.ReferencedPerformedProcedureStepSequence = DicomSequence()
    ds.Manufacturer = MANUFACTURER
    ds.ManufacturerModelName = MODEL_NAME
    ds.SOPClassUID = uid.BasicTextSRStorage
    ds.SOPInstanceUID = derive_uid("report", study_uid, words)
    ds.InstanceNumber = 1
    ds.ContentDate = template.get("StudyDate", "") or "19000101"
    ds.ContentTime = template.get("StudyTime", "") or "000000"
    ds.CompletionFlag = "COMPLETE"
    ds.VerificationFlag = "UNVERIFIED"
    ds.PerformedProcedureCodeSequence = DicomSequence()
    _add_content(ds, sections, study_uid)
    ds.file_meta = FileMetaDataset()
    ds.file_meta.MediaStorageSOPClassUID = ds.SOPClassUID
    ds.file_meta.MediaStorageSOPInstanceUID = ds.SOPInstanceUID
    ds.file_meta.TransferSyntaxUID = uid.ExplicitVRLittleEndian
    return ds


def _add_patient_and_study(ds: Dataset, template: Dataset) -> None:
    for keyword in _FROM_IMAGE:
        setattr(ds, keyword, template.get(keyword, None) or "")
    for keyword in _OPTIONAL_FROM_IMAGE:
        if template.get(keyword):
            setattr(ds, keyword, template.get(keyword))


def _add_content(
    ds: Dataset, sections: Sequence[tuple[str, str]], study_uid: str
) -> None:
    ds.ValueType = "CONTAINER"
    ds.ConceptNameCodeSequence = DicomSequence([_coded(_REPORT)])
    ds.ContinuityOfContent = "SEPARATE"
    template = Dataset()
    template.MappingResource = "DCMR"
    template.TemplateIdentifier = "2000"
    ds.ContentTemplateSequence = DicomSequence([template])
    observer = _item("HAS OBS CONTEXT", "UIDREF", _DEVICE_UID)
    observer.UID = derive_uid("report author", study_uid)
    items = [
        _code_item("HAS CONCEPT MOD", _LANGUAGE, _ENGLISH),
        _code_item("HAS OBS CONTEXT", _OBSERVER_TYPE, _DEVICE),
        observer,
    ]
    for title, text in sections:
        heading, element = _codes_of(title)
        container = _item("CONTAINS", "CONTAINER", heading)
        container.ContinuityOfContent = "SEPARATE"
        statement = _item("CONTAINS", "TEXT", element)
        statement.TextValue = text
        container.ContentSequence = DicomSequence([statement])
        items.append(container)
    ds.ContentSequence = DicomSequence(items)


def _codes_of(title: str) -> tuple[Code, Code]:
    """Return the codes of a section's heading (CID 7001) and of its text (CID 7002)."""
    name = title.strip().rstrip(":").lower()
    name = _OTHER_NAMES.get(name, name)
    known = _headings()
    for candidate in (name, f"{name}s", name.removesuffix("s")):
        if candidate in known:
            return known[candidate]
    return private_code(title, title), Code("DCM", "121071", "Finding")


@cache
def _headings() -> dict[str, tuple[Code, Code]]:
    """Return the codes of the titles that CID 7001 lists, which are LOINC's."""
    found: dict[str, tuple[Code, Code]] = {}
    for row in read_table("sr_headings.csv"):
        if row["scheme"] == "LN" and row["title"].lower() not in found:
            heading = Code("LN", row["code"], row["title"])
            element = Code("DCM", row["element"], row["element_meaning"])
            found[row["title"].lower()] = (
                (heading, element) if row["element"] else (heading, heading)
            )
    return found


def _item(relationship: str, value_type: str, name: Code) -> Dataset:
    item = Dataset()
    item.RelationshipType = relationship
    item.ValueType = value_type
    item.ConceptNameCodeSequence = DicomSequence([_coded(name)])
    return item


def _code_item(relationship: str, name: Code, value: Code) -> Dataset:
    item = _item(relationship, "CODE", name)
    item.ConceptCodeSequence = DicomSequence([_coded(value)])
    return item


def _coded(code: Code) -> Dataset:
    item = Dataset()
    item.CodeValue = code.value
    item.CodingSchemeDesignator = code.scheme
    item.CodeMeaning = code.meaning
    return item
