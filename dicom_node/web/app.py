"""The web application: every room's routes, behind the same guards."""

from __future__ import annotations

from collections.abc import Iterator

from fastapi import APIRouter, FastAPI

from dicom_node import __version__
from dicom_node.inbox import ReportInbox
from dicom_node.web.access import require
from dicom_node.web.api_corrected import make_corrected_router
from dicom_node.web.api_corrections import make_corrections_router
from dicom_node.web.api_health import make_health_router
from dicom_node.web.api_images import make_images_router
from dicom_node.web.api_oidc import make_oidc_router
from dicom_node.web.api_operations import make_operations_router
from dicom_node.web.api_people import make_people_router
from dicom_node.web.api_reports import make_reports_router
from dicom_node.web.api_results import make_results_router
from dicom_node.web.api_studies import make_studies_router
from dicom_node.web.api_timeline import make_timeline_router
from dicom_node.web.dicomweb_routes import DICOMWEB_PATH
from dicom_node.web.dicomweb_routes import make_router as make_dicomweb_router
from dicom_node.web.fhir_routes import make_router as make_fhir_router
from dicom_node.web.gate import AccessFirst, HangUp
from dicom_node.web.guards import BodyLimit, SecurityHeaders
from dicom_node.web.openapi import describe_access, make_openapi_router
from dicom_node.web.pages import make_pages_router, read_static
from dicom_node.web.parts import WebParts
from dicom_node.web.problems import add_problem_handlers
from dicom_node.web.proxies import ClientAddress
from dicom_node.web.viewer import make_viewer_router
from dicom_node.web.witness import Witness

__all__ = ["make_app"]

_LARGE = (f"{DICOMWEB_PATH}/", "/rules/test")
"""Where instances are uploaded; elsewhere a body is a message."""

_SMALL = ("/sign-in", "/sign-out")
_SMALL_BYTES = 1 << 14
"""Strangers send a name and a password, and no more."""


def make_app(parts: WebParts) -> FastAPI:
    """Make the web application.

    Parameters
    ----------
    parts : WebParts
        The node as its routes see it.

    """
    app = FastAPI(
        title="DICOM Grounding Node",
        summary="Report phrases as regions in images. AI - not for diagnostic use.",
        version=__version__,
        # Their pages load scripts from elsewhere.
        docs_url=None,
        redoc_url=None,
        openapi_url=None,
        redirect_slashes=False,
    )
    app.state.parts = parts
    app.state.access = parts.access
    add_problem_handlers(app)
    settings = parts.settings

    def limit_of(path: str) -> int:
        if path.startswith(_LARGE):
            return settings.web.max_upload_bytes
        if path.startswith(_SMALL):
            return _SMALL_BYTES
        return settings.limits.max_message_bytes

    app.add_middleware(Witness, store=parts.store)
    app.add_middleware(BodyLimit, limit_of=limit_of)
    app.add_middleware(AccessFirst, routes=app, access=parts.access)
    app.add_middleware(HangUp)
    app.add_middleware(SecurityHeaders)
    app.add_middleware(ClientAddress, trusted=settings.web.trusted_proxies)
    # Included, every router would be looked through for each request, and every route
    # made a second time for the first.
    app.router.routes += [
        route for router in _routers(parts) for route in router.routes
    ]
    describe_access(app)
    return app


def _routers(parts: WebParts) -> Iterator[APIRouter]:
    yield make_health_router()
    yield make_people_router()
    yield make_oidc_router()
    yield make_studies_router()
    yield make_results_router()
    yield make_timeline_router()
    yield make_images_router()
    yield make_corrections_router()
    yield make_corrected_router()
    yield make_operations_router()
    yield make_reports_router()
    yield make_openapi_router()
    yield make_pages_router(read_static())
    yield make_fhir_router(
        ReportInbox(parts.store, clock=parts.now),
        now=parts.now,
        read_report=parts.store.reports.get,
        counters=parts.counters,
        read_pdf=parts.read_pdf,
    )
    if parts.dicomweb is not None:
        yield make_dicomweb_router(
            parts.dicomweb, viewer=require("viewer"), sender=require("sender")
        )
    viewer_dir = parts.settings.web.viewer_dir
    if viewer_dir is not None:
        yield make_viewer_router(viewer_dir, access=require("viewer"))
