"""Asks who a request comes from before its body is read, and hangs up on the rest.

FastAPI reads a body before it asks any dependency, and would take from strangers
whatever fits on the disk. Here a request with a body goes by the role that its route
asks for first.
"""

from __future__ import annotations

from dataclasses import dataclass
from re import Pattern
from typing import Any

from fastapi import FastAPI, Request
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import MutableHeaders
from starlette.routing import compile_path
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from dicom_node.errors import AccessError
from dicom_node.web.access import Access, Need, remember_person
from dicom_node.web.openapi import needs_of, routes_of
from dicom_node.web.problems import refusal

__all__ = ["AccessFirst", "HangUp"]


@dataclass(frozen=True, slots=True)
class _Door:
    methods: frozenset[str]
    path: Pattern[str]
    need: Need


class AccessFirst:
    """Refuses a request with a body before anything of it is read.

    Requests without a body go on: their routes ask by themselves.

    Parameters
    ----------
    app : ASGIApp
        What answers.
    routes : FastAPI
        Whose routes say what they ask for.
    access : Access
        Decides who asks.

    """

    def __init__(self, app: ASGIApp, *, routes: FastAPI, access: Access) -> None:
        self._app = app
        self._routes = routes
        self._access = access
        self._doors: tuple[_Door, ...] | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        need = self._need_of(scope) if _has_body(scope) else None
        if need is not None:
            request = Request(scope)
            try:
                person = await run_in_threadpool(self._access.check, request, need)
            except AccessError as error:
                await refusal(request, error)(scope, receive, send)
                return
            remember_person(scope, need, person)
        await self._app(scope, receive, send)

    def _need_of(self, scope: Scope) -> Need | None:
        if self._doors is None:
            self._doors = tuple(map(_door, routes_of(self._routes)))
        method, path = scope["method"], scope["path"]
        return next(
            (
                one.need
                for one in self._doors
                if method in one.methods and one.path.match(path)
            ),
            None,
        )


class HangUp:
    """Ends a connection whose request is answered before its body was read.

    The server would go on taking a body that nobody wants, however long it is.

    Parameters
    ----------
    app : ASGIApp
        What answers.

    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        if not _has_body(scope):
            await self._app(scope, receive, send)
            return
        is_read = False

        async def receive_some() -> Message:
            nonlocal is_read
            message = await receive()
            is_read = not message.get("more_body", False)
            return message

        async def send_some(message: Message) -> None:
            if message["type"] == "http.response.start" and not is_read:
                MutableHeaders(scope=message)["Connection"] = "close"
            await send(message)

        await self._app(scope, receive_some, send_some)


def _door(route: Any) -> _Door:
    (need,) = needs_of(route)
    path, _, _ = compile_path(route.path)
    return _Door(frozenset(route.methods or ()), path, need)


def _has_body(scope: Scope) -> bool:
    if scope["type"] != "http":
        return False
    headers = dict(scope["headers"])
    return b"transfer-encoding" in headers or headers.get(
        b"content-length", b"0"
    ) not in {b"", b"0"}
