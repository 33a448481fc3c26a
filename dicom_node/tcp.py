"""Listen, and keep TCP from waiting where two peers speak in turn.

A sender with Nagle's algorithm (RFC 896) holds the last piece of a message back until
what it sent before is acknowledged; a receiver with delayed acknowledgements (RFC 1122
4.2.3.2) acknowledges late, hoping for an answer to send along. Together they cost some
40 ms for each message, more than a DICOM object of a megabyte. Neither end can change
the other's part: ours does not hold back, and acknowledges before it waits for more.
"""

from __future__ import annotations

import socket

__all__ = ["acknowledge", "listen_on", "send_at_once"]

_QUICKACK: int | None = getattr(socket, "TCP_QUICKACK", None)
"""Linux alone has it, tcp(7)."""


def listen_on(host: str, port: int, *, backlog: int = 128) -> socket.socket:
    """Listen as every port of the node does: on ``::``, for IPv4 as well.

    Raises
    ------
    OSError
        The address or port cannot be listened on.

    """
    family = socket.getaddrinfo(
        host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )[0][0]
    return socket.create_server(
        (host, port),
        family=family,
        backlog=backlog,
        dualstack_ipv6=host == "::" and socket.has_dualstack_ipv6(),
    )


def send_at_once(connection: socket.socket) -> None:
    """Turn Nagle's algorithm off.

    Raises
    ------
    OSError
        The connection is gone.

    """
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


def acknowledge(connection: socket.socket) -> None:
    """Acknowledge what has come; to be called before each wait for more.

    The system goes back to delaying by itself, so that once does not suffice. A
    connection that is gone is told by the next read.
    """
    if _QUICKACK is not None:
        try:
            connection.setsockopt(socket.IPPROTO_TCP, _QUICKACK, 1)
        except OSError:
            return
