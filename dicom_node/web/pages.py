"""The pages: HTML, scripts and styles, named by their content so that they are kept."""

from __future__ import annotations

import hashlib
import mimetypes
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from fastapi import APIRouter, Depends, HTTPException, Request, Response
from fastapi import Path as PathParameter
from starlette.responses import RedirectResponse

from dicom_node.web.access import Anyone, allow_anyone
from dicom_node.web.parts import Parts
from dicom_node.web.problems import PROBLEMS

__all__ = ["StaticFiles", "make_pages_router", "read_static"]

STATIC_DIR = Path(__file__).parent / "static"

_TYPES = {".js": "text/javascript", ".mjs": "text/javascript", ".svg": "image/svg+xml"}
"""A system's own table may call a script text/plain, which browsers then refuse."""

_PAGES = {
    "/": "index.html",
    "/view/{uid}": "view.html",
    "/operations": "operations.html",
}


@dataclass(frozen=True, eq=False)
class StaticFiles:
    """Every file of the pages by its name, and the hash of all of them."""

    files: dict[str, bytes]
    version: str

    def page(self, name: str) -> bytes:
        """Return a page whose scripts and styles are named by the hash of all files.

        What they import by relative names is then named so, too.
        """
        text = self.files[name]
        return text.replace(b'"/static/', f'"/static/{self.version}/'.encode())


def read_static(folder: Path = STATIC_DIR) -> StaticFiles:
    """Read the files of the pages."""
    files = {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and not path.name.startswith(".")
    }
    digest = hashlib.sha256()
    for name, data in files.items():
        digest.update(f"{name} {len(data)}\n".encode())
        digest.update(data)
    return StaticFiles(files, digest.hexdigest()[:16])


def make_pages_router(static: StaticFiles) -> APIRouter:
    """Make the routes of the pages."""
    router = APIRouter(responses=PROBLEMS, include_in_schema=False)

    for route, name in _PAGES.items():
        _add_page(router, static, route=route, name=name)

    @router.get("/sign-in", dependencies=[Depends(allow_anyone())])
    async def sign_in() -> Response:
        """Return the page by which people sign in."""
        return _html(static, "sign-in.html")

    @router.get("/favicon.ico", dependencies=[Depends(allow_anyone())])
    async def favicon() -> Response:
        """Return the icon, for browsers that ask for it by this name."""
        return RedirectResponse("/static/icon.svg")

    @router.get("/static/{name:path}", dependencies=[Depends(allow_anyone())])
    async def asset(
        request: Request, name: Annotated[str, PathParameter(max_length=256)]
    ) -> Response:
        """Return a file of the pages."""
        plain = name.removeprefix(f"{static.version}/")
        data = static.files.get(plain)
        if data is None:
            raise HTTPException(404, "there is no such file")
        etag = f'"{static.version}"'
        headers = {"ETag": etag, "Cache-Control": "no-cache"}
        if plain != name:
            headers["Cache-Control"] = "max-age=31536000, immutable"
        if request.headers.get("if-none-match") == etag:
            return Response(status_code=304, headers=headers)
        kind = _TYPES.get(Path(plain).suffix) or mimetypes.guess_type(plain)[0]
        return Response(data, media_type=kind, headers=headers)

    return router


def _add_page(router: APIRouter, static: StaticFiles, *, route: str, name: str) -> None:
    @router.get(route, name=name)
    def page(parts: Parts, person: Anyone, request: Request) -> Response:
        """Return a page, or send who has not signed in to where they can."""
        if person.role is None and parts.access.is_configured:
            return RedirectResponse(f"/sign-in?next={request.url.path}", 303)
        return _html(static, name)


def _html(static: StaticFiles, name: str) -> Response:
    if name not in static.files:
        raise HTTPException(404, "there is no such page")
    return Response(
        static.page(name),
        media_type="text/html; charset=utf-8",
        headers={"Cache-Control": "no-cache"},
    )
