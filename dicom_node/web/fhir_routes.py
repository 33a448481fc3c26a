"""FHIR over HTTP: reports in, and what the interface can do."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request
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
from dicom_node.fhir.validation import release_of
from dicom_node.inbox import ReportInbox, ReportOutcome
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
        status_code=202,
        response_class=_FhirResponse,
        openapi_extra=_BODY,
        responses=_ANSWERS,
    )
    async def create_report(
        request: Request, person: Annotated[Person, Depends(require("sender"))]
    ) -> _FhirResponse:
        """Take a report. It is kept when this answers 202, or 200 if it was known."""
        content_type = request.headers.get("content-type", "")
        if content_type.partition(";")[0].strip().lower() not in _JSON:
            count("refused")
            text = f"the body must be {FHIR_JSON}"
            return _FhirResponse(operation_outcome(text, code="not-supported"), 415)
        data = await request.body()

        def keep() -> list[ReportOutcome]:
            reports = read_reports(
                data,
                received_at=now(),
                sender=person.name or "",
                release=release_of(content_type),
                read_pdf=read_pdf,
            )
            return [inbox.accept(one).outcome for one in reports]

        try:
            outcomes = await run_in_threadpool(keep)
        except (ReportError, StoreError) as error:
            outcome, status, code = _refusal(error)
            count(outcome)
            return _FhirResponse(operation_outcome(error, code=code), status)
        count("accepted")
        is_known = all(one is ReportOutcome.DUPLICATE for one in outcomes)
        return _FhirResponse(_accepted(outcomes), 200 if is_known else 202)

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


def _accepted(outcomes: list[ReportOutcome]) -> dict[str, Any]:
    return {
        "resourceType": "OperationOutcome",
        "issue": [
            {
                "severity": "information",
                "code": "informational",
                "diagnostics": f"report {number}: {outcome.value}",
            }
            for number, outcome in enumerate(outcomes, start=1)
        ],
    }
