"""The pages: /health for orchestrators, /metrics for Prometheus."""

from __future__ import annotations

from collections.abc import Callable

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from dicom_node import __version__
from dicom_node.web.health import HealthReport

__all__ = ["make_app"]

_HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'self'",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}


def make_app(
    *, examine: Callable[[], HealthReport], registry: CollectorRegistry
) -> Starlette:
    """Make the web application.

    Parameters
    ----------
    examine : callable
        Looks at the node's health.
    registry : prometheus_client.CollectorRegistry
        What ``/metrics`` tells.

    """

    async def live(_request: Request) -> Response:
        return JSONResponse({"status": "live"}, headers=_HEADERS)

    async def ready(_request: Request) -> Response:
        report = await run_in_threadpool(examine)
        return JSONResponse(
            {"ready": report.is_ready, "reasons": report.problems},
            status_code=200 if report.is_ready else 503,
            headers=_HEADERS,
        )

    async def health(_request: Request) -> Response:
        report = await run_in_threadpool(examine)
        return JSONResponse(
            {
                "status": "ready" if report.is_ready else "not ready",
                "version": __version__,
                "checks": {
                    name: report.problems.get(name, "ok") for name in report.checks
                },
            },
            status_code=200 if report.is_ready else 503,
            headers=_HEADERS,
        )

    async def metrics(_request: Request) -> Response:
        text = await run_in_threadpool(generate_latest, registry)
        return Response(text, headers={**_HEADERS, "Content-Type": CONTENT_TYPE_LATEST})

    return Starlette(
        routes=[
            Route("/health/live", live),
            Route("/health/ready", ready),
            Route("/health", health),
            Route("/metrics", metrics),
        ]
    )
