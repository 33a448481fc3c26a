"""The document of the REST API (OpenAPI 3.1), and who may use what in it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from fastapi import APIRouter, Depends, FastAPI, Request
from fastapi.dependencies.models import Dependant
from fastapi.openapi.utils import get_openapi
from fastapi.routing import iter_route_contexts
from starlette.responses import JSONResponse

from dicom_node.web.access import COOKIE, Need, need_of, require

__all__ = ["describe_access", "make_openapi_router", "needs_of", "routes_of"]

_SCHEMES: dict[str, Any] = {
    "session": {"type": "apiKey", "in": "cookie", "name": COOKIE},
    "basic": {"type": "http", "scheme": "basic"},
}

_WORDS: dict[Need, str] = {
    "nobody": "Anybody may ask.",
    "anyone": "Whoever may reach the pages may ask, signed in or not.",
    "monitor": "Needs the role viewer, editor or admin; or an address of "
    "`web.monitoring`.",
    "viewer": "Needs the role viewer, editor or admin.",
    "sender": "Needs the role sender, editor or admin.",
    "editor": "Needs the role editor or admin.",
    "admin": "Needs the role admin.",
}


def make_openapi_router() -> APIRouter:
    """Make the route of the document."""
    router = APIRouter(include_in_schema=False)

    @router.get("/openapi.json", dependencies=[Depends(require("viewer"))])
    def document(request: Request) -> JSONResponse:
        """Return the document."""
        return JSONResponse(request.app.openapi())

    return router


def routes_of(app: FastAPI) -> list[Any]:
    """Return every route, those of included routers too."""
    return list(iter_route_contexts(app.routes))


def needs_of(route: Any) -> list[Need]:
    """Return what a route asks for: exactly one need, if it was not forgotten."""
    dependant = getattr(route, "dependant", None)
    return [] if dependant is None else list(_needs(dependant))


def describe_access(app: FastAPI) -> None:
    """Say in the document who may use each route, and how they sign in."""

    def document() -> dict[str, Any]:
        if app.openapi_schema is None:
            app.openapi_schema = _document(app)
        return app.openapi_schema

    app.openapi = document  # type: ignore[method-assign]


def _document(app: FastAPI) -> dict[str, Any]:
    made = get_openapi(
        title=app.title,
        version=app.version,
        summary=app.summary,
        routes=app.routes,
    )
    made.setdefault("components", {})["securitySchemes"] = _SCHEMES
    for route in routes_of(app):
        if not getattr(route, "include_in_schema", False):
            continue
        for method in route.methods or ():
            said = made["paths"].get(route.path_format, {}).get(method.lower())
            if said is None:
                continue
            (need,) = needs_of(route)
            words = (said.get("description", ""), _WORDS[need])
            said["description"] = "\n\n".join(one for one in words if one)
            is_open = need in {"nobody", "anyone"}
            said["security"] = [] if is_open else [{"session": []}, {"basic": []}]
    return made


def _needs(dependant: Dependant) -> Iterator[Need]:
    for one in dependant.dependencies:
        need = need_of(one.call)
        if need is not None:
            yield need
        yield from _needs(one)
