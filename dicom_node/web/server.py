"""Serves the web application from a thread of its own."""

from __future__ import annotations

import asyncio
import socket
import ssl
import threading
import time
from collections.abc import Callable
from contextlib import suppress

import uvicorn
from starlette.types import ASGIApp

from dicom_node.config import WebSettings
from dicom_node.errors import SettingsError
from dicom_node.tcp import listen_on, send_at_once
from dicom_node.tls import ServerFiles, ServerTls
from dicom_node.web.connections import make_protocol
from dicom_node.web.entrance import Entrance
from dicom_node.web.parts import WebParts

__all__ = ["WebServer"]

_START_S = 10.0
_TICK_S = 1.0
_BACKLOG = 2048
"""Connections that the system keeps until the loop takes them."""

_GRACE_S = 3
"""What is being answered may take this long when the node stops."""


class WebServer:
    """uvicorn in a thread.

    Parameters
    ----------
    app : ASGIApp
        What it serves.
    settings : WebSettings
        Address and port.
    parts : WebParts, optional
        What is started and ended with it.

    Raises
    ------
    SettingsError
        The certificate cannot be used.

    """

    def __init__(
        self, app: ASGIApp, settings: WebSettings, *, parts: WebParts | None = None
    ) -> None:
        self._settings = settings
        self._parts = parts
        files = ServerFiles.of(settings)
        self.tls = None if files is None else ServerTls(files)
        """How TLS is spoken; None: it is not."""
        self._server = _CalmServer(
            uvicorn.Config(
                app,
                ssl_context_factory=None if self.tls is None else _https(self.tls),
                http=make_protocol(settings),
                # What is bounded here was measured on this loop.
                loop="asyncio",
                log_config=None,
                access_log=False,
                server_header=False,
                ws="none",
                # Whoever connects could say in X-Forwarded-For to be this machine.
                proxy_headers=False,
                timeout_graceful_shutdown=_GRACE_S,
            ),
            settings,
        )
        self._socket: socket.socket | None = None
        self._thread: threading.Thread | None = None

    @property
    def port(self) -> int:
        """The port that it listens on; the free one picked for 0."""
        if self._socket is None:
            return self._settings.port
        return int(self._socket.getsockname()[1])

    def start(self) -> None:
        """Listen.

        Raises
        ------
        SettingsError
            The address or port cannot be listened on.

        """
        host, port = self._settings.host, self._settings.port
        try:
            self._socket = listen_on(host, port, backlog=_BACKLOG)
        except OSError as error:
            msg = f"cannot listen on {host}:{port}: {error.strerror}"
            raise SettingsError(msg) from error
        # Connections inherit it. asyncio sets it only on sockets that name TCP, and the
        # body of an answer would wait 40 ms for the client to acknowledge its head.
        send_at_once(self._socket)
        self._thread = threading.Thread(
            target=self._server.run,
            kwargs={"sockets": [self._socket]},
            name="web",
            daemon=True,
        )
        self._thread.start()
        deadline = time.monotonic() + _START_S
        while not self._server.started and time.monotonic() < deadline:
            time.sleep(0.01)
        if self._parts is not None:
            self._parts.start()

    def stop(self) -> None:
        """Stop listening and end."""
        if self._parts is not None:
            self._parts.close()
        self._server.ask_to_end()
        if self._thread is not None:
            self._thread.join(_START_S)
        if self._socket is not None:
            self._socket.close()


class _CalmServer(uvicorn.Server):
    """uvicorn behind an `Entrance`, which wakes once a second and not ten times."""

    _is_ending: asyncio.Event | None = None
    _loop: asyncio.AbstractEventLoop | None = None

    def __init__(self, config: uvicorn.Config, settings: WebSettings) -> None:
        super().__init__(config)
        self._settings = settings
        self._entrances: list[Entrance] = []

    def ask_to_end(self) -> None:
        """End soon; from any thread."""
        self.should_exit = True
        if self._loop is not None and self._is_ending is not None:
            with suppress(RuntimeError):  # it has ended
                self._loop.call_soon_threadsafe(self._is_ending.set)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Begin to take connections of the sockets that listen."""
        await self.lifespan.startup()
        self.servers = []  # those of the loop, which take everybody at once
        self._entrances = [
            Entrance(
                one,
                make_protocol=self._make_protocol,
                tls=self.config.ssl,
                most=self._settings.max_connections,
                timeout_s=self._settings.read_timeout_s,
            )
            for one in sockets or ()
        ]
        for entrance in self._entrances:
            entrance.open()
        self.started = True

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Take no more connections, and end what is open."""
        for entrance in self._entrances:
            entrance.close()
        await super().shutdown(sockets)

    def _make_protocol(self) -> asyncio.Protocol:
        made: asyncio.Protocol = self.config.http_protocol_class(  # type: ignore[call-arg]
            config=self.config,
            server_state=self.server_state,
            app_state=self.lifespan.state,
        )
        return made

    async def main_loop(self) -> None:
        """Serve until it is asked to end."""
        self._is_ending = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        while not await self.on_tick(0):
            with suppress(TimeoutError):
                await asyncio.wait_for(self._is_ending.wait(), _TICK_S)


def _https(tls: ServerTls) -> Callable[..., ssl.SSLContext]:
    """Return what makes the context that uvicorn keeps."""

    def make(*_: object) -> ssl.SSLContext:
        context = tls.context()
        # Certificates that are renewed come in here.
        context.sni_callback = tls.by_name
        return context

    return make
