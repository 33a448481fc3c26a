"""Errors as answers: one table from the node's errors to HTTP statuses."""

from __future__ import annotations

from typing import Any

import structlog
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse, Response

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
from dicom_node.web.answers import Problem

__all__ = ["PROBLEMS", "add_problem_handlers", "problem"]

log = structlog.get_logger(__name__)

PROBLEMS: dict[int | str, dict[str, Any]] = {
    status: {"model": Problem, "description": description}
    for status, description in {
        400: "The request cannot be understood.",
        401: "Sign in first.",
        403: "Who asks may not do that.",
        404: "There is no such thing.",
        409: "It does not fit what is there.",
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


def problem(
    status: int, detail: str, *, headers: dict[str, str] | None = None
) -> JSONResponse:
    """Return an answer that says what is wrong."""
    return JSONResponse({"detail": detail}, status_code=status, headers=headers)


def add_problem_handlers(app: FastAPI) -> None:
    """Answer every error in one form, and quote nothing that was sent."""

    @app.exception_handler(HTTPException)
    async def _http(_request: Request, error: HTTPException) -> Response:
        headers = dict(error.headers or {})
        return problem(error.status_code, str(error.detail), headers=headers)

    @app.exception_handler(RequestValidationError)
    async def _invalid(_request: Request, error: RequestValidationError) -> Response:
        said = "; ".join(
            f"{'.'.join(str(part) for part in one['loc'][1:])}: {one['msg']}"
            for one in error.errors()[:5]
        )
        return problem(422, said)

    @app.exception_handler(NodeError)
    async def _node(request: Request, error: NodeError) -> Response:
        if isinstance(error, AccessError):
            return _access(request, error)
        status = next(number for kind, number in _STATUS if isinstance(error, kind))
        if status >= 500:
            log.warning(
                "request_failed",
                route=getattr(request.scope.get("route"), "path", ""),
                error=type(error).__name__,
                reason=str(error),
            )
        return problem(status, str(error))


def _access(request: Request, error: AccessError) -> Response:
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
    return problem(status, str(error), headers=headers)
