"""OHIF on the node itself: a built viewer's files below ``/viewer``, set up for it.

A build of OHIF is made for the root of its origin. What names that root in its pages
and scripts is changed as the files are given out; the folder itself stays as it is.
"""

from __future__ import annotations

import json
import mimetypes
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from fastapi import APIRouter, Depends, Request
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.responses import FileResponse, RedirectResponse, Response

from dicom_node.errors import SettingsError

__all__ = ["VIEWER_PATH", "make_viewer_router"]

VIEWER_PATH = "/viewer"

_HEADERS = {
    # The decoders share memory between threads, for which the page is isolated.
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Embedder-Policy": "require-corp",
    "Cross-Origin-Resource-Policy": "same-origin",
    # Decoders are WebAssembly; styles and workers are made by its scripts, and some
    # of its libraries compile templates. Nothing comes from elsewhere.
    "Content-Security-Policy": (
        "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval' blob:; "
        "style-src 'self' 'unsafe-inline'; img-src 'self' data: blob:; "
        "font-src 'self' data:; connect-src 'self' blob: data:; "
        "worker-src 'self' blob:; object-src 'none'; base-uri 'self'; "
        "form-action 'self'; frame-ancestors 'self'"
    ),
    "X-Frame-Options": "SAMEORIGIN",
}

_TYPES = {
    ".wasm": "application/wasm",
    ".js": "text/javascript",
    ".mjs": "text/javascript",
}
_FOR_EVER = "private, max-age=31536000, immutable"
_HASHED = re.compile(r"\.[0-9a-f]{16}\.|^[0-9a-f]{16}\.")
"""In the names of files whose content never changes."""

_ROOT_IN_PAGE = re.compile(rb'((?:src|href|content|PUBLIC_URL)=)"/(?!/|viewer/)')
_ROOT_IN_SCRIPT = re.compile(rb'(__webpack_require__\.p ?= ?|\b\w\.p=)"/"')
"""Where webpack keeps the address that chunks are loaded from."""

_ROOT_IN_STYLE = re.compile(rb"(url\([\"']?)/(?!/|viewer/)")

_CONFIG: dict[str, Any] = {
    "name": "dicom-node",
    "routerBasename": VIEWER_PATH,
    "extensions": [],
    "modes": [],
    "customizationService": {},
    "showStudyList": True,
    "maxNumberOfWebWorkers": 3,
    "showWarningMessageForCrossOrigin": False,
    "showCPUFallbackMessage": True,
    "strictZSpacingForVolumeViewport": True,
    # A double click on a segmentation or report loads it at once.
    "disableConfirmationPrompts": True,
    "investigationalUseDialog": {"option": "never"},
    "defaultDataSourceName": "node",
    "dataSources": [
        {
            "namespace": "@ohif/extension-default.dataSourcesModule.dicomweb",
            "sourceName": "node",
            "configuration": {
                "friendlyName": "This node",
                "name": "node",
                "qidoRoot": "/dicom-web",
                "wadoRoot": "/dicom-web",
                "qidoSupportsIncludeField": True,
                "imageRendering": "wadors",
                "thumbnailRendering": "wadors",
                "enableStudyLazyLoad": True,
                "supportsFuzzyMatching": False,
                "supportsWildcard": True,
                "singlepart": "bulkdata",
                "acceptHeader": [
                    "multipart/related; type=application/octet-stream; "
                    "transfer-syntax=*"
                ],
                "bulkDataURI": {"enabled": True},
                "omitQuotationForMultipartRequest": True,
            },
        }
    ],
}


def make_viewer_router(viewer_dir: Path, *, access: Callable[..., Any]) -> APIRouter:
    """Make the routes of the viewer.

    Parameters
    ----------
    viewer_dir : pathlib.Path
        A built OHIF: the folder with its ``index.html``.
    access : callable
        FastAPI dependency that lets a viewer pass.

    Raises
    ------
    SettingsError
        There is no OHIF in the folder.

    """
    folder = viewer_dir.resolve()
    if not (folder / "index.html").is_file():
        msg = f"web.viewer_dir {viewer_dir}: there is no index.html of a built OHIF"
        raise SettingsError(msg)
    router = APIRouter(dependencies=[Depends(access)], include_in_schema=False)

    @router.get(VIEWER_PATH)
    async def enter(request: Request) -> Response:
        query = f"?{request.url.query}" if request.url.query else ""
        return RedirectResponse(f"{VIEWER_PATH}/{query}", status_code=307)

    @router.get(f"{VIEWER_PATH}/app-config.js")
    async def config() -> Response:
        return Response(
            f"window.config = {json.dumps(_CONFIG, indent=2)};\n",
            media_type="text/javascript",
            headers={**_HEADERS, "Cache-Control": "no-cache"},
        )

    @router.get(f"{VIEWER_PATH}/{{path:path}}")
    async def file(path: str) -> Response:
        return await run_in_threadpool(_answer, folder, path)

    return router


def _answer(folder: Path, path: str) -> Response:
    try:
        found = (folder / path).resolve()
        is_file = found.is_relative_to(folder) and found.is_file()
    except (OSError, ValueError):  # a name that no file can have
        is_file = False
    if not is_file:
        if Path(path).suffix in {".js", ".css", ".wasm", ".json", ".map", ".png"}:
            raise HTTPException(404, "there is no such file")
        found = folder / "index.html"  # the page routes its own addresses
    kind = _TYPES.get(found.suffix) or mimetypes.guess_type(found.name)[0]
    is_lasting = bool(_HASHED.search(found.name))
    headers = {**_HEADERS, "Cache-Control": _FOR_EVER if is_lasting else "no-cache"}
    if found.suffix == ".html":
        page = _ROOT_IN_PAGE.sub(
            rb'\1"' + f"{VIEWER_PATH}/".encode(), found.read_bytes()
        )
        return Response(page, media_type="text/html", headers=headers)
    if found.suffix == ".js":
        here = f'"{VIEWER_PATH}/"'.encode()
        changed = _ROOT_IN_SCRIPT.sub(rb"\1" + here, found.read_bytes())
        return Response(changed, media_type=kind, headers=headers)
    if found.suffix == ".css":
        here = f"{VIEWER_PATH}/".encode()
        style = _ROOT_IN_STYLE.sub(rb"\1" + here, found.read_bytes())
        return Response(style, media_type=kind, headers=headers)
    return FileResponse(found, media_type=kind, headers=headers)
