"""A report that the node keeps, as a DiagnosticReport to read back."""

from __future__ import annotations

import base64
from typing import Any

from dicom_node.fhir.parts import uid_identifier
from dicom_node.records import ReportStatus
from dicom_node.store import StoredReport

__all__ = ["report_resource"]

_STATUS = {
    ReportStatus.PRELIMINARY: "preliminary",
    ReportStatus.FINAL: "final",
    ReportStatus.CORRECTED: "corrected",
    ReportStatus.CANCELLED: "cancelled",
}

_CODE = {
    "coding": [
        {
            "system": "http://loinc.org",
            "code": "18748-4",
            "display": "Diagnostic imaging study",
        }
    ]
}

_ACCESSION = {
    "coding": [
        {"system": "http://terminology.hl7.org/CodeSystem/v2-0203", "code": "ACSN"}
    ]
}


def report_resource(report: StoredReport, *, release: str = "R5") -> dict[str, Any]:
    """Return a report that was handed in, as its sender said it.

    Parameters
    ----------
    report : StoredReport
        By any channel.
    release : {"R4", "R5"}
        FHIR release: the study's element has another name in each.

    """
    resource: dict[str, Any] = {
        "resourceType": "DiagnosticReport",
        "id": str(report.report_id),
        "meta": {"lastUpdated": report.received_at.isoformat()},
        "status": _STATUS[report.status],
        "code": _CODE,
    }
    identifiers: list[dict[str, Any]] = []
    if report.identifier:
        identifiers.append({"value": report.identifier})
    if report.accession_number:
        identifiers.append({"type": _ACCESSION, "value": report.accession_number})
    if identifiers:
        resource["identifier"] = identifiers
    if report.study_instance_uid:
        element = "study" if release == "R5" else "imagingStudy"
        named = {
            "type": "ImagingStudy",
            "identifier": uid_identifier(report.study_instance_uid),
        }
        resource[element] = [named]
    if report.text:
        data = base64.b64encode(report.text.encode()).decode()
        resource["presentedForm"] = [
            {"contentType": "text/plain; charset=utf-8", "data": data}
        ]
    return resource
