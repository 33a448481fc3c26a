"""Does once, in the background, what the first page would wait for."""

from __future__ import annotations

import asyncio
import threading

import structlog
from starlette.concurrency import run_in_threadpool

from dicom_node.errors import StoreError
from dicom_node.store import Store

__all__ = ["WarmUp"]

log = structlog.get_logger(__name__)

_PATIENCE_S = 10.0
"""How long the end waits for what was begun."""

_STUDIES = 50
"""As many as the page lists: the statement is the same, and is compiled once."""


class WarmUp:
    """A thread that ends by itself.

    The node serves without it: what it cannot do the first page does, or reports.

    Parameters
    ----------
    store : Store
        Who is asked first when somebody opens the page.

    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._is_over = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Begin; the server listens already."""
        self._thread = threading.Thread(
            target=self._run, name="warm-up-pages", daemon=True
        )
        self._thread.start()

    def close(self) -> None:
        """Begin nothing more, and wait for the end of what was begun."""
        self._is_over.set()
        if self._thread is not None:
            self._thread.join(_PATIENCE_S)

    def _run(self) -> None:
        for step in (
            _use_a_thread,
            self._ask_who_signs_in,
            self._list_studies,
            _load_reports,
        ):
            if self._is_over.is_set():
                return
            try:
                step()
            except StoreError as error:
                log.warning("pages_not_warm", reason=type(error).__name__)

    def _ask_who_signs_in(self) -> None:
        self._store.users.count()

    def _list_studies(self) -> None:
        self._store.pages.list_studies(limit=_STUDIES)


def _use_a_thread() -> None:
    # What lends threads to requests is loaded with the first of them, and the loop of
    # the server would serve nobody meanwhile.
    asyncio.run(run_in_threadpool(int))


def _load_reports() -> None:
    # What the first study's page would wait for.
    import dicom_node.reports  # noqa: F401
