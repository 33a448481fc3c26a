"""Ends an HTTP connection so that its peer still gets the answer.

A peer that is refused early is still sending. Closed at once, its system gets a reset
for what nobody read, and throws the answer away with it (RFC 9112 9.6): an upload that
is too large would look like a broken line and not like a 413.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

__all__ = ["LingeringTransport"]

_MOST_BYTES = 32 << 20
"""An upload that is longer still is cut: nobody pays for a stream without end."""


class LingeringTransport(asyncio.Transport):
    """A transport whose `close` first reads on when there is more to come.

    Whoever owns it tells how much comes meanwhile, and forgets that data.

    Parameters
    ----------
    transport : asyncio.Transport
        The connection.
    has_more_to_come : callable
        Whether the peer is still sending something, when it is closed.
    resume_reading : callable
        Reads again where reading was paused.
    when_ended : callable
        Called when nothing is read from it any more.
    patience_s : float
        How long it reads on at most, in seconds.

    """

    def __init__(
        self,
        transport: asyncio.Transport,
        *,
        has_more_to_come: Callable[[], bool],
        resume_reading: Callable[[], None],
        when_ended: Callable[[], None],
        patience_s: float,
    ) -> None:
        super().__init__()
        self._transport = transport
        self._has_more_to_come = has_more_to_come
        self._resume_reading = resume_reading
        self._when_ended = when_ended
        self._patience_s = patience_s
        self._end: asyncio.TimerHandle | None = None
        self._left_bytes = _MOST_BYTES
        self.lingers = False
        """Whether it was closed, and reads on."""

    def close(self) -> None:
        """Send what was written and end, at the latest when patience does."""
        if self.lingers:
            return
        if self._transport.is_closing() or not self._has_more_to_come():
            self._transport.close()
            self._when_ended()
            return
        self.lingers = True
        if self._transport.can_write_eof():
            self._transport.write_eof()
        self._resume_reading()
        self._end = asyncio.get_running_loop().call_later(self._patience_s, self.abort)

    def forget(self, size: int) -> None:
        """Count what came after the answer, in bytes; too much ends it at once."""
        self._left_bytes -= size
        if self._left_bytes < 0:
            self.abort()

    def lost(self) -> None:
        """Wait no more: the peer has ended it."""
        if self._end is not None:
            self._end.cancel()

    def is_closing(self) -> bool:
        """Whether nothing more is to be written."""
        return self.lingers or self._transport.is_closing()

    def abort(self) -> None:
        """End at once."""
        self._transport.abort()
        self._when_ended()

    def write(self, data: bytes | bytearray | memoryview[Any]) -> None:
        """Write, unless it was closed."""
        if not self.lingers:
            self._transport.write(data)

    def get_write_buffer_size(self) -> int:
        """Return how many bytes wait to be sent."""
        return self._transport.get_write_buffer_size()

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """Return what the transport tells of itself."""
        return self._transport.get_extra_info(name, default)

    def pause_reading(self) -> None:
        """Read no more for now."""
        self._transport.pause_reading()

    def resume_reading(self) -> None:
        """Read again."""
        self._transport.resume_reading()
