"""PDUs on a socket: every wait ends, and no length that a peer claims is trusted.

The bytes of a PDU are handed on as they come, in one small buffer: nothing is read
that nobody asked for, so a slow disk slows the sender down and fills no memory.
"""

from __future__ import annotations

import select
import socket
import struct
import time
from collections.abc import Iterator

from dicom_node.errors import ConnectionLostError, PeerTooSlowError

__all__ = ["BUFFER_BYTES", "PduSocket"]

BUFFER_BYTES = 1 << 17
"""Of each association: the largest piece that is handed on at once."""

_PDU_HEADER = struct.Struct(">BxL")
_LINGER_BYTES = 1 << 18


class PduSocket:
    """A connected socket, read PDU by PDU by one thread.

    Parameters
    ----------
    connection : socket.socket
        Becomes non-blocking, and has Nagle's algorithm turned off: answers are small.
    pdu_timeout_s : float
        A PDU that has begun must be complete after this long, and one that is sent
        must be taken. Time that the reader spends on what it got is not counted.

    """

    def __init__(self, connection: socket.socket, *, pdu_timeout_s: float) -> None:
        self.bytes_received = 0
        self.is_cut = False
        """Whether `cut` was called."""
        self._socket = connection
        self._timeout_s = pdu_timeout_s
        self._deadline = 0.0
        self._view = memoryview(bytearray(BUFFER_BYTES))
        self._low = self._high = 0
        connection.setblocking(False)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._readable = select.poll()
        self._readable.register(connection, select.POLLIN)
        self._writable = select.poll()
        self._writable.register(connection, select.POLLOUT)

    def next_pdu(self, *, idle_timeout_s: float) -> tuple[int, int]:
        """Wait for a PDU and return its type and the length of what follows.

        Parameters
        ----------
        idle_timeout_s : float
            How long the peer may be silent before the PDU begins.

        Raises
        ------
        ConnectionLostError, PeerTooSlowError

        """
        if self._low == self._high:
            self._deadline = time.monotonic() + idle_timeout_s
            self._fill()
        self._deadline = time.monotonic() + self._timeout_s
        kind, length = _PDU_HEADER.unpack(self.read(_PDU_HEADER.size))
        return kind, length

    def read(self, count: int) -> bytes:
        """Return the next bytes of the PDU; ``count`` is what the caller allows.

        Raises
        ------
        ConnectionLostError, PeerTooSlowError

        """
        if count <= self._high - self._low:
            self._low += count
            return bytes(self._view[self._low - count : self._low])
        return b"".join(bytes(chunk) for chunk in self.chunks(count))

    def chunks(self, count: int) -> Iterator[memoryview]:
        """Yield the next bytes of the PDU as they come.

        A piece is valid until the next one is asked for.

        Raises
        ------
        ConnectionLostError, PeerTooSlowError

        """
        while count:
            if self._low == self._high:
                self._fill()
            taken = min(count, self._high - self._low)
            count -= taken
            self._low += taken
            handed_on_at = time.monotonic()
            yield self._view[self._low - taken : self._low]
            self._deadline += time.monotonic() - handed_on_at

    def send(self, data: bytes) -> None:
        """Send a PDU.

        Raises
        ------
        ConnectionLostError
            The connection is gone.
        PeerTooSlowError
            The peer does not take it.

        """
        deadline = time.monotonic() + self._timeout_s
        view = memoryview(data)
        while view:
            try:
                view = view[self._socket.send(view) :]
            except BlockingIOError:
                self._wait(self._writable, deadline)
            except OSError as error:
                raise ConnectionLostError from error

    def interrupt(self) -> None:
        """Make the reading thread find the connection closed. From any thread."""
        _shut(self._socket, socket.SHUT_RD)

    def cut(self) -> None:
        """End the connection at once. From any thread."""
        self.is_cut = True
        _shut(self._socket, socket.SHUT_RDWR)

    def close(self, *, linger_s: float) -> None:
        """Close the connection so that what was sent last is not lost.

        Closing while bytes of the peer are unread would reset the connection and
        take our last PDU with it, so the peer is given a moment to close first.

        Parameters
        ----------
        linger_s : float
            How long; 0: reset at once.

        """
        deadline = time.monotonic() + linger_s
        budget = _LINGER_BYTES
        _shut(self._socket, socket.SHUT_WR)
        try:
            while budget > 0 and linger_s > 0:
                self._deadline = deadline
                self._fill()
                budget -= self._high
        except (ConnectionLostError, PeerTooSlowError):
            budget = 0  # The peer has closed, or had its moment.
        self._socket.close()

    def _fill(self) -> None:
        self._low = self._high = 0
        while True:
            try:
                count = self._socket.recv_into(self._view)
            except BlockingIOError:
                self._wait(self._readable, self._deadline)
                continue
            except OSError as error:
                raise ConnectionLostError from error
            if not count:
                raise ConnectionLostError
            self._high = count
            self.bytes_received += count
            return

    def _wait(self, poller: select.poll, deadline: float) -> None:
        left_s = deadline - time.monotonic()
        if left_s <= 0 or not poller.poll(left_s * 1000 + 1):
            raise PeerTooSlowError


def _shut(connection: socket.socket, how: int) -> None:
    try:
        connection.shutdown(how)
    except OSError:
        return  # The peer was faster.
