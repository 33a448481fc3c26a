"""REST: who asks, and how they sign in and out."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Request, Response
from pydantic import BaseModel, ConfigDict, Field
from starlette.concurrency import run_in_threadpool

from dicom_node import __version__
from dicom_node.web.access import COOKIE, Anyone, address_of, allow_anyone
from dicom_node.web.answers import May, Me, SignIn
from dicom_node.web.parts import Parts, WebParts
from dicom_node.web.problems import PROBLEMS

__all__ = ["make_people_router", "set_session"]


class _Credentials(BaseModel):
    model_config = ConfigDict(extra="forbid")

    name: Annotated[str, Field(max_length=64)]
    password: Annotated[str, Field(max_length=1024)]


def make_people_router() -> APIRouter:
    """Make the routes by which people sign in and out."""
    router = APIRouter(tags=["people"], responses=PROBLEMS)
    anyone = Depends(allow_anyone())

    @router.get("/me")
    def me(parts: Parts, person: Anyone) -> Me:
        """Say who asks, what they may do and how people sign in."""
        access = parts.access
        return Me(
            name=person.name,
            role=person.role,
            may=May(
                see=person.may("viewer"),
                correct=person.may("editor"),
                operate=person.may("admin"),
                administer=person.may("admin"),
            ),
            sign_in=SignIn(
                needed=access.is_configured and person.role is None,
                password=access.has_passwords,
                oidc=access.has_provider,
            ),
            version=__version__,
        )

    @router.post("/sign-in", status_code=204, dependencies=[anyone])
    async def sign_in(
        parts: Parts, request: Request, credentials: _Credentials
    ) -> Response:
        """Sign in with a password of this node; the answer sets a cookie."""
        _, cookie = await run_in_threadpool(
            parts.access.sign_in,
            credentials.name,
            credentials.password,
            address=address_of(request),
            is_told=True,
        )
        response = Response(status_code=204)
        set_session(response, cookie, parts)
        return response

    @router.post("/sign-out", status_code=204, dependencies=[anyone])
    def sign_out(parts: Parts, request: Request) -> Response:
        """End the session, wherever its cookie is."""
        access, cookie = parts.access, request.cookies.get(COOKIE, "")
        known = access.sessions.read(cookie, with_provider=access.has_provider)
        access.sessions.end(cookie)
        if known is not None:
            parts.store.users.record_sign_out(known.name, address=address_of(request))
        response = Response(status_code=204)
        response.delete_cookie(
            COOKIE,
            path="/",
            secure=parts.settings.web.is_https,
            httponly=True,
            samesite="strict",
        )
        return response

    return router


def set_session(response: Response, cookie: str, parts: WebParts) -> None:
    """Put a session into an answer."""
    web = parts.settings.web
    response.set_cookie(
        COOKIE,
        cookie,
        max_age=int(web.session_s),
        path="/",
        secure=web.is_https,
        httponly=True,
        samesite="strict",
    )
