"""/health for orchestrators, /metrics for Prometheus."""

from __future__ import annotations

from typing import Literal

from fastapi import APIRouter, Depends, Response
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from pydantic import BaseModel

from dicom_node import __version__
from dicom_node.web.access import allow_anyone, allow_monitoring
from dicom_node.web.parts import Parts
from dicom_node.web.problems import PROBLEMS

__all__ = ["make_health_router"]


class Live(BaseModel):
    """The process answers."""

    status: Literal["live"] = "live"


class Ready(BaseModel):
    """Whether the node can do its work, and what keeps it from that, by check."""

    ready: bool
    reasons: dict[str, str]


class Health(BaseModel):
    """Every check: ``ok``, or what is wrong, or will be unless somebody sees to it."""

    status: Literal["ready", "not ready"]
    version: str
    checks: dict[str, str]


def make_health_router() -> APIRouter:
    """Make the routes that tell how the node is."""
    router = APIRouter(tags=["health"])
    monitor = Depends(allow_monitoring())
    unready = {**PROBLEMS, 503: {"description": "Something is wrong."}}

    @router.get(
        "/health/live", dependencies=[Depends(allow_anyone(even_strangers=True))]
    )
    async def live() -> Live:
        """Answer while the process lives, whatever is wrong."""
        return Live()

    @router.get("/health/ready", dependencies=[monitor], responses=unready)
    def ready(parts: Parts, response: Response) -> Ready:
        """Say whether the node can do its work: 200 or 503."""
        report = parts.examine()
        response.status_code = 200 if report.is_ready else 503
        return Ready(ready=report.is_ready, reasons=report.problems)

    @router.get("/health", dependencies=[monitor], responses=unready)
    def health(parts: Parts, response: Response) -> Health:
        """Say what each check found."""
        report = parts.examine()
        response.status_code = 200 if report.is_ready else 503
        return Health(
            status="ready" if report.is_ready else "not ready",
            version=__version__,
            checks={
                **dict.fromkeys(report.checks, "ok"),
                **report.warnings,
                **report.problems,
            },
        )

    @router.get(
        "/metrics",
        dependencies=[monitor],
        response_class=Response,
        responses={**PROBLEMS, 200: {"content": {"text/plain": {}}}},
    )
    def metrics(parts: Parts) -> Response:
        """Return the node's numbers in Prometheus' text format."""
        return Response(
            generate_latest(parts.registry),
            headers={"Content-Type": CONTENT_TYPE_LATEST},
        )

    return router
