"""Who read what: events that are told once for a few minutes, however much is read."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from datetime import datetime

from sqlalchemy import select

from dicom_node.audit import EventKind
from dicom_node.store.database import Database
from dicom_node.store.events import record_event
from dicom_node.store.schema import studies

__all__ = ["ACCESS_WINDOW_S", "AccessStore"]

ACCESS_WINDOW_S = 300.0
"""A viewer asks for each of 500 frames: the same person who does the same to the same
study within this time, in seconds, has done it once."""

_REMEMBERED = 4096

Detail = Mapping[str, str | int | float | bool | None]


class AccessStore:
    """Events about reading.

    Parameters
    ----------
    database : Database
        Where they are kept.
    monotonic : callable
        A clock that is never set, in seconds.

    """

    def __init__(
        self, database: Database, *, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self._database = database
        self._monotonic = monotonic
        self._lock = threading.Lock()
        self._told: OrderedDict[tuple[object, ...], float] = OrderedDict()

    def note(
        self,
        kind: EventKind,
        *,
        study_instance_uid: str | None = None,
        detail: Detail,
        at: datetime | None = None,
    ) -> bool:
        """Write an event, unless the same was written a few minutes ago.

        Parameters
        ----------
        kind : EventKind
            What was done.
        study_instance_uid : str, optional
            To which study; one that is not here is no event, unless ``report`` in
            the details names a report that waits for it.
        detail : mapping
            Who did it, from where and how, free of patient data: what is the same
            here is the same access.
        at : datetime, optional
            When; now when absent.

        Returns
        -------
        bool
            Whether it was written.

        Raises
        ------
        StoreError
            The database could not answer; it is written when it is done again.

        """
        key = (kind, study_instance_uid, *sorted(detail.items()))
        if not self._is_news(key):
            return False
        try:
            with self._database.write() as connection:
                study_id = None
                if study_instance_uid is not None:
                    study_id = connection.scalar(
                        select(studies.c.id).where(
                            studies.c.study_instance_uid == study_instance_uid
                        )
                    )
                    if study_id is None and "report" not in detail:
                        return False
                record_event(connection, kind, study_id=study_id, at=at, detail=detail)
        except BaseException:
            with self._lock:
                self._told.pop(key, None)
            raise
        return True

    def _is_news(self, key: tuple[object, ...]) -> bool:
        now = self._monotonic()
        with self._lock:
            told = self._told.get(key)
            if told is not None and now - told < ACCESS_WINDOW_S:
                return False
            self._told[key] = now
            self._told.move_to_end(key)
            while len(self._told) > _REMEMBERED:
                self._told.popitem(last=False)
            return True
