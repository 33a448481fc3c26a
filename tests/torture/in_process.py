"""An acceptor without a network: what a caller sends lies ready, answers are kept."""

from __future__ import annotations

import logging
import os
import socket
import tempfile
import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import structlog

from conformance.profile import Rejection
from dicom_node.config import LimitSettings
from dicom_node.errors import TransportError
from dicom_node.receive import InstanceReceiver, StoreAnswer
from dicom_node.scp.acceptor import Acceptor
from dicom_node.scp.normalized import CommitmentHandler
from dicom_node.scp.pdu import AssociateRequest
from dicom_node.scp.transport import PduSocket
from dicom_node.spool import Spool
from tests.builders.dicom_server import MemoryLedger

__all__ = ["InProcessHost", "silence"]


class InProcessHost:
    """The server around acceptors that are run one after the other.

    Parameters
    ----------
    folder : pathlib.Path, optional
        Where instances are kept; None: in memory where the system has such a folder,
        since nothing here is about what a disk keeps.

    """

    def __init__(self, folder: Path | None = None) -> None:
        self._temporary: tempfile.TemporaryDirectory[str] | None = None
        if folder is None:
            memory = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
            self._temporary = tempfile.TemporaryDirectory(dir=memory)
            folder = Path(self._temporary.name)
        self.folder = folder
        self.limits = LimitSettings(min_free_bytes=0)
        self.commitments: CommitmentHandler | None = None
        self.spool = Spool(folder, min_free_bytes=0)
        self.receiver = InstanceReceiver(self.spool, MemoryLedger())
        self.is_stopping = False
        self.admitted = self.ended_count = 0
        self.statuses: Counter[int] = Counter()
        self.uncaught: Counter[str] = Counter()
        """What ended an acceptor and is not the caller's doing."""

    def close(self) -> None:
        """Remove the folder, if it was made here."""
        if self._temporary is None:
            return
        for thread in threading.enumerate():
            if thread.name == "spare-files":
                thread.join()  # would make files in what is removed
        self._temporary.cleanup()

    def admit(
        self, acceptor: Acceptor, request: AssociateRequest, address: str
    ) -> Rejection | None:
        """Let everybody in."""
        self.admitted += 1
        return None

    def answered(self, answer: StoreAnswer) -> None:
        """Count an answer."""
        self.statuses[int(answer.status)] += 1

    def ended(self, acceptor: Acceptor, *, is_aborted: bool) -> None:
        """Count an end."""
        self.ended_count += 1

    def run(self, pieces: Sequence[bytes]) -> bytes:
        """Serve a caller that sends these pieces and closes; return the answers."""
        line = _Line(pieces)
        pdus = PduSocket(line, pdu_timeout_s=5.0)
        _Watched(self, pdus, address="127.0.0.1").run()
        return bytes(line.sent)


class _Watched(Acceptor):
    """Tells its host what was raised in it."""

    _host: InProcessHost

    def _log_abort(self, error: Exception) -> None:
        if not isinstance(error, TransportError):
            self._host.uncaught[f"{type(error).__name__}: {error}"] += 1


class _Line(socket.socket):
    """A socket that nobody is at the other end of."""

    def __init__(self, pieces: Sequence[bytes]) -> None:
        super().__init__(socket.AF_UNIX, socket.SOCK_STREAM)
        self._pieces = [piece for piece in pieces if piece]
        self.sent = bytearray()

    def recv_into(self, buffer: Any, *_: Any) -> int:
        if not self._pieces:
            return 0
        piece = self._pieces[0]
        count = min(len(piece), len(buffer))
        buffer[:count] = piece[:count]
        self._pieces[0] = piece[count:]
        if not self._pieces[0]:
            del self._pieces[0]
        return count

    def send(self, data: Any, *_: Any) -> int:
        self.sent += data
        return len(data)

    def setsockopt(self, *_: Any) -> None:
        """TCP has options that this has not."""


@contextmanager
def silence() -> Iterator[None]:
    """Log nothing: each of a million cases would."""
    before = structlog.get_config()
    structlog.configure(
        wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL)
    )
    try:
        yield
    finally:
        structlog.configure(**before)
