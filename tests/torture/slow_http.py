"""HTTP clients and HL7 senders that hold connections open in every slow way."""

from __future__ import annotations

import contextlib
import gzip
import socket
import threading
import time
from collections.abc import Sequence
from types import TracebackType

__all__ = ["SlowClients"]

_HOST = b"Host: 127.0.0.1\r\n"
_POST = b"POST /sign-in HTTP/1.1\r\n" + _HOST
_FORM = b"Content-Type: application/x-www-form-urlencoded\r\n"
_ZIPPED = gzip.compress(bytes(1 << 24))

_HTTP: Sequence[tuple[int, bytes, bytes]] = (
    # How many, what each sends at once, what it sends a byte a second of.
    (100, b"", b"GET / HTTP/1.1\r\nX-Slow: " + b"x" * 1000),
    (100, b"GET / HTTP/1.1\r\n" + _HOST, b""),
    (100, _POST + _FORM + b"Content-Length: 9000\r\n\r\n", b"name=" + b"x" * 8000),
    (50, _POST + _FORM + b"Content-Length: 100\r\n\r\nname=x", b""),
    (50, _POST + _FORM + b"Content-Length: 4294967296\r\n\r\nname=x", b""),
    (50, _POST + _FORM + b"Content-Length: -1\r\n\r\n", b""),
    (
        20,
        _POST
        + _FORM
        + b"Content-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % len(_ZIPPED)
        + _ZIPPED,
        b"",
    ),
    (50, b"GET /x HTTP/1.1\r\n" + b"X: " + b"y" * 200_000, b""),
    (20, 2000 * (b"GET /health/live HTTP/1.1\r\n" + _HOST + b"\r\n"), b""),
    (1000, b"GET /health/live HTTP/1.1\r\n" + _HOST + b"\r\n", b""),
)
"""Heads and bodies that trickle or end nowhere, lengths that lie, a zipped bomb, a head
without end, answers that nobody reads, and idle connections that stay open."""

_HL7: Sequence[tuple[int, bytes, bytes]] = (
    (60, b"", b""),
    (60, b"\x0bMSH|", b"x" * 1000),
    (60, b"", b"x" * 1000),
    (20, b"\x0bMSH|^~\\&|" + b"x" * 100_000, b""),
)


class SlowClients:
    """Opens connections and keeps them, until the end of the block.

    Parameters
    ----------
    http_port, hl7_port : int
        Loopback ports of the server.
    share : float
        Part of the full number of clients.

    """

    def __init__(self, http_port: int, hl7_port: int, *, share: float = 1.0) -> None:
        self.opened_at = 0.0
        """When all were open."""
        self._plan = [(http_port, *one) for one in _HTTP]
        self._plan += [(hl7_port, *one) for one in _HL7]
        self._share = share
        self._open: list[socket.socket] = []
        self._is_over = threading.Event()
        self._drip: threading.Thread | None = None

    def __enter__(self) -> SlowClients:
        dripping: list[tuple[socket.socket, bytes]] = []
        for port, count, head, rest in self._plan:
            for _ in range(max(2, int(count * self._share))):
                one = self._connect(port, head)
                if rest:
                    dripping.append((one, rest))
        self._drip = threading.Thread(
            target=self._send_slowly, args=(dripping,), daemon=True
        )
        self._drip.start()
        self.opened_at = time.monotonic()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._is_over.set()
        if self._drip is not None:
            self._drip.join()
        for one in self._open:
            one.close()

    def _connect(self, port: int, head: bytes) -> socket.socket:
        one = socket.create_connection(("127.0.0.1", port), 20.0)
        self._open.append(one)
        one.settimeout(0.05)
        with contextlib.suppress(OSError):
            # Refused, or nobody reads all of it: both are meant.
            one.sendall(head)
        one.settimeout(1.0)
        return one

    def _send_slowly(self, dripping: list[tuple[socket.socket, bytes]]) -> None:
        for at in range(1000):
            for one, rest in dripping:
                with contextlib.suppress(OSError):
                    one.send(rest[at : at + 1])
            if self._is_over.wait(1.0):
                return
