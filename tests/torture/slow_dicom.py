"""DICOM callers that hold connections open in every slow way."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from types import TracebackType

from tests.builders.raw_peer import (
    CT_IMAGE_STORAGE,
    EXPLICIT_LITTLE,
    VERIFICATION,
    RawPeer,
    associate_request,
    command_set,
    p_data,
)
from tests.torture.proxy import close_by_reset

__all__ = ["SlowCallers"]

_REQUEST = associate_request([(1, CT_IMAGE_STORAGE, [EXPLICIT_LITTLE])])
_ECHOES = 100 * p_data(
    command_set(0x30, sop_class=VERIFICATION, has_data_set=False), is_command=True
)
_MOST_ECHOES = 400
_SMALL_BUFFER = 4096


class SlowCallers:
    """Opens connections and keeps them, until the end of the block.

    Parameters
    ----------
    port : int
        Loopback port of the server.
    called : str
        Its AE title.
    share : float
        Part of the full number of callers.

    """

    def __init__(self, port: int, *, called: str = "GROUNDING", share: float = 1.0):
        self.opened_at = 0.0
        """When all were open."""
        self._port = port
        self._called = called
        self._share = share
        self._open: list[socket.socket] = []
        self._is_over = threading.Event()
        self._drip: threading.Thread | None = None

    def __enter__(self) -> SlowCallers:
        for _ in range(self._count(100)):
            self._connect(b"\x01\0\0")
        for _ in range(self._count(100)):
            self._connect(b"")
        dripping = [self._connect(b"") for _ in range(self._count(100))]
        self._drip = threading.Thread(
            target=self._send_slowly, args=(dripping,), daemon=True
        )
        self._drip.start()
        for _ in range(self._count(20)):
            self._never_read()
        for number in range(self._count(50)):
            one = self._connect(_REQUEST[:20] if number % 3 else b"\x01")
            if number % 2:
                self._open.remove(one)
                close_by_reset(one)
            else:
                with contextlib.suppress(OSError):
                    one.shutdown(socket.SHUT_WR)
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

    def _count(self, full: int) -> int:
        return max(2, int(full * self._share))

    def _connect(self, data: bytes) -> socket.socket:
        one = socket.create_connection(("127.0.0.1", self._port), 20.0)
        one.sendall(data)
        self._open.append(one)
        return one

    def _send_slowly(self, dripping: list[socket.socket]) -> None:
        """Send a byte a second of a valid request, from each."""
        for at in range(len(_REQUEST)):
            for one in dripping:
                with contextlib.suppress(OSError):
                    one.send(_REQUEST[at : at + 1])
            if self._is_over.wait(1.0):
                return

    def _never_read(self) -> None:
        """Ask for so many answers that they fit nowhere, and take none."""
        peer = RawPeer(self._port, timeout_s=20.0)
        peer.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _SMALL_BUFFER)
        self._open.append(peer.socket)
        try:
            peer.associate(VERIFICATION, called=self._called)
        except (OSError, AssertionError):
            return  # No place for it: it holds nothing.
        peer.socket.settimeout(0.05)
        with contextlib.suppress(OSError):
            for _ in range(_MOST_ECHOES):
                peer.send(_ECHOES)
