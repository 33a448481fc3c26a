"""Errors as answers: one table from the node's errors to HTTP statuses."""

from __future__ import annotations

from typing import Any

import structlog
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse, Response
from starlette.types import Scope

from dicom_node.errors import (
    AccessError,
    CannotUnderstandError,
    CorrectionError,
    ImagingError,
    NodeError,
    OutOfResourcesError,
    PatientMismatchError,
    ReceiveError,
    ReportError,
    RetrieveError,
    RuleError,
    SettingsError,
    StoreError,
)
from dicom_node.fhir import operation_outcome
from dicom_node.web.answers import Problem

__all__ = ["FHIR_JSON", "PROBLEMS", "add_problem_handlers", "problem", "refusal"]

FHIR_JSON = "application/fhir+json"

log = structlog.get_logger(__name__)

PROBLEMS: dict[int | str, dict[str, Any]] = {
    status: {"model": Problem, "description": description}
    for status, description in {
        400: "The request cannot be understood.",
        401: "Sign in first.",
        403: "Who asks may not do that.",
        404: "There is no such thing.",
        409: "It does not fit what is there.",
        410: "It was deleted.",
        413: "The body is too large.",
        422: "A value is not allowed.",
        429: "Too many attempts.",
        503: "The node cannot answer now.",
    }.items()
}
"""The answers that every route may give, for the document."""

_STATUS: tuple[tuple[type[NodeError], int], ...] = (
    (PatientMismatchError, 409),
    (CorrectionError, 422),
    (CannotUnderstandError, 400),
    (OutOfResourcesError, 503),
    (ReceiveError, 400),
    (ReportError, 422),
    (RuleError, 422),
    (SettingsError, 422),
    (ImagingError, 422),
    (RetrieveError, 502),
    (StoreError, 503),
    (NodeError, 500),
)
"""The first that fits counts."""


_ISSUES: dict[int, str] = {
    401: "login",
    403: "forbidden",
    404: "not-found",
    405: "not-supported",
    409: "conflict",
    410: "deleted",
    413: "too-long",
    429: "throttled",
    500: "exception",
    503: "transient",
}
"""Kind of the issue (FHIR value set ``issue-type``) by HTTP status, else invalid."""


def problem(
    status: int, detail: str, *, scope: Scope, headers: dict[str, str] | None = None
) -> JSONResponse:
    """Return an answer that says what is wrong, below ``/fhir`` in FHIR's own form.

    Parameters
    ----------
    status : int
        HTTP status.
    detail : str
        What is wrong; it quotes nothing of the request.
    scope : Scope
        The request's: where it was sent.
    headers : dict of str to str, optional
        Sent along.

    """
    if f"{scope['path']}/".startswith("/fhir/"):
        issue = operation_outcome(detail, code=_ISSUES.get(status, "invalid"))
        return JSONResponse(
            issue, status_code=status, headers=headers, media_type=FHIR_JSON
        )
    return JSONResponse({"detail": detail}, status_code=status, headers=headers)


def add_problem_handlers(app: FastAPI) -> None:
    """Answer every error in one form, and quote nothing that was sent."""

    @app.exception_handler(HTTPException)
    async def _http(request: Request, error: HTTPException) -> Response:
        headers = dict(error.headers or {})
        return problem(
            error.status_code, str(error.detail), scope=request.scope, headers=headers
        )

    @app.exception_handler(RequestValidationError)
    async def _invalid(request: Request, error: RequestValidationError) -> Response:
        said = "; ".join(
            f"{'.'.join(str(part) for part in one['loc'][1:])}: {one['msg']}"
            for one in error.errors()[:5]
        )
        return problem(422, said, scope=request.scope)

    @app.exception_handler(NodeError)
    async def _node(request: Request, error: NodeError) -> Response:
        if isinstance(error, AccessError):
            return refusal(request, error)
        status = next(number for kind, number in _STATUS if isinstance(error, kind))
        if status >= 500:
            log.warning(
                "request_failed",
                route=getattr(request.scope.get("route"), "path", ""),
                error=type(error).__name__,
                reason=str(error),
            )
        return problem(status, str(error), scope=request.scope)


def refusal(request: Request, error: AccessError) -> Response:
    """Return the answer to who may not."""
    status = int(str(error.facts.get("status", 403)))
    headers = {}
    if status == 401:
        # A browser would open a window of its own for Basic; its page has a form.
        is_browser = "sec-fetch-mode" in request.headers
        headers["WWW-Authenticate"] = (
            'Session realm="dicom-node"' if is_browser else 'Basic realm="dicom-node"'
        )
    if "retry_after_s" in error.facts:
        headers["Retry-After"] = str(error.facts["retry_after_s"])
    return problem(status, str(error), scope=request.scope, headers=headers)
