"""How long an HTTP connection may keep the node waiting, and how many there may be.

uvicorn waits for ever for the head of a request, for its body, and for a peer that
does not read, and counts nobody's connections. Here each of these waits ends, and who
opens connections without end takes places from itself. What comes before, its turn and
the TLS handshake, is bounded in `entrance`: a connection gets here when it is done.
"""

from __future__ import annotations

import asyncio
import fcntl
import sys
import termios
from typing import Any, ClassVar

import h11
import structlog
from uvicorn.protocols.http.h11_impl import H11Protocol

from dicom_node.config import WebSettings
from dicom_node.web.lingering import LingeringTransport
from dicom_node.web.places import Places, Stage

__all__ = ["BoundedProtocol", "make_protocol"]

log = structlog.get_logger(__name__)

_STEPS = 4
"""How often, within the time that a peer has, it is looked at."""

_LEAST_BYTES_PER_S = 1024
"""A peer that sends or takes less than this while the node waits for it is cut. The
slowest line that a hospital has is a hundred times faster."""

_UNREAD = frozenset({h11.SEND_BODY, h11.ERROR})
"""A peer in these states sends more, or has sent what was not understood."""

_MOST_SENT_AHEAD = 64
"""Requests of a connection that came before the answer to the one before them."""


class BoundedProtocol(H11Protocol):
    """One HTTP connection whose waits all end; `make_protocol` sets its bounds."""

    max_connections: ClassVar[int]
    timeout_s: ClassVar[float]
    places: ClassVar[Places[BoundedProtocol]]
    """Every open connection of the server."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.waits_since = self.loop.time()
        """When it was opened, or the last answer was complete."""
        self._received = 0
        self._sent_ahead = 0
        self._window_began = self.waits_since
        self._received_before = 0
        self._unsent_before = 0
        self._was_receiving = False
        self._was_held_up = False
        """Whether, since the window began, the node and not the peer was slow."""
        self._look_again: asyncio.TimerHandle | None = None

    @property
    def is_waiting(self) -> bool:
        """Whether no request of it is being received or answered."""
        return self.conn.their_state is h11.IDLE

    @property
    def address(self) -> str:
        """Where it comes from; empty when it was gone at once."""
        return self.client[0] if self.client else ""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Take the place of another connection when there are too many."""
        super().connection_made(transport)
        self.transport = self._lingering = LingeringTransport(
            transport,
            has_more_to_come=lambda: self.conn.their_state in _UNREAD,
            resume_reading=self.flow.resume_reading,
            when_ended=lambda: self.places.free(self),
            patience_s=self.timeout_s,
        )
        self._look_again = self.loop.call_later(self.timeout_s / _STEPS, self._look)
        if len(self.places) >= self.max_connections and not self._displace_another():
            self.transport.abort()
            return
        self.places.put(self, self.address, stage=Stage.WAITING)

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop looking at it."""
        if self._look_again is not None:
            self._look_again.cancel()
        self._lingering.lost()
        self.places.free(self)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Count what comes."""
        self._received += len(data)
        if self._lingering.lingers:
            self._lingering.forget(len(data))
            return  # its answer says already what is thought of it
        super().data_received(data)
        self._note_stage()
        self._was_held_up |= self.flow.read_paused
        if self._is_receiving and not self._was_receiving:
            self._begin_window(self._count_unsent())

    def pause_writing(self) -> None:
        """Begin to look at how fast the peer takes its answer."""
        super().pause_writing()
        self._begin_window(self._count_unsent())

    def resume_writing(self) -> None:
        """Note that the peer took something."""
        self._was_held_up = True
        super().resume_writing()

    def on_response_complete(self) -> None:
        """Begin to wait for the next request."""
        self.waits_since = self.loop.time()
        if self.conn.trailing_data[0]:
            self._sent_ahead += 1
            if self._sent_ahead > _MOST_SENT_AHEAD:
                # RFC 9112 9.3.2: whoever sends ahead must be ready to ask again.
                self.transport.close()
        super().on_response_complete()
        self._note_stage()

    def _displace_another(self) -> bool:
        """Make room for this one; return False when it is itself one too many."""
        yields = self.places.choose_to_end(newcomer=self.address)
        log.warning("http_connection_displaced", is_newcomer=yields is None)
        if yields is None:
            return False
        yields.transport.abort()
        return True

    def _note_stage(self) -> None:
        if self.is_waiting:
            stage = Stage.WAITING
        elif self._is_receiving:
            stage = Stage.RECEIVING
        else:
            stage = Stage.ANSWERING
        self.places.move(self, stage)

    def _look(self) -> None:
        """Cut it when the peer let the node wait for too long."""
        reason = self._trouble()
        if reason:
            log.warning("http_connection_cut", peer_address=self.address, reason=reason)
            # A close would wait until the peer has taken what is on the way to it.
            self.transport.abort()
            return
        self._look_again = self.loop.call_later(self.timeout_s / _STEPS, self._look)

    def _trouble(self) -> str:
        now = self.loop.time()
        if self.is_waiting and now - self.waits_since > self.timeout_s:
            return "no request came"
        if now - self._window_began < self.timeout_s:
            return ""
        least = _LEAST_BYTES_PER_S * (now - self._window_began)
        unsent = self._count_unsent()
        came = self._received - self._received_before
        is_slow = not self._was_held_up and (
            (self._was_receiving and self._is_receiving and came < least)
            or (unsent and self._unsent_before and unsent > self._unsent_before - least)
        )
        self._begin_window(unsent)
        return "the peer was too slow" if is_slow else ""

    def _begin_window(self, unsent: int) -> None:
        self._window_began = self.loop.time()
        self._received_before, self._unsent_before = self._received, unsent
        self._was_held_up = self.flow.read_paused
        self._was_receiving = self._is_receiving

    def _count_unsent(self) -> int:
        """Return how much the peer has yet to take; 0: the system holds all of it."""
        count = self.transport.get_write_buffer_size()
        connection = self.transport.get_extra_info("socket")
        if not count or connection is None or connection.fileno() < 0:
            return count
        # The system takes more only when a third of its own queue is gone.
        queued = fcntl.ioctl(connection.fileno(), termios.TIOCOUTQ, bytes(4))
        return count + int.from_bytes(queued, sys.byteorder)

    @property
    def _is_receiving(self) -> bool:
        return self.conn.their_state is h11.SEND_BODY


def make_protocol(settings: WebSettings) -> type[BoundedProtocol]:
    """Return the protocol with the bounds of the settings, for uvicorn's ``http``."""
    return type(
        "WebProtocol",
        (BoundedProtocol,),
        {
            "max_connections": settings.max_connections,
            "timeout_s": settings.read_timeout_s,
            "places": Places[BoundedProtocol](),
        },
    )
