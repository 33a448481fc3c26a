"""The line of studies that wait for an archive, beside the line for the model."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime

import structlog

from dicom_node.errors import StoreError
from dicom_node.retrieve.retriever import ArchiveRetriever
from dicom_node.store import Store, VersionKey

__all__ = ["RetrieveLine"]

_AT_ONCE = 2
"""Studies that are completed at a time."""

log = structlog.get_logger(__name__)


class RetrieveLine:
    """Completes versions one after the other, and says when each may be processed.

    What waits is a version in the store, and what was asked is a row beside it: after
    a restart it comes here again and goes on where it was.

    Parameters
    ----------
    retriever : ArchiveRetriever
        Asks the archives.
    store : Store
        Knows what was asked.
    clock : callable
        The wall clock.

    """

    def __init__(
        self,
        retriever: ArchiveRetriever,
        store: Store,
        *,
        clock: Callable[[], datetime],
    ) -> None:
        self._retriever = retriever
        self._store = store
        self._clock = clock
        self._lock = threading.Lock()
        self._waiting: dict[tuple[int, int], Callable[[], None]] = {}
        self._may_begin = threading.Event()
        self._pool = ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="retrieve")

    def start(self) -> None:
        """Begin to ask: our own Storage SCP listens, to which C-MOVE brings."""
        self._may_begin.set()

    def must_wait(self, key: VersionKey, then: Callable[[], None]) -> bool:
        """Return whether a version must wait for an archive.

        Parameters
        ----------
        key : VersionKey
            The version.
        then : callable
            Called, in another thread, when it need not wait any more; not called for
            a version that gives way, and replaced by that of a later call.

        Raises
        ------
        StoreError
            The database could not answer.

        """
        if not self._store.retrievals.is_waiting(key, self._retriever.archives):
            return False
        name = key.version_id, key.run
        with self._lock:
            is_new = name not in self._waiting
            self._waiting[name] = then
            if is_new:
                self._pool.submit(self._complete, key)
        return True

    def stop(self) -> None:
        """End what is being fetched and forget what waits: the store knows it."""
        self._retriever.stop()
        self._may_begin.set()
        self._pool.shutdown(wait=True, cancel_futures=True)

    def _complete(self, key: VersionKey) -> None:
        name = key.version_id, key.run
        then: Callable[[], None] | None = None
        self._may_begin.wait()
        try:
            new = self._retriever.complete(key)
            is_over = not self._store.retrievals.is_waiting(
                key, self._retriever.archives
            )
            gives_way = new > 0 and self._store.retrievals.give_way(
                key, now=self._clock()
            )
            with self._lock:
                if is_over and not gives_way:
                    then = self._waiting[name]
            if then is not None:
                then()
        except StoreError as error:
            # Housekeeping brings it here again.
            log.error("retrieve_waits", reason=str(error))  # noqa: TRY400
        except Exception as error:
            # A door: nobody waits for the future.
            # Not its text, which may quote a data set: `audit` writes class and place.
            log.error("retrieve_failed", exc_info=error)  # noqa: TRY400
        finally:
            with self._lock:
                self._waiting.pop(name, None)
