"""Brings the trail to one place in its order; nothing is passed over."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Protocol

import structlog

from dicom_node.atna.batch import NodeIdentity
from dicom_node.atna.reading import TrailReader
from dicom_node.atna.syslog import format_message
from dicom_node.errors import AuditError, NodeError
from dicom_node.store.trail import Backlog, TrailStore

__all__ = ["AuditSender", "AuditSink"]

_LOOK_S = 1.0
"""How often it looks for news."""

_FIRST_WAIT_S = 1.0
_LONGEST_WAIT_S = 60.0
"""Between tries it waits twice as long each time, up to this: a repository that comes
back is found within a minute."""

_LAST_LOOKS = 20
_LAST_LOOK_S = 0.05
"""At the end it waits a second for what is on its way."""

log = structlog.get_logger(__name__)


class AuditSink(Protocol):
    """Where messages go."""

    name: str
    """The cursor's, too."""
    settle_s: float
    """How long what was written may still be lost."""

    def write(self, lines: Sequence[bytes]) -> None:
        """Take messages, or with none look whether those before arrived."""

    def is_settled(self) -> bool:
        """Whether all that was written has arrived, as far as can be known."""

    def close(self) -> None:
        """Let go."""


class AuditSender:
    """A thread with a cursor of its own.

    Parameters
    ----------
    sink : AuditSink
        Where the messages go.
    trail : TrailStore
        The rows and the cursor.
    node : NodeIdentity
        Who reports.
    monotonic : callable
        A clock that is never set, in seconds.

    """

    def __init__(
        self,
        sink: AuditSink,
        trail: TrailStore,
        node: NodeIdentity,
        *,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self.name = sink.name
        self.trouble: str | None = None
        """Why nothing is sent now."""
        self._sink = sink
        self._trail = trail
        self._node = node
        self._reader = TrailReader(trail, node, monotonic=monotonic)
        self._monotonic = monotonic
        self._cursor = f"audit-{sink.name}"
        self._confirmed = self._sent = 0
        self._unsettled: deque[tuple[int, float]] = deque()
        self._wait_s = _FIRST_WAIT_S
        self._stop_asked = threading.Event()
        self._thread: threading.Thread | None = None

    @property
    def is_alive(self) -> bool:
        """Whether its thread runs."""
        return self._thread is not None and self._thread.is_alive()

    def open(self) -> None:
        """Find where it was; a new one begins with what comes next.

        Raises
        ------
        StoreError
            The database cannot answer.

        """
        self._confirmed = self._sent = self._trail.open_cursor(self._cursor)

    def start(self) -> None:
        """Begin to send."""
        self._thread = threading.Thread(
            target=self._run, name=self._cursor, daemon=True
        )
        self._thread.start()

    def stop(self, grace_s: float) -> None:
        """Send what is there, within this time; the rest is sent at the next start."""
        self._stop_asked.set()
        if self._thread is not None:
            self._thread.join(grace_s)

    def backlog(self) -> Backlog:
        """Return what is not known to have arrived."""
        return self._trail.backlog(self._cursor)

    def step(self, *, is_last: bool = False) -> bool:
        """Send the next messages; return whether there were any.

        Raises
        ------
        AuditError
            They could not be handed over: this and what was handed over shortly
            before is sent again.
        StoreError
            The database cannot answer.

        """
        try:
            self._sink.write(())
            self._settle(is_last=False)
            stretch = self._reader.next(self._sent, is_last=is_last)
            if stretch is not None:
                self._sink.write(
                    [format_message(one, self._node) for one in stretch.messages]
                )
                self._sent = stretch.last_id
                self._unsettled.append((stretch.last_id, self._monotonic()))
        except AuditError:
            self._unsettled.clear()
            self._sent = self._confirmed
            raise
        self._settle(is_last=is_last)
        return stretch is not None

    def _settle(self, *, is_last: bool) -> None:
        """Move the cursor over what is not lost even if the connection breaks now."""
        until = self._monotonic() - (0.0 if is_last else self._sink.settle_s)
        if not self._unsettled or self._unsettled[0][1] > until:
            return
        if not self._sink.is_settled():
            return
        while self._unsettled and self._unsettled[0][1] <= until:
            self._confirmed, _ = self._unsettled.popleft()
        self._trail.move_cursor(self._cursor, self._confirmed)

    def _run(self) -> None:
        while not self._stop_asked.is_set():
            wait_s = self._survive()
            self._stop_asked.wait(wait_s)
        self._finish()

    def _survive(self) -> float:
        """Do one step; return how long to wait for the next, in seconds."""
        try:
            is_busy = self.step()
        except NodeError as error:
            if self.trouble is None:
                log.warning("audit_waits", to=self.name, reason=str(error))
            self.trouble = str(error)
        except Exception:
            # Its text may quote a row: `audit` writes class and place.
            log.exception("audit_failed", to=self.name)
            self.trouble = "a message cannot be made: the log says where"
        else:
            if self.trouble is not None:
                log.info("audit_goes_on", to=self.name)
            self.trouble = None
            self._wait_s = _FIRST_WAIT_S
            return 0.0 if is_busy else _LOOK_S
        wait_s = self._wait_s
        self._wait_s = min(2 * wait_s, _LONGEST_WAIT_S)
        return wait_s

    def _finish(self) -> None:
        """Send what is left, once, and hang up."""
        try:
            while self.step(is_last=True):
                pass
            for _ in range(_LAST_LOOKS):
                self._settle(is_last=True)
                if not self._unsettled:
                    break
                time.sleep(_LAST_LOOK_S)
        except NodeError as error:
            log.warning("audit_left", to=self.name, reason=str(error))
        except Exception:
            log.exception("audit_failed", to=self.name)
        self._sink.close()
