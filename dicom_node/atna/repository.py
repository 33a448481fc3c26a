"""Sends audit messages to a repository over TLS.

Syslog has no acknowledgement (RFC 5425 4.4): what a connection took is known to be at
the other machine when its TCP has acknowledged it, and believed to be read some
seconds later, when the connection still stands. What is younger than that when it
breaks is sent again: a message may come twice, in the same bytes, and none is lost
while the repository keeps what it reads.
"""

from __future__ import annotations

import fcntl
import socket
import ssl
import struct
import termios
from collections.abc import Callable, Sequence

from dicom_node.atna.syslog import frame
from dicom_node.config import AuditSettings
from dicom_node.errors import AuditError
from dicom_node.tls import client_context

__all__ = ["AuditRepository", "check_repository"]

_CONNECT_S = 10.0
_SEND_S = 30.0
"""How long the repository may take nothing of what it is sent."""

_SETTLE_S = 5.0
"""How long after it was taken a message is believed to be read."""

_PEEK_BYTES = 4096


class AuditRepository:
    """A connection to the audit record repository, opened when it is needed.

    Parameters
    ----------
    host, port : str, int
        Where it is.
    context : callable
        Makes the TLS context, anew for each connection: certificates are renewed.

    """

    name = "syslog"
    settle_s = _SETTLE_S

    def __init__(
        self, host: str, port: int, *, context: Callable[[], ssl.SSLContext]
    ) -> None:
        self._host = host
        self._port = port
        self._context = context
        self._socket: ssl.SSLSocket | None = None

    def write(self, lines: Sequence[bytes]) -> None:
        """Hand messages over; with none of them, only look at the connection.

        Raises
        ------
        AuditError
            The connection cannot be made or broke: what was handed over shortly
            before may be lost.

        """
        try:
            if self._socket is None:
                if not lines:
                    return
                self._socket = self._connect()
            self._look(self._socket)
            if lines:
                self._socket.settimeout(_SEND_S)
                self._socket.sendall(b"".join(map(frame, lines)))
        except (OSError, ValueError) as error:
            self._drop()
            raise self._error(error) from error

    def probe(self) -> str:
        """Connect and hang up; return the version of TLS that was spoken.

        Raises
        ------
        AuditError
            It cannot be reached, or its certificate is not good.

        """
        try:
            self._socket = self._connect()
            version = self._socket.version()
        except (OSError, ValueError) as error:
            raise self._error(error) from error
        self.close()
        return version or "TLS"

    def is_settled(self) -> bool:
        """Whether the other machine has acknowledged all that was handed over."""
        if self._socket is None:
            return False
        waiting = fcntl.ioctl(self._socket.fileno(), termios.TIOCOUTQ, b"\0" * 4)
        return bool(struct.unpack("i", waiting)[0] == 0)

    def close(self) -> None:
        """Say good-bye and hang up."""
        if self._socket is not None:
            try:
                self._socket.settimeout(1.0)
                self._socket.unwrap()
            except (OSError, ValueError):
                pass  # it hangs up as it likes
            self._drop()

    def _connect(self) -> ssl.SSLSocket:
        context = self._context()
        plain = socket.create_connection((self._host, self._port), _CONNECT_S)
        try:
            plain.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            # Unacknowledged for so long, in milliseconds, the connection is broken.
            plain.setsockopt(
                socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, int(_SEND_S * 1000)
            )
            return context.wrap_socket(plain, server_hostname=self._host)
        except BaseException:
            plain.close()
            raise

    @staticmethod
    def _look(connection: ssl.SSLSocket) -> None:
        """Notice that the repository has hung up; it never says anything."""
        connection.settimeout(0)
        try:
            while connection.recv(_PEEK_BYTES):
                pass
        except (ssl.SSLWantReadError, BlockingIOError):
            return
        raise ConnectionResetError

    def _drop(self) -> None:
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def _error(self, error: Exception) -> AuditError:
        where = f"audit repository {self._host}:{self._port}"
        if isinstance(error, ssl.SSLCertVerificationError):
            return AuditError(f"{where}: its certificate is not good")
        if isinstance(error, ssl.SSLError):
            return AuditError(f"{where}: TLS failed ({error.reason or 'no reason'})")
        if isinstance(error, TimeoutError):
            return AuditError(f"{where}: it does not answer")
        if isinstance(error, socket.gaierror):
            return AuditError(f"{where}: the host name is not known")
        return AuditError(
            f"{where}: {getattr(error, 'strerror', None) or 'it hung up'}"
        )


def check_repository(settings: AuditSettings) -> str:
    """Connect to the repository and hang up; return what was seen.

    Raises
    ------
    AuditError
        It cannot be reached, or its certificate is not good.
    SettingsError
        A file of the settings cannot be used.

    """
    host = settings.host or ""
    repository = AuditRepository(
        host, settings.port, context=lambda: client_context(settings)
    )
    version = repository.probe()
    return f"answers over {version}"
