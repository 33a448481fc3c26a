"""Where a phrase of the report comes from: its document, its channel, its status."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from highdicom import sr
from highdicom.sr import RelationshipTypeValues as Relationship

if TYPE_CHECKING:
    from dicom_node.records import Report

__all__ = ["source_items"]

_SOURCE = sr.CodedConcept("260753009", "SCT", "Source")
_SOURCE_REPORT = sr.CodedConcept("128225", "DCM", "Source report")

_KINDS = {
    "sr": "Structured report",
    "pdf": "PDF document",
    "cda": "CDA document",
    "hl7": "HL7 report",
    "fhir": "FHIR report",
    "rest": "Report entered at this node",
    "tag": "Reason for the study, as the images say it",
    "file": "Text file",
}
"""By what stands before the colon of `Report.source`."""


def source_items(report: Report) -> Iterator[sr.ContentItem]:
    """Yield what is said of a phrase's source: its kind and status, its document.

    Parameters
    ----------
    report : Report
        The report that the phrase is taken from.

    """
    kind = _KINDS.get(report.source.partition(":")[0], "Report")
    status = "" if report.status is None else f", {report.status.value}"
    yield sr.TextContentItem(_SOURCE, f"{kind}{status}", Relationship.HAS_PROPERTIES)
    if report.is_document:
        yield sr.CompositeContentItem(
            _SOURCE_REPORT,
            str(report.sop_class_uid),
            str(report.sop_instance_uid),
            Relationship.INFERRED_FROM,
        )
