"""Tells open pages that something changed: one reader of the events for all of them."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import structlog

from dicom_node.errors import OutOfResourcesError, StoreError

if TYPE_CHECKING:
    from dicom_node.store.details import DetailStore, EventRow

__all__ = ["Changes"]

_MAX_PAGES = 64
"""Open pages; each holds a connection."""

_LOOK_S = 1.0
_BATCH = 1000
_MAX_WAITING = 256
"""Changes that wait for a slow page; it is then told to look at everything."""

_KEEP_ALIVE_S = 15.0
_LIFE_S = 600.0
"""A stream ends after this long and the browser opens another, which asks again
whether the person may still see."""

_log = structlog.get_logger(__name__)


@dataclass(eq=False)
class _Page:
    loop: asyncio.AbstractEventLoop
    queue: asyncio.Queue[str | None]


class Changes:
    """Reads new events while a page is open; safe to share between threads.

    Parameters
    ----------
    details : DetailStore
        Where the events are.
    look_s : float
        How often they are looked at.

    """

    def __init__(self, details: DetailStore, *, look_s: float = _LOOK_S) -> None:
        self._details = details
        self._look_s = look_s
        self._pages: set[_Page] = set()
        self._lock = threading.Lock()
        self._reader: threading.Thread | None = None
        self._is_closed = threading.Event()

    def open(self) -> _Page:
        """Let a page wait for changes; in the loop that serves it.

        Raises
        ------
        OutOfResourcesError
            There are too many, or the node is stopping.

        """
        page = _Page(asyncio.get_running_loop(), asyncio.Queue())
        with self._lock:
            if self._is_closed.is_set() or len(self._pages) >= _MAX_PAGES:
                raise OutOfResourcesError("too many pages wait for changes")
            self._pages.add(page)
            if self._reader is None or not self._reader.is_alive():
                self._reader = threading.Thread(
                    target=self._read, name="changes", daemon=True
                )
                self._reader.start()
        return page

    async def stream(self, page: _Page) -> AsyncIterator[str]:
        """Yield server-sent events until the page, its time or the node ends."""
        ends = time.monotonic() + _LIFE_S
        try:
            yield "retry: 2000\n\n"
            while time.monotonic() < ends:
                try:
                    said = await asyncio.wait_for(page.queue.get(), _KEEP_ALIVE_S)
                except TimeoutError:
                    yield ": nothing new\n\n"
                    continue
                if said is None:
                    return
                yield f"data: {said}\n\n"
        finally:
            with self._lock:
                self._pages.discard(page)

    def close(self) -> None:
        """End every stream."""
        self._is_closed.set()
        self._tell([None])

    def _read(self) -> None:
        last: int | None = None
        while True:
            with self._lock:
                if not self._pages or self._is_closed.is_set():
                    self._reader = None
                    return
            try:
                if last is None:
                    last = self._details.last_event_id()
                found = self._details.events_after(last, limit=_BATCH)
            except StoreError as error:
                _log.warning("changes_not_read", reason=str(error))
                found = ()
            if found:
                last = found[-1].id
                self._tell(_messages(found))
            self._is_closed.wait(self._look_s)

    def _tell(self, messages: list[str] | list[None]) -> None:
        with self._lock:
            pages = list(self._pages)
        for page in pages:
            try:
                page.loop.call_soon_threadsafe(_put, page.queue, list(messages))
            except RuntimeError:  # its loop has ended, and it with it
                continue


def _put(queue: asyncio.Queue[str | None], messages: list[str | None]) -> None:
    if queue.qsize() > _MAX_WAITING:
        while not queue.empty():
            queue.get_nowait()
        queue.put_nowait(json.dumps({"study_instance_uid": None, "kind": "many"}))
    for one in messages:
        queue.put_nowait(one)


def _messages(found: tuple[EventRow, ...]) -> list[str]:
    # A study that arrives has an event for each image: once a look is enough.
    told = dict.fromkeys((one.study_instance_uid, one.kind) for one in found)
    return [json.dumps({"study_instance_uid": uid, "kind": kind}) for uid, kind in told]
