"""Sends the scripts of `pdu_fuzz` to a port, one connection each, many open at once."""

from __future__ import annotations

import contextlib
import random
import socket
import struct
import time
from collections.abc import Iterable

from tests.torture.outcome import Tell
from tests.torture.pdu_fuzz import make_script

__all__ = ["send_scripts"]

_OPEN = 32
"""Connections at once: fewer than the node allows. Orthanc reads one request for an
association after the other, so that all wait behind one that sends none."""

_HELD_S = 0.3
"""How long a caller listens that wants to hear the answers."""

_GIVE_UP_S = 20.0


def send_scripts(port: int, seeds: Iterable[int], *, tell: Tell | None = None) -> int:
    """Send one script for each seed; return how many connections were made.

    A third of the callers hangs up at once, a third by a reset, and the others listen
    for a moment after they have closed their side.
    """
    count = 0
    listening: list[tuple[float, socket.socket]] = []
    for seed in seeds:
        rng = random.Random(seed)
        one = _connect(port)
        with contextlib.suppress(OSError):
            one.settimeout(1.0)
            for piece in make_script(rng):
                one.sendall(piece)
        count += 1
        ending = rng.randrange(3)
        if ending == 0:
            one.close()
        elif ending == 1:
            with contextlib.suppress(OSError):
                one.setsockopt(
                    socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0)
                )
            one.close()
        else:
            if rng.random() < 0.5:
                with contextlib.suppress(OSError):
                    one.shutdown(socket.SHUT_WR)
            listening.append((time.monotonic() + _HELD_S, one))
        if len(listening) >= _OPEN or count % 50 == 0:
            listening = _hear(listening)
        if tell is not None and count % 10_000 == 0:
            tell(f"{count} connections")
    while listening:
        listening = _hear(listening)
    return count


def _connect(port: int) -> socket.socket:
    end = time.monotonic() + _GIVE_UP_S
    while True:
        try:
            return socket.create_connection(("127.0.0.1", port), _GIVE_UP_S)
        except OSError:
            if time.monotonic() > end:
                raise
            time.sleep(0.05)


def _hear(
    listening: list[tuple[float, socket.socket]],
) -> list[tuple[float, socket.socket]]:
    """Read what came; close those that are over or have heard enough."""
    kept = []
    for until, one in listening:
        one.setblocking(False)
        try:
            is_over = not one.recv(1 << 16)
        except BlockingIOError:
            is_over = False
        except OSError:
            is_over = True
        if is_over or time.monotonic() > until:
            one.close()
        else:
            kept.append((until, one))
    if len(kept) >= _OPEN:
        time.sleep(0.01)
    return kept
