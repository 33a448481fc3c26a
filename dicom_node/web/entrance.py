"""Lets connections in to the web server, a few at a time, in turns by their holders.

An event loop takes whatever has connected at once, in the order in which it came, and
who opens a thousand connections is served a thousand times before the next. Here who
has connected stands in a line of its holder, and lines take turns: the page of a ward
opens beside whoever floods the node. TLS handshakes are counted and timed as well.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Callable

import structlog

from dicom_node.shares import Shares

__all__ = ["Entrance"]

log = structlog.get_logger(__name__)

_TAKEN_AT_ONCE = 64
"""Connections that are taken from the system before anything else is done; it costs
little, and who has not been taken has no turn."""

_LET_IN_AT_ONCE = 8
"""Connections that are let in before the loop sees to those that are."""

_TELL_S = 1.0
"""How long those are counted who were turned away before it is logged."""

_RETRY_S = 1.0
"""How long nobody is taken when the system has no place for one more."""


class Entrance:
    """Takes the connections of a listening socket.

    Parameters
    ----------
    listener : socket.socket
        It listens already, and is closed by its owner.
    make_protocol : callable
        Returns what serves one connection.
    tls : ssl.SSLContext, optional
        How TLS is spoken; without it it is not.
    most : int
        Connections in the lines, and as many whose handshake is not done; of more,
        the oldest ends of the holder that has most of them.
    timeout_s : float
        How long a handshake may take.

    """

    def __init__(
        self,
        listener: socket.socket,
        *,
        make_protocol: Callable[[], asyncio.Protocol],
        tls: ssl.SSLContext | None = None,
        most: int,
        timeout_s: float,
    ) -> None:
        self._listener = listener
        self._make_protocol = make_protocol
        self._tls = tls
        self._most = most
        self._timeout_s = timeout_s
        self._loop = asyncio.get_running_loop()
        self._lines: Shares[socket.socket] = Shares()
        self._handshakes: Shares[socket.socket] = Shares()
        self._let_in_soon: dict[asyncio.Task[None], socket.socket] = {}
        self._again: asyncio.TimerHandle | None = None
        self._is_letting_in = False
        self._turned_away = 0

    def open(self) -> None:
        """Begin to take connections."""
        self._listener.setblocking(False)
        self._loop.add_reader(self._listener, self._take)

    def close(self) -> None:
        """Take no more, and end those that were not let in."""
        self._loop.remove_reader(self._listener)
        if self._again is not None:
            self._again.cancel()
        while (one := self._lines.take_turn()) is not None:
            one.close()
        for one in self._let_in_soon.values():
            _end(one)

    def _take(self) -> None:
        for _ in range(_TAKEN_AT_ONCE):
            try:
                one, address = self._listener.accept()
            except (BlockingIOError, InterruptedError):
                break
            except ConnectionAbortedError:
                continue
            except OSError as error:
                # Out of descriptors or memory: the system would call again at once.
                log.warning("http_accept_failed", error=error.strerror)
                self._loop.remove_reader(self._listener)
                self._again = self._loop.call_later(_RETRY_S, self.open)
                break
            one.setblocking(False)
            self._lines.put(one, str(address[0]))
            if len(self._lines) > self._most:
                self._turn_away()
        if self._lines and not self._is_letting_in:
            self._is_letting_in = True
            self._let_in()

    def _turn_away(self) -> None:
        one = self._lines.first_of_most()
        if one is None:
            return
        self._lines.discard(one)
        one.close()
        self._turned_away += 1
        if self._turned_away == 1:
            self._loop.call_later(_TELL_S, self._tell)

    def _tell(self) -> None:
        # A line for each would be a flood of its own.
        log.warning("http_connections_turned_away", count=self._turned_away)
        self._turned_away = 0

    def _let_in(self) -> None:
        for _ in range(_LET_IN_AT_ONCE):
            one = self._lines.take_turn()
            if one is None:
                break
            task = self._loop.create_task(self._connect(one))
            self._let_in_soon[task] = one
            task.add_done_callback(self._let_in_soon.pop)
        self._is_letting_in = bool(self._lines)
        if self._is_letting_in:
            # Behind everything that is ready now.
            self._loop.call_soon(self._let_in)

    async def _connect(self, one: socket.socket) -> None:
        address = _address_of(one)
        if self._tls is not None:
            self._handshakes.put(one, address)
            if len(self._handshakes) > self._most:
                self._end_handshake()
        try:
            await self._loop.connect_accepted_socket(
                self._make_protocol,
                one,
                ssl=self._tls,
                ssl_handshake_timeout=None if self._tls is None else self._timeout_s,
            )
        except ConnectionAbortedError:
            _log_cut(address, "it took too long")
        except OSError:
            # It has gone, or does not speak TLS: who looks for open ports does that.
            one.close()
        finally:
            self._handshakes.discard(one)

    def _end_handshake(self) -> None:
        one = self._handshakes.first_of_most()
        if one is None:
            return
        self._handshakes.discard(one)
        _log_cut(_address_of(one), "there are too many")
        _end(one)


def _end(one: socket.socket) -> None:
    try:
        # The event loop closes it when it sees the end.
        one.shutdown(socket.SHUT_RDWR)
    except OSError:
        return  # The peer was quicker.


def _log_cut(address: str, reason: str) -> None:
    log.warning("https_handshake_cut", peer_address=address, reason=reason)


def _address_of(one: socket.socket) -> str:
    try:
        return str(one.getpeername()[0])
    except OSError:
        return ""
