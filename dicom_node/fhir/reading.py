"""From a FHIR R4 or R5 DiagnosticReport to reports."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from dicom_node.errors import ReportError, ReportRefusedError
from dicom_node.fhir.markup import text_of_html, text_of_xhtml
from dicom_node.fhir.validation import Resource, validated
from dicom_node.records import IncomingReport, ReportChannel, ReportStatus
from dicom_node.reports.text import decode_report

__all__ = ["read_reports"]

_STATUS = {
    "registered": ReportStatus.PRELIMINARY,
    "partial": ReportStatus.PRELIMINARY,
    "preliminary": ReportStatus.PRELIMINARY,
    "modified": ReportStatus.PRELIMINARY,
    "unknown": ReportStatus.PRELIMINARY,
    "final": ReportStatus.FINAL,
    "amended": ReportStatus.CORRECTED,
    "corrected": ReportStatus.CORRECTED,
    "appended": ReportStatus.CORRECTED,
    "cancelled": ReportStatus.CANCELLED,
    "entered-in-error": ReportStatus.CANCELLED,
}
"""DiagnosticReport.status of R4 and R5; ``modified`` is said of partial reports."""

_MAX_IDENTIFIERS = 20
"""Of one patient."""

_DICOM_UID = "urn:dicom:uid"
_FORM = "DiagnosticReport.presentedForm"
_PLAIN = "text/plain"
_HTML = frozenset({"text/html", "application/xhtml+xml"})


@dataclass(frozen=True)
class _Report:
    """A DiagnosticReport and the resources that came with it, by reference."""

    resource: Resource
    others: dict[str, Resource]

    def resolved(self, *names: str) -> Iterator[tuple[Resource, Resource]]:
        """Yield each reference of the elements and the resource behind it, or {}."""
        for name in names:
            value = self.resource.get(name) or []
            for reference in value if isinstance(value, list) else [value]:
                key = str(reference.get("reference", ""))
                yield reference, self.others.get(key, {})


def read_reports(
    data: bytes,
    *,
    received_at: datetime,
    sender: str,
    release: str | None = None,
    read_pdf: Callable[[bytes], str] | None = None,
) -> tuple[IncomingReport, ...]:
    """Read a DiagnosticReport, or a Bundle that holds some.

    Parameters
    ----------
    data : bytes
        JSON.
    received_at : datetime
        When.
    sender : str
        Who sends it.
    release : {"R4", "R5"}, optional
        FHIR release that the sender names.
    read_pdf : callable, optional
        Returns the text of a PDF, or raises ReportError; asked when nothing else
        of a report is text.

    Returns
    -------
    tuple of IncomingReport
        One for each report and study that it names. The text is that of
        ``presentedForm`` (plain, else HTML), else of ``text.div``, with
        ``conclusion`` and the texts of ``conclusionCode``.

    Raises
    ------
    ReportRefusedError
        It is not valid, names no study, or has no text that can be read. ``code`` is
        of the value set issue-type, ``at`` the element.

    """
    resource = validated(data, kinds=("DiagnosticReport", "Bundle"), release=release)
    found = list(_reports_in(resource))
    if not found:
        msg = "the bundle holds no DiagnosticReport"
        raise ReportRefusedError(msg, code="required", at="Bundle.entry")
    return tuple(
        report
        for one in found
        for report in _incoming(
            one, received_at=received_at, sender=sender, read_pdf=read_pdf
        )
    )


def _reports_in(resource: Resource) -> Iterator[_Report]:
    entries = (
        [({}, resource)]
        if resource["resourceType"] != "Bundle"
        else [
            (one, one["resource"])
            for one in resource.get("entry") or ()
            if one.get("resource")
        ]
    )
    others: dict[str, Resource] = {}
    for entry, one in entries:
        method = (entry.get("request") or {}).get("method", "POST")
        if method != "POST":
            msg = "only entries with the request POST are taken"
            raise ReportRefusedError(
                msg, code="not-supported", at="Bundle.entry.request.method"
            )
        if "fullUrl" in entry:
            others[entry["fullUrl"]] = one
        if "id" in one:
            others[f"{one['resourceType']}/{one['id']}"] = one
    for _, one in entries:
        if one["resourceType"] == "DiagnosticReport":
            inside = {
                f"#{part['id']}": part
                for part in one.get("contained") or ()
                if "id" in part
            }
            yield _Report(one, {**others, **inside})


def _incoming(
    report: _Report,
    *,
    received_at: datetime,
    sender: str,
    read_pdf: Callable[[bytes], str] | None,
) -> Iterator[IncomingReport]:
    resource = report.resource
    status = _STATUS.get(resource["status"])
    if status is None:
        msg = "the status is not of the value set diagnostic-report-status"
        raise ReportRefusedError(msg, code="code-invalid", at="DiagnosticReport.status")
    studies = list(dict.fromkeys(_study_instance_uids(report)))
    accession = next(_accession_numbers(report), None)
    if not studies and accession is None:
        msg = "the report names neither a study nor an accession number"
        raise ReportRefusedError(msg, code="required", at="DiagnosticReport.study")
    try:
        text = _text(resource, read_pdf)
    except ReportRefusedError:
        raise
    except ReportError as error:
        raise ReportRefusedError(str(error), code="value", at=_FORM) from error
    if not text.strip() and status is not ReportStatus.CANCELLED:
        msg = "the report has no text"
        raise ReportRefusedError(msg, code="required", at="DiagnosticReport.text")
    identifier = _identifier(resource)
    patient_ids = _patient_ids(report)
    for number, study in enumerate(studies or [None], start=1):
        yield IncomingReport(
            text=text,
            channel=ReportChannel.FHIR,
            status=status,
            # The same report of another study must not replace this one.
            identifier=identifier
            if number == 1 or not identifier
            else f"{identifier}#{number}",
            sender=sender,
            received_at=received_at,
            study_instance_uid=study,
            accession_number=accession if len(studies) < 2 else None,
            patient_id=next(iter(patient_ids), None),
            other_patient_ids=patient_ids[1:],
        )


def _study_instance_uids(report: _Report) -> Iterator[str]:
    for reference, study in report.resolved("study", "imagingStudy"):
        for one in (reference.get("identifier"), *(study.get("identifier") or ())):
            value = str((one or {}).get("value", ""))
            system = (one or {}).get("system")
            uid = value.removeprefix("urn:oid:")
            if system == _DICOM_UID or uid != value:
                yield uid
        target = str(reference.get("reference", ""))
        if target.startswith("urn:oid:"):
            yield target.removeprefix("urn:oid:")


def _accession_numbers(report: _Report) -> Iterator[str]:
    """Yield accession numbers, those that say what they are (v2-0203 ACSN) first."""
    orders = list(report.resolved("basedOn"))
    studies = list(report.resolved("study", "imagingStudy"))
    named = [*(report.resource.get("identifier") or ())]
    for reference, resource in (*orders, *studies):
        named += [reference.get("identifier") or {}]
        named += resource.get("identifier") or ()
    for one in named:
        if "ACSN" in _types(one) and one.get("value"):
            yield one["value"]
    for reference, resource in orders:
        for one in (reference.get("identifier") or {}, *resource.get("identifier", ())):
            if one.get("value") and one.get("system") != _DICOM_UID:
                yield one["value"]


def _patient_ids(report: _Report) -> tuple[str, ...]:
    """Return the identifiers of the subject, the medical record number first."""
    named: list[dict[str, Any]] = []
    for reference, patient in report.resolved("subject"):
        named += [reference.get("identifier") or {}, *(patient.get("identifier") or ())]
    values = [one for one in named if one.get("value")]
    values.sort(key=lambda one: "MR" not in _types(one))
    return tuple(dict.fromkeys(str(one["value"]) for one in values))[:_MAX_IDENTIFIERS]


def _identifier(resource: Resource) -> str:
    for one in resource.get("identifier") or ():
        if one.get("value") and "ACSN" not in _types(one):
            return str(one["value"])
    return str(resource.get("id", ""))


def _types(identifier: dict[str, Any]) -> set[str]:
    codings = (identifier.get("type") or {}).get("coding") or ()
    return {str(one.get("code", "")).upper() for one in codings}


def _text(resource: Resource, read_pdf: Callable[[bytes], str] | None) -> str:
    forms = resource.get("presentedForm") or []
    for wanted in (frozenset({_PLAIN}), _HTML):
        for form in forms:
            kind = str(form.get("contentType", "")).partition(";")[0].strip().lower()
            if kind in wanted and "data" in form:
                text = decode_report(_attached(form))
                return text_of_html(text) if wanted is _HTML else text
    narrative = resource.get("text") or {}
    parts = []
    if narrative.get("div") and narrative.get("status") != "empty":
        parts.append(text_of_xhtml(narrative["div"]))
    conclusion = _conclusion(resource)
    if conclusion and not all(line in "".join(parts) for line in conclusion):
        parts.append("\n".join(("IMPRESSION:", *conclusion)))
    text = "\n\n".join(filter(None, parts))
    if not text and forms:
        return _document(forms, read_pdf)
    return text


def _document(
    forms: list[dict[str, Any]], read_pdf: Callable[[bytes], str] | None
) -> str:
    for form in forms:
        kind = str(form.get("contentType", "")).partition(";")[0].strip().lower()
        if kind == "application/pdf" and "data" in form and read_pdf is not None:
            return read_pdf(_attached(form))
    msg = "the report's form is a document of another kind than text, HTML and PDF"
    raise ReportRefusedError(msg, code="not-supported", at=_FORM)


def _conclusion(resource: Resource) -> list[str]:
    lines = [str(resource.get("conclusion", "")).strip()]
    for one in resource.get("conclusionCode") or ():
        display = next(
            (c["display"] for c in one.get("coding") or () if c.get("display")), ""
        )
        lines.append(str(one.get("text") or display).strip())
    return [line for line in dict.fromkeys(lines) if line]


def _attached(form: dict[str, Any]) -> bytes:
    try:
        return base64.b64decode("".join(form["data"].split()), validate=True)
    except (binascii.Error, ValueError) as error:
        msg = "the report's form is not base64"
        raise ReportRefusedError(msg, code="value", at=_FORM) from error
