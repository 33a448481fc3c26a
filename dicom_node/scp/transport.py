"""PDUs on a socket: every wait ends, and no length that a peer claims is trusted.

The bytes of a PDU are handed on as they come, in one small buffer: nothing is read
that nobody asked for, so a slow disk slows the sender down and fills no memory.
"""

from __future__ import annotations

import select
import socket
import ssl
import struct
import time
from collections.abc import Callable, Iterator
from typing import TypeVar

from dicom_node.errors import ConnectionLostError, PeerTooSlowError, TlsError
from dicom_node.tcp import acknowledge, send_at_once

__all__ = ["BUFFER_BYTES", "PduSocket"]

BUFFER_BYTES = 1 << 17
"""Of each association: the largest piece that is handed on at once."""

_PDU_HEADER = struct.Struct(">BxL")
_LINGER_BYTES = 1 << 18
_SEND_BUFFER_BYTES = 1 << 16
_TLS_HANDSHAKE = 0x16
"""First byte of a TLS connection: the content type, RFC 8446 5.1."""
_ASSOCIATE_RQ = 0x01
_Result = TypeVar("_Result")


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
        self._is_stuck = False
        self._view = memoryview(bytearray(BUFFER_BYTES))
        self._low = self._high = 0
        connection.setblocking(False)
        send_at_once(connection)
        # Answers are small. Who takes none is to wait, not to have thousands made.
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SEND_BUFFER_BYTES)
        self._readable = select.poll()
        self._readable.register(connection, select.POLLIN)
        self._writable = select.poll()
        self._writable.register(connection, select.POLLOUT)
        self._is_interrupted = False

    def secure(self, context: ssl.SSLContext) -> bytes | None:
        """Begin TLS as the one that is called, before anything is read.

        Returns
        -------
        bytes or None
            The certificate (DER) that the peer showed and `context` trusts.

        Raises
        ------
        TlsError
            The peer does not speak TLS, or not as we ask; the message says which.
        ConnectionLostError, PeerTooSlowError

        """
        deadline = time.monotonic() + self._timeout_s
        try:
            self._check_first_byte(deadline)
            # The new object has the same descriptor, which the pollers know.
            self._socket = secured = context.wrap_socket(
                self._socket, server_side=True, do_handshake_on_connect=False
            )
            if self.is_cut:
                _shut(secured, socket.SHUT_RDWR)
            elif self._is_interrupted:
                _shut(secured, socket.SHUT_RD)
            self._retry(secured.do_handshake, deadline)
        except ssl.SSLEOFError as error:
            raise TlsError("it hung up in the handshake") from error
        except ssl.SSLError as error:
            raise TlsError(_reason_of(error)) from error
        except (OSError, ValueError) as error:
            raise ConnectionLostError from error
        return secured.getpeercert(binary_form=True)

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
        # Who did not take the last one is not waited for again.
        deadline = time.monotonic() + (0.0 if self._is_stuck else self._timeout_s)
        view = memoryview(data)
        while view:
            try:
                view = view[self._socket.send(view) :]
            except (BlockingIOError, ssl.SSLWantWriteError):
                self._wait_to_send(deadline)
            except ssl.SSLWantReadError:
                self._wait(self._readable, deadline)
            except OSError as error:
                raise ConnectionLostError from error

    def interrupt(self) -> None:
        """Make the reading thread find the connection closed. From any thread."""
        self._is_interrupted = True
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
        if isinstance(self._socket, ssl.SSLSocket):
            _say_goodbye(self._socket)
        _shut(self._socket, socket.SHUT_WR)
        try:
            while budget > 0 and linger_s > 0:
                self._deadline = deadline
                # What comes now is thrown away: it need not be deciphered.
                self._receive(socket.socket.recv_into)
                budget -= self._high
        except (ConnectionLostError, PeerTooSlowError):
            budget = 0  # The peer has closed, or had its moment.
        self._socket.close()

    def _fill(self) -> None:
        self._receive(type(self._socket).recv_into)

    def _receive(self, receive: Callable[[socket.socket, memoryview], int]) -> None:
        self._low = self._high = 0
        while True:
            try:
                count = receive(self._socket, self._view)
            except (BlockingIOError, ssl.SSLWantReadError):
                acknowledge(self._socket)
                self._wait(self._readable, self._deadline)
                continue
            except ssl.SSLWantWriteError:
                self._wait(self._writable, self._deadline)
                continue
            except OSError as error:
                raise ConnectionLostError from error
            if not count:
                raise ConnectionLostError
            self._high = count
            self.bytes_received += count
            return

    def _check_first_byte(self, deadline: float) -> None:
        first = self._retry(lambda: self._socket.recv(1, socket.MSG_PEEK), deadline)
        if not first:
            raise ConnectionLostError
        if first[0] == _ASSOCIATE_RQ:
            raise TlsError("an association without TLS")
        if first[0] != _TLS_HANDSHAKE:
            raise TlsError("something else than TLS")

    def _retry(self, attempt: Callable[[], _Result], deadline: float) -> _Result:
        while True:
            try:
                return attempt()
            except (BlockingIOError, ssl.SSLWantReadError):
                self._wait(self._readable, deadline)
            except ssl.SSLWantWriteError:
                self._wait(self._writable, deadline)

    def _wait_to_send(self, deadline: float) -> None:
        try:
            self._wait(self._writable, deadline)
        except PeerTooSlowError:
            self._is_stuck = True
            raise

    def _wait(self, poller: select.poll, deadline: float) -> None:
        left_s = deadline - time.monotonic()
        if left_s <= 0 or not poller.poll(left_s * 1000 + 1):
            raise PeerTooSlowError


def _reason_of(error: ssl.SSLError) -> str:
    """Return why a handshake failed, in OpenSSL's words; the peer's are not quoted."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate is not accepted: {error.verify_message}"
    name = error.reason or "it failed"
    return name.replace("_", " ").lower()


def _say_goodbye(connection: ssl.SSLSocket) -> None:
    """Send close_notify and wait for none: what follows is not data (RFC 8446 6.1)."""
    try:
        connection.unwrap()
    except (OSError, ValueError):
        return  # Its answer is not there yet, or the peer was faster.


def _shut(connection: socket.socket, how: int) -> None:
    try:
        # The plain method: that of a TLS socket would take TLS off under its reader.
        socket.socket.shutdown(connection, how)
    except OSError:
        return  # The peer was faster.
