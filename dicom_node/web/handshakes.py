"""TLS handshakes of the web server, counted and timed from the accept on.

uvicorn hears of a connection only when its handshake is done, and gives it a minute.
"""

from __future__ import annotations

import asyncio
import socket
from typing import Any

import structlog

from dicom_node.shares import choose_to_end

__all__ = ["CountedListener"]

log = structlog.get_logger(__name__)

_STEPS = 4
"""How often, within the time that a handshake has, they are looked at."""


class CountedListener(socket.socket):
    """A socket that listens, and knows who of those that it let in is not yet heard.

    Parameters
    ----------
    listener : socket.socket
        The one that listens; it is taken over.
    most : int
        Handshakes at a time; of more, one ends of the address that has most of them.
    timeout_s : float
        How long one may take.

    """

    def __init__(self, listener: socket.socket, *, most: int, timeout_s: float) -> None:
        super().__init__(fileno=listener.detach())
        self._most = most
        self._timeout_s = timeout_s
        self._waiting: dict[int, tuple[socket.socket, str, float]] = {}
        """By file descriptor: the connection, its address, and when it came."""
        self._is_looked_at = False

    def accept(self) -> tuple[socket.socket, Any]:
        """Accept a connection, in the thread of the event loop, and count it."""
        connection, address = super().accept()
        loop = asyncio.get_running_loop()
        self._forget_closed()
        came = (connection, str(address[0]), loop.time())
        self._waiting[connection.fileno()] = came
        if len(self._waiting) > self._most:
            yields = choose_to_end(
                self._waiting.values(), lambda one: one[1], rank=lambda one: one[2]
            )
            if yields is not None:
                self._end(yields, "there are too many")
        if not self._is_looked_at:
            self._is_looked_at = True
            loop.call_later(self._timeout_s / _STEPS, self._look, loop)
        return connection, address

    def is_heard(self, descriptor: int) -> None:
        """Note that the handshake of a connection, by its file, is done."""
        self._waiting.pop(descriptor, None)

    def _look(self, loop: asyncio.AbstractEventLoop) -> None:
        self._forget_closed()
        for one in list(self._waiting.values()):
            if loop.time() - one[2] >= self._timeout_s:
                self._end(one, "it took too long")
        self._is_looked_at = bool(self._waiting)
        if self._is_looked_at:
            loop.call_later(self._timeout_s / _STEPS, self._look, loop)

    def _forget_closed(self) -> None:
        for descriptor, (connection, _, _) in list(self._waiting.items()):
            # The same number may by now be another's.
            if connection.fileno() != descriptor:
                del self._waiting[descriptor]

    def _end(self, one: tuple[socket.socket, str, float], reason: str) -> None:
        connection, address, _ = one
        log.warning("https_handshake_cut", peer_address=address, reason=reason)
        self._waiting.pop(connection.fileno(), None)
        try:
            # The event loop closes it, and the handshake, when it sees the end.
            connection.shutdown(socket.SHUT_RDWR)
        except OSError:
            return  # The peer was quicker.
