"""FHIR over HTTP: reports in and back, and what the interface can do."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Path, Request
from starlette.concurrency import run_in_threadpool
from starlette.responses import JSONResponse

from dicom_node.audit import Counters
from dicom_node.errors import (
    NodeError,
    PatientMismatchError,
    ReportError,
    ReportRefusedError,
    StoreError,
)
from dicom_node.fhir import operation_outcome, read_reports
from dicom_node.fhir.capability import capability_statement
from dicom_node.fhir.received import report_resource
from dicom_node.fhir.validation import release_of
from dicom_node.inbox import ReportInbox, ReportOutcome, ReportReceipt
from dicom_node.store import StoredReport
from dicom_node.web.access import Person, allow_anyone, require
from dicom_node.web.problems import FHIR_JSON

__all__ = ["make_router"]

_JSON = frozenset({FHIR_JSON, "application/json"})


class _FhirResponse(JSONResponse):
    media_type = FHIR_JSON


_BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "description": "A DiagnosticReport of FHIR R4 or R5, or a Bundle that holds "
        "some with what they refer to.",
        "content": {FHIR_JSON: {"schema": {"type": "object"}}},
    }
}

_ANSWERS: dict[int | str, dict[str, Any]] = {
    status: {"description": f"{description} An OperationOutcome."}
    for status, description in {
        200: "The report was known.",
        400: "The body is no such resource.",
        409: "The study is another patient's.",
        415: "The body is not FHIR in JSON.",
        422: "The report cannot be used.",
        503: "The node cannot keep it now.",
    }.items()
}


def make_router(
    inbox: ReportInbox,
    *,
    now: Callable[[], datetime],
    read_report: Callable[[int], StoredReport | None],
    counters: Counters | None = None,
    read_pdf: Callable[[bytes], str] | None = None,
) -> APIRouter:
    """Make the routes below ``/fhir``.

    Parameters
    ----------
    inbox : ReportInbox
        Keeps the reports.
    now : callable
        Returns the moment.
    read_report : callable
        Returns a report by its number, None when there is none.
    counters : Counters, optional
        What ``/metrics`` tells.
    read_pdf : callable, optional
        Returns the text of a PDF, or raises ReportError.

    """
    router = APIRouter(prefix="/fhir", tags=["fhir"])

    def count(outcome: str) -> None:
        if counters is not None:
            counters.report_messages.labels("fhir", outcome).inc()

    @router.post(
        "/DiagnosticReport",
        status_code=201,
        response_class=_FhirResponse,
        openapi_extra=_BODY,
        responses=_ANSWERS,
    )
    async def create_report(
        request: Request, person: Annotated[Person, Depends(require("sender"))]
    ) -> _FhirResponse:
        """Take a report. It is kept when this answers 201, or 200 if it was known."""
        content_type = request.headers.get("content-type", "")
        if content_type.partition(";")[0].strip().lower() not in _JSON:
            count("refused")
            text = f"the body must be {FHIR_JSON}"
            return _FhirResponse(operation_outcome(text, code="not-supported"), 415)
        data = await request.body()

        def keep() -> tuple[ReportReceipt, ...]:
            reports = read_reports(
                data,
                received_at=now(),
                sender=person.name or "",
                release=release_of(content_type),
                read_pdf=read_pdf,
            )
            return inbox.accept_all(reports)

        try:
            receipts = await run_in_threadpool(keep)
        except (ReportError, StoreError) as error:
            outcome, status, code = _refusal(error)
            count(outcome)
            return _FhirResponse(operation_outcome(error, code=code), status)
        count("accepted")
        is_known = all(one.outcome is ReportOutcome.DUPLICATE for one in receipts)
        return _FhirResponse(
            _accepted(receipts),
            200 if is_known else 201,
            headers={"Location": f"/fhir/{_name(receipts[0])}"},
        )

    @router.get(
        "/DiagnosticReport/{report_id}",
        response_class=_FhirResponse,
        dependencies=[Depends(require("viewer"))],
        responses={404: {"description": "There is no such report."}},
    )
    def report_by_id(
        request: Request, report_id: Annotated[str, Path(pattern="^[1-9][0-9]{0,8}$")]
    ) -> _FhirResponse:
        """Return a report that was handed in, in FHIR R5 or R4."""
        try:
            release = release_of(request.headers.get("accept", ""))
        except ReportRefusedError as error:
            return _FhirResponse(operation_outcome(error), 406)
        found = read_report(int(report_id))
        if found is None:
            text = "there is no such report"
            return _FhirResponse(operation_outcome(text, code="not-found"), 404)
        return _FhirResponse(report_resource(found, release=release or "R5"))

    @router.get(
        "/metadata",
        response_class=_FhirResponse,
        dependencies=[Depends(allow_anyone())],
    )
    def capabilities(request: Request) -> _FhirResponse:
        """Return the CapabilityStatement, for the FHIR release that is asked for."""
        try:
            release = release_of(request.headers.get("accept", ""))
        except ReportRefusedError as error:
            return _FhirResponse(operation_outcome(error), 406)
        return _FhirResponse(capability_statement(release or "R5"))

    return router


def _refusal(error: NodeError) -> tuple[str, int, str]:
    """Return outcome, HTTP status and kind of issue."""
    if isinstance(error, PatientMismatchError):
        return "patient_mismatch", 409, "conflict"
    if isinstance(error, StoreError):
        return "unavailable", 503, "transient"
    is_broken = error.facts.get("code") in {"structure", "not-supported"}
    return "refused", 400 if is_broken else 422, "invalid"


def _name(receipt: ReportReceipt) -> str:
    return f"DiagnosticReport/{receipt.report_id}"


def _accepted(receipts: Sequence[ReportReceipt]) -> dict[str, Any]:
    return {
        "resourceType": "OperationOutcome",
        "issue": [
            {
                "severity": "information",
                "code": "informational",
                "diagnostics": f"report {number}: {one.outcome.value}, {_name(one)}",
            }
            for number, one in enumerate(receipts, start=1)
        ],
    }
