"""The two routes of signing in at an OpenID provider."""

from __future__ import annotations

import html
from typing import Annotated

from fastapi import APIRouter, Depends, HTTPException, Query, Request, Response
from starlette.responses import HTMLResponse, RedirectResponse

from dicom_node.web.access import address_of, allow_anyone
from dicom_node.web.api_people import set_session
from dicom_node.web.parts import Parts, WebParts
from dicom_node.web.problems import PROBLEMS

__all__ = ["make_oidc_router"]

_COOKIE = "dicom-node-journey"
_PATH = "/sign-in/oidc"


def make_oidc_router() -> APIRouter:
    """Make the routes by which people sign in at an OpenID provider."""
    router = APIRouter(
        tags=["people"], responses=PROBLEMS, dependencies=[Depends(allow_anyone())]
    )

    @router.get(_PATH, status_code=303, response_class=RedirectResponse)
    def begin(
        parts: Parts,
        request: Request,
        next: Annotated[str, Query(max_length=256)] = "/",
    ) -> Response:
        """Send the browser to the provider."""
        if parts.provider is None:
            raise HTTPException(404, "people sign in with a password of this node")
        journey = parts.provider.begin(
            redirect_uri=_redirect_uri(parts, request), next_path=next
        )
        response = RedirectResponse(journey.url, 303)
        # Lax: the browser comes back from the provider's site with it.
        response.set_cookie(
            _COOKIE,
            journey.cookie,
            max_age=600,
            path=_PATH,
            secure=parts.settings.web.is_https,
            httponly=True,
            samesite="lax",
        )
        return response

    # With HTMLResponse as its class the document would call problems HTML, too.
    @router.get(
        f"{_PATH}/callback",
        response_class=Response,
        responses={200: {"content": {"text/html": {}}}},
    )
    def finish(parts: Parts, request: Request) -> Response:
        """Take whom the provider sends back."""
        if parts.provider is None:
            raise HTTPException(404, "people sign in with a password of this node")
        session, path = parts.provider.finish(
            request.query_params,
            cookie=request.cookies.get(_COOKIE, ""),
            redirect_uri=_redirect_uri(parts, request),
        )
        parts.store.users.record_sign_in(
            session.name, address=address_of(request), reason=None
        )
        # A redirect would still count as coming from the provider's site, and the
        # browser would keep the session's strict cookie back.
        target = html.escape(path, quote=True)
        response = HTMLResponse(
            "<!doctype html><title>Signed in</title>"
            f'<meta http-equiv="refresh" content="0; url={target}">'
            f'<a href="{target}">Go on</a>'
        )
        set_session(response, parts.access.sessions.of_provider(session), parts)
        response.delete_cookie(_COOKIE, path=_PATH)
        return response

    return router


def _redirect_uri(parts: WebParts, request: Request) -> str:
    scheme = "https" if parts.settings.web.is_https else request.url.scheme
    return f"{scheme}://{request.headers.get('host', '')}{_PATH}/callback"
