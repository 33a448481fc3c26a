"""Report documents for tests: valid Basic Text SR, and text around them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pydicom.dataset import Dataset

from dicom_node.identity import derive_uid
from dicom_node.records import (
    IncomingReport,
    ReportChannel,
    ReportStatus,
    StoredInstance,
)
from dicom_node.reports.document import make_report_document
from tests.builders.stores import NOON

__all__ = [
    "incoming",
    "make_basic_text_sr",
    "make_content_item",
    "store_document",
]


def incoming(
    text: str = "FINDINGS: Hepatomegaly.",
    status: ReportStatus = ReportStatus.FINAL,
    **changes: Any,
) -> IncomingReport:
    """Make a report of order A1 as an HL7 sender hands it over."""
    values: dict[str, Any] = {
        "text": text,
        "channel": ReportChannel.HL7,
        "status": status,
        "identifier": "filler-1",
        "sender": "RIS",
        "received_at": NOON,
        "accession_number": None if "study_instance_uid" in changes else "A1",
    }
    return IncomingReport(**(values | changes))


def make_basic_text_sr(
    sections: Mapping[str, str] | Sequence[tuple[str, str]],
    *,
    study_uid: str = "1.2.826.0.1.3680043.10.511.1",
    patient_id: str = "TEST",
    patient_name: str = "Test^Patient",
    study_date: str = "20240102",
    study_time: str = "030405",
) -> Dataset:
    """Make a Basic Text SR of a report, valid under dciodvfy."""
    image = Dataset()
    image.PatientID = patient_id
    image.PatientName = patient_name
    image.StudyInstanceUID = study_uid
    image.StudyDate = study_date
    image.StudyTime = study_time
    image.StudyID = "1"
    pairs = list(sections.items()) if isinstance(sections, Mapping) else list(sections)
    return make_report_document(pairs, template=image)


def make_content_item(
    value_type: str,
    concept: tuple[str, str, str],
    *,
    relationship: str = "CONTAINS",
    text: str | None = None,
    code: tuple[str, str, str] | None = None,
    number: tuple[str, str] | None = None,
    children: Sequence[Dataset] = (),
) -> Dataset:
    """Make a content item; codes are ``(scheme, value, meaning)``."""
    item = Dataset()
    item.RelationshipType = relationship
    item.ValueType = value_type
    item.ConceptNameCodeSequence = [_coded(*concept)]
    if value_type == "CONTAINER":
        item.ContinuityOfContent = "SEPARATE"
    if text is not None:
        item.TextValue = text
    if code is not None:
        item.ConceptCodeSequence = [_coded(*code)]
    if number is not None:
        value = Dataset()
        value.NumericValue = number[0]
        value.MeasurementUnitsCodeSequence = [_coded("UCUM", number[1], number[1])]
        item.MeasuredValueSequence = [value]
    if children:
        item.ContentSequence = list(children)
    return item


def store_document(ds: Dataset, folder: Path) -> StoredInstance:
    """Write a document and return it as the workflow sees it."""
    path = folder / f"{derive_uid(str(ds.SOPInstanceUID))}.dcm"
    ds.save_as(path, enforce_file_format=True)
    return StoredInstance(
        sop_instance_uid=ds.SOPInstanceUID,
        sop_class_uid=ds.SOPClassUID,
        transfer_syntax_uid=ds.file_meta.TransferSyntaxUID,
        series_instance_uid=ds.SeriesInstanceUID,
        path=path,
        sha256="",
    )


def _coded(scheme: str, value: str, meaning: str) -> Dataset:
    item = Dataset()
    item.CodeValue = value
    item.CodingSchemeDesignator = scheme
    item.CodeMeaning = meaning
    return item
