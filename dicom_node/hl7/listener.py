"""The MLLP server: who may send, how long, and how much (HL7 MLLP Release 1).

Each connection has a thread. Every wait of it ends, and what a sender may make the
node keep is bounded: one message at a time, of a bounded length, from a bounded number
of connections.
"""

from __future__ import annotations

import ipaddress
import socket
import ssl
import threading
import time
from dataclasses import dataclass

import structlog

from dicom_node.config import Hl7Settings
from dicom_node.errors import ProtocolViolationError, SettingsError
from dicom_node.hl7.answering import Answering
from dicom_node.hl7.framing import FrameReader, frame
from dicom_node.shares import choose_to_end
from dicom_node.tcp import acknowledge, listen_on, send_at_once
from dicom_node.tls import ServerFiles, ServerTls

__all__ = ["Hl7Listener", "Hl7Statistics", "is_allowed"]

log = structlog.get_logger(__name__)

MAX_CONNECTIONS = 64
"""Open at a time. For one more, the one is closed that is silent for longest of the
address that has most: senders connect again, and a broken one keeps out no others."""

_READ_BYTES = 1 << 16
_BACKLOG = 64
_ACCEPT_PAUSE_S = 0.1
_HANDSHAKE_S = 10.0
_KEEP_ALIVE_S = 60
"""Silence after which the system asks a peer whether it is still there."""


@dataclass(frozen=True, slots=True)
class Hl7Statistics:
    """Numbers since the start, and what is open now."""

    open_connections: int
    accepted: int
    refused: int
    """Their address may not send, or TLS failed."""
    cut: int
    """Too slow, too long, silent, or closed for another."""


class Hl7Listener:
    """Takes messages over MLLP.

    Parameters
    ----------
    settings : Hl7Settings
        Address, callers, TLS and timeouts.
    answering : Answering
        Takes each message.
    max_message_bytes : int
        Longest message.

    """

    def __init__(
        self, settings: Hl7Settings, answering: Answering, *, max_message_bytes: int
    ) -> None:
        self._settings = settings
        self._answering = answering
        self._max_bytes = max_message_bytes
        self._is_stopping = threading.Event()
        self._lock = threading.Lock()
        self._open: dict[_Connection, threading.Thread] = {}
        self._accepted = self._refused = self._cut = 0
        self._listener: socket.socket | None = None
        self._thread: threading.Thread | None = None
        self.tls: ServerTls | None = None
        """How TLS is spoken; None: it is not."""
        self._port = settings.port

    @property
    def port(self) -> int:
        """The port that it listens on; the free one picked for 0."""
        return self._port

    @property
    def trouble(self) -> str | None:
        """What is wrong, in plain words, or None."""
        is_alive = self._thread is not None and self._thread.is_alive()
        return None if is_alive else "it does not listen"

    @property
    def statistics(self) -> Hl7Statistics:
        """A snapshot of the numbers."""
        with self._lock:
            return Hl7Statistics(
                open_connections=len(self._open),
                accepted=self._accepted,
                refused=self._refused,
                cut=self._cut,
            )

    def start(self) -> None:
        """Listen, in a thread of its own.

        Raises
        ------
        SettingsError
            The address cannot be listened on, or the certificate cannot be used.

        """
        one = self._settings
        files = ServerFiles.of(one)
        self.tls = None if files is None else ServerTls(files)
        try:
            self._listener = listen_on(one.host, one.port, backlog=_BACKLOG)
        except OSError as error:
            msg = f"hl7: cannot listen on {one.host}:{one.port}: {error.strerror}"
            raise SettingsError(msg) from error
        self._port = self._listener.getsockname()[1]
        self._thread = threading.Thread(
            target=self._accept,
            args=(self._listener,),
            name="hl7-listener",
            daemon=True,
        )
        self._thread.start()
        log.info(
            "hl7_listening", host=one.host, port=self._port, tls=self.tls is not None
        )

    def stop(self, grace_s: float = 10.0) -> None:
        """Stop listening; answer the messages that are being kept, end the rest."""
        self._is_stopping.set()
        if self._listener is not None:
            _shut(self._listener, socket.SHUT_RDWR)
        if self._thread is not None:
            self._thread.join()
        with self._lock:
            left = dict(self._open)
        for connection in left:
            connection.read_no_more()
        deadline = time.monotonic() + grace_s
        for connection, thread in left.items():
            thread.join(max(0.0, deadline - time.monotonic()))
            connection.cut()
        log.info("hl7_stopped_listening", port=self._port)

    def _accept(self, listener: socket.socket) -> None:
        with listener:
            while not self._is_stopping.is_set():
                try:
                    one, address = listener.accept()
                except OSError as error:
                    if self._is_stopping.is_set():
                        return
                    # Out of file descriptors, or gone before it was accepted.
                    log.warning("hl7_accept_failed", error=error.strerror)
                    time.sleep(_ACCEPT_PAUSE_S)
                    continue
                if is_allowed(self._settings.callers, address[0]):
                    self._begin(one, address[0])
                else:
                    self._count(refused=1)
                    log.warning("hl7_caller_refused", peer_address=address[0])
                    one.close()

    def _begin(self, one: socket.socket, address: str) -> None:
        connection = _Connection(one, address)
        thread = threading.Thread(
            target=self._run, args=(connection,), name="hl7-connection", daemon=True
        )
        with self._lock:
            if len(self._open) >= MAX_CONNECTIONS:
                oldest = choose_to_end(
                    (other for other in self._open if not other.is_cut),
                    lambda other: other.address,
                    rank=lambda other: other.heard_at,
                )
                if oldest is not None:
                    oldest.cut()
                    self._cut += 1
            self._open[connection] = thread
            self._accepted += 1
        try:
            thread.start()
        except RuntimeError:
            log.warning("hl7_no_thread_for_connection")
            self._forget(connection)

    def _run(self, connection: _Connection) -> None:
        try:
            context = None if self.tls is None else self.tls.context()
            if not connection.secure(context):
                self._count(refused=1)
                return
            self._serve(connection)
        except (TimeoutError, ProtocolViolationError) as error:
            self._count(cut=1)
            log.warning(
                "hl7_connection_cut",
                peer_address=connection.address,
                error=type(error).__name__,
            )
        except OSError:
            log.info("hl7_connection_lost", peer_address=connection.address)
        finally:
            self._forget(connection)

    def _serve(self, connection: _Connection) -> None:
        """Answer the messages of a connection until it ends.

        Raises
        ------
        TimeoutError
            It was silent, or a message took too long.
        ProtocolViolationError
            A message is too long.
        OSError
            The connection is lost.

        """
        frames = FrameReader(self._max_bytes)
        deadline = time.monotonic() + self._settings.idle_timeout_s
        while not self._is_stopping.is_set():
            was_inside = frames.is_inside
            data = connection.read(deadline)
            if not data:
                return
            try:
                messages = frames.feed(data)
            except ProtocolViolationError as error:
                self._answer(connection, error.facts.get("messages"))
                if frames.is_inside:
                    self._send(connection, self._answering.too_long(frames.begun))
                raise
            self._answer(connection, messages)
            if frames.is_inside and (messages or not was_inside):
                deadline = time.monotonic() + self._settings.message_timeout_s
            elif messages:
                deadline = time.monotonic() + self._settings.idle_timeout_s

    def _answer(self, connection: _Connection, messages: object) -> None:
        for message in messages if isinstance(messages, list) else ():
            self._send(connection, self._answering.answer(message))

    def _send(self, connection: _Connection, answers: tuple[bytes, ...]) -> None:
        for one in answers:
            connection.write(frame(one), timeout_s=self._settings.message_timeout_s)

    def _forget(self, connection: _Connection) -> None:
        connection.close()
        with self._lock:
            self._open.pop(connection, None)

    def _count(self, *, refused: int = 0, cut: int = 0) -> None:
        with self._lock:
            self._refused += refused
            self._cut += cut


