"""OHIF as a hospital serves it: its web page, and the PACS behind the same origin."""

from __future__ import annotations

import http.client
import json
import mimetypes
import subprocess
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

__all__ = ["OHIF_DIST", "VIEWERS", "drive_ohif", "drive_ohif_through", "serve_ohif"]

VIEWERS = Path(__file__).parents[1] / "viewers"
"""Where the viewers' packages, settings and scripts are."""

OHIF_DIST = VIEWERS / "node_modules" / "@ohif" / "app" / "dist"
"""OHIF's built page."""

_TYPES = {".wasm": "application/wasm", ".js": "text/javascript"}


@contextmanager
def serve_ohif(*, pacs_http_port: int) -> Iterator[str]:
    """Serve OHIF on loopback while the block lasts, and yield its address.

    ``/dicom-web`` goes on to the PACS with the viewer's own Host, so that the URLs
    which the PACS writes into its answers come back through the same origin.
    """

    class Handler(_Handler):
        pacs_port = pacs_http_port

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


def drive_ohif(
    task: Mapping[str, Any], *, folder: Path, timeout_s: float = 300.0
) -> dict[str, Any]:
    """Open one study in OHIF and return what is seen; pictures go to ``folder``."""
    (seen,) = drive_ohif_through([(task, folder)], timeout_s=timeout_s)
    return seen


def drive_ohif_through(
    tasks: Sequence[tuple[Mapping[str, Any], Path]], *, timeout_s: float = 300.0
) -> list[dict[str, Any]]:
    """Run ``ohif.mjs`` on tasks, in one browser, and return what it saw of each.

    Pictures of a task go to the folder that comes with it.
    """
    for _, folder in tasks:
        folder.mkdir(parents=True, exist_ok=True)
    result = subprocess.run(
        ["node", VIEWERS / "ohif.mjs"],
        input=json.dumps([{**task, "folder": str(folder)} for task, folder in tasks]),
        capture_output=True,
        text=True,
        timeout=timeout_s,
        check=False,
        cwd=VIEWERS,
    )
    if result.returncode:
        msg = f"the page driver ended with {result.returncode}\n{result.stderr[-6000:]}"
        raise AssertionError(msg)
    seen: list[dict[str, Any]] = json.loads(result.stdout)
    return seen


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    pacs_port: int

    def do_GET(self) -> None:
        path = urlsplit(self.path).path
        if path.startswith("/dicom-web"):
            self._ask_pacs()
            return
        file = (OHIF_DIST / path.lstrip("/")).resolve()
        if path == "/app-config.js":
            file = VIEWERS / "ohif-config.js"
        elif not file.is_relative_to(OHIF_DIST.resolve()) or not file.is_file():
            file = OHIF_DIST / "index.html"  # the page routes its own addresses
        kind = _TYPES.get(file.suffix) or mimetypes.guess_type(file.name)[0]
        self._answer(200, kind or "application/octet-stream", file.read_bytes())

    def do_POST(self) -> None:
        self._ask_pacs()

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing: the driver reports failed requests."""

    def _ask_pacs(self) -> None:
        size = int(self.headers.get("Content-Length") or 0)
        headers = {
            name: value
            for name in ("Accept", "Content-Type", "Range")
            if (value := self.headers.get(name))
        }
        headers["Host"] = self.headers["Host"]
        pacs = http.client.HTTPConnection("127.0.0.1", self.pacs_port, timeout=60)
        try:
            body = self.rfile.read(size) if size else None
            pacs.request(self.command, self.path, body, headers)
            answer = pacs.getresponse()
            data = answer.read()
        finally:
            pacs.close()
        kind = answer.getheader("Content-Type") or "application/octet-stream"
        self._answer(answer.status, kind, data)

    def _answer(self, status: int, kind: str, data: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(data)))
        # Shared memory, which the decoders use, needs an isolated page.
        self.send_header("Cross-Origin-Opener-Policy", "same-origin")
        self.send_header("Cross-Origin-Embedder-Policy", "require-corp")
        self.end_headers()
        self.wfile.write(data)
