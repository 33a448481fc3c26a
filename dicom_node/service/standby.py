"""What a node that waits for another says of itself over HTTP: alive, not ready."""

from __future__ import annotations

import json
import socket
import threading
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self

import structlog

from dicom_node import __version__
from dicom_node.config import WebSettings
from dicom_node.tls import ServerFiles, ServerTls

__all__ = ["STANDBY", "StandbyDoor"]

STANDBY = "standby: another node works on the database, this one waits for its end"
"""What is wrong, in the words of ``/health``."""

_PATIENCE_S = 5.0

log = structlog.get_logger(__name__)


class StandbyDoor:
    """Answers ``/health`` while the block lasts; without it the node waits as well.

    It is the web server's port without the web server: that needs the database.

    Parameters
    ----------
    settings : WebSettings
        Address, port and certificate.

    Raises
    ------
    SettingsError
        The certificate cannot be used.

    """

    def __init__(self, settings: WebSettings) -> None:
        self._settings = settings
        files = ServerFiles.of(settings) if settings.enabled else None
        self._tls = None if files is None else ServerTls(files)
        self._server: ThreadingHTTPServer | None = None

    def __enter__(self) -> Self:
        settings = self._settings
        if settings.enabled:
            try:
                self._server = _Server((settings.host, settings.port), self._tls)
            except OSError as error:
                # A node on the same machine may have the same port: it works, and
                # this one must not end for it.
                log.warning("standby_is_silent", reason=error.strerror)
                return self
            threading.Thread(
                target=self._server.serve_forever,
                kwargs={"poll_interval": 0.1},
                name="standby-web",
                daemon=True,
            ).start()
            log.info("standby_listens", port=self._server.server_address[1])
        return self

    def __exit__(self, *_: object) -> None:
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, address: tuple[str, int], tls: ServerTls | None) -> None:
        if ":" in address[0]:
            self.address_family = socket.AF_INET6
        self._tls = tls
        super().__init__(address, _Handler)

    def get_request(self) -> tuple[socket.socket, Any]:
        """Accept a connection; its own thread does the handshake, when it reads."""
        connection, address = super().get_request()
        if self._tls is not None:
            connection = self._tls.context().wrap_socket(
                connection, server_side=True, do_handshake_on_connect=False
            )
        return connection, address

    def handle_error(self, request: object, client_address: object) -> None:
        """Say nothing: a caller that hangs up is no event."""


class _Handler(BaseHTTPRequestHandler):
    timeout = _PATIENCE_S
    protocol_version = "HTTP/1.0"
    server_version = "dicom-node"
    sys_version = ""

    def do_GET(self) -> None:
        """Answer as `web.api_health` does."""
        path = self.path.partition("?")[0]
        checks = {"standby": STANDBY}
        answers: dict[str, tuple[HTTPStatus, object]] = {
            "/health/live": (HTTPStatus.OK, {"status": "live"}),
            "/health/ready": (
                HTTPStatus.SERVICE_UNAVAILABLE,
                {"ready": False, "reasons": checks},
            ),
            "/health": (
                HTTPStatus.SERVICE_UNAVAILABLE,
                {"status": "not ready", "version": __version__, "checks": checks},
            ),
        }
        nothing = (HTTPStatus.SERVICE_UNAVAILABLE, {"detail": STANDBY})
        status, content = answers.get(path, nothing)
        data = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.send_header("Cache-Control", "no-store")
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_: object) -> None:
        """Write nothing: the path is the caller's."""