class _Connection:
    """A connected socket, read by one thread and cut by another."""

    def __init__(self, connection: socket.socket, address: str) -> None:
        self.address = address
        self.heard_at = time.monotonic()
        self.is_cut = False
        self._socket = connection
        send_at_once(connection)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, _KEEP_ALIVE_S)

    def secure(self, context: ssl.SSLContext | None) -> bool:
        """Begin TLS if there is a context; False: the peer did not manage."""
        if context is None:
            return True
        self._socket.settimeout(_HANDSHAKE_S)
        try:
            self._socket = context.wrap_socket(self._socket, server_side=True)
        except (OSError, ValueError) as error:
            log.warning(
                "hl7_tls_failed", peer_address=self.address, error=type(error).__name__
            )
            return False
        return True

    def read(self, deadline: float) -> bytes:
        """Return some bytes, none at the end; TimeoutError after the deadline."""
        left = deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError
        self._socket.settimeout(left)
        try:
            acknowledge(self._socket)
            data = self._socket.recv(_READ_BYTES)
        except ssl.SSLEOFError:
            return b""
        self.heard_at = time.monotonic()
        return data

    def write(self, data: bytes, *, timeout_s: float) -> None:
        """Send bytes; TimeoutError when the peer does not take them."""
        self._socket.settimeout(timeout_s)
        self._socket.sendall(data)

    def read_no_more(self) -> None:
        """Let the reader see the end; an answer can still be sent."""
        _shut(self._socket, socket.SHUT_RD)

    def cut(self) -> None:
        """End it from another thread."""
        self.is_cut = True
        _shut(self._socket, socket.SHUT_RDWR)

    def close(self) -> None:
        """Close it, from the thread that reads."""
        _shut(self._socket, socket.SHUT_WR)
        self._socket.close()


def is_allowed(networks: tuple[str, ...], address: str) -> bool:
    """Return whether an address may send; without networks this machine may."""
    where = ipaddress.ip_address(address.partition("%")[0])
    where = getattr(where, "ipv4_mapped", None) or where
    if not networks:
        return where.is_loopback
    return any(where in ipaddress.ip_network(one, strict=False) for one in networks)


def _shut(one: socket.socket, how: int) -> None:
    try:
        # The plain method: that of a TLS socket would take TLS off under its reader.
        socket.socket.shutdown(one, how)
    except OSError:
        return  # It is gone already.
