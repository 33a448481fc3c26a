"""Where connections come in: a port that is listened on, plain or over TLS."""

from __future__ import annotations

import ipaddress
import socket
import threading
import time
from collections.abc import Callable
from typing import TypeAlias

import structlog

from dicom_node.errors import SettingsError
from dicom_node.tcp import listen_on
from dicom_node.tls import ServerTls

__all__ = ["Door", "OnConnection"]

log = structlog.get_logger(__name__)

OnConnection: TypeAlias = Callable[[socket.socket, str, ServerTls | None], None]
"""Told of a connection, the address that it comes from, and how TLS is spoken on it;
from the thread that accepts, which nothing may hold up."""

_BACKLOG = 256
_ACCEPT_PAUSE_S = 0.1


class Door:
    """A port, listened on in a thread of its own.

    Parameters
    ----------
    host, port : str, int
        Where; port 0 picks a free one.
    on_connection : OnConnection
        Takes what comes.
    tls : ServerTls, optional
        How TLS is spoken there; None: it is not.

    """

    def __init__(
        self,
        host: str,
        port: int,
        *,
        on_connection: OnConnection,
        tls: ServerTls | None = None,
    ) -> None:
        self.port = port
        """The port that is listened on; the free one picked for 0, once it is open."""
        self.tls = tls
        self._host = host
        self._on_connection = on_connection
        self._is_closing = threading.Event()
        self._listener: socket.socket | None = None
        self._thread: threading.Thread | None = None

    @property
    def is_open(self) -> bool:
        """Whether somebody listens."""
        return self._thread is not None and self._thread.is_alive()

    def open(self) -> None:
        """Listen.

        Raises
        ------
        SettingsError
            The address or port cannot be listened on.

        """
        try:
            listener = listen_on(self._host, self.port, backlog=_BACKLOG)
        except OSError as error:
            msg = f"cannot listen on {self._host}:{self.port}: {error.strerror}"
            raise SettingsError(msg) from error
        self.port = listener.getsockname()[1]
        thread = threading.Thread(
            target=self._accept,
            args=(listener,),
            name="dicom-tls-listener" if self.tls else "dicom-listener",
            daemon=True,
        )
        try:
            thread.start()
        except RuntimeError:  # no room for a thread
            listener.close()
            raise
        self._listener, self._thread = listener, thread

    def close(self) -> None:
        """Listen no more."""
        self._is_closing.set()
        if self._listener is not None:
            # Closing alone does not wake a thread that waits in accept.
            _shutdown_quietly(self._listener)
        if self._thread is not None:
            self._thread.join()

    def _accept(self, listener: socket.socket) -> None:
        with listener:
            while not self._is_closing.is_set():
                try:
                    connection, address = listener.accept()
                except OSError as error:
                    if self._is_closing.is_set():
                        return
                    # Out of file descriptors, or gone before it was accepted.
                    log.warning("accept_failed", error=error.strerror)
                    time.sleep(_ACCEPT_PAUSE_S)
                    continue
                try:
                    where = _plain_address(address[0])
                    self._on_connection(connection, where, self.tls)
                except Exception as error:  # noqa: BLE001 - others want to come in
                    connection.close()
                    log.error(  # noqa: TRY400 - its text may hold anything
                        "connection_not_taken", error=type(error).__name__
                    )


def _plain_address(text: str) -> str:
    """Return an address without its zone, IPv4 inside IPv6 as IPv4."""
    address = ipaddress.ip_address(text.partition("%")[0])
    mapped = getattr(address, "ipv4_mapped", None)
    return str(mapped or address)


def _shutdown_quietly(listener: socket.socket) -> None:
    try:
        listener.shutdown(socket.SHUT_RDWR)
    except OSError:
        return  # It was not listening any more.
