"""`dicom-node retention` and the doctor: what would be deleted, without the node."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

from dicom_node.assembly import system_clock
from dicom_node.commands.status import open_store, require_database
from dicom_node.config import NodeSettings
from dicom_node.retention import Due, Retention
from dicom_node.service.claim import LOCK_FILE, lock_folder
from dicom_node.spool import Spool

__all__ = ["look_at_space", "plan_removal", "remove_due"]


def plan_removal(settings: NodeSettings) -> tuple[Due, ...]:
    """Return what would be deleted now, beside the running node or without it.

    Raises
    ------
    StoreError
        There is no database, or it cannot answer.

    """
    with _retention(settings) as retention:
        return tuple(retention.due(is_plan=True))


def remove_due(settings: NodeSettings) -> int:
    """Delete what is due while no node runs; return of how many studies.

    Raises
    ------
    SettingsError
        A node works on the data folder: it does this itself.
    StoreError
        There is no database, or it cannot answer.

    """
    require_database(settings)
    lock = lock_folder(settings.node.data_dir.resolve() / LOCK_FILE)
    try:
        with _retention(settings) as retention:
            return retention.run()
    finally:
        os.close(lock)


def look_at_space(settings: NodeSettings) -> str | None:
    """Say why the disk stays above its high water mark; None: it does not.

    Raises
    ------
    StoreError
        There is no database, or it cannot answer.

    """
    with _retention(settings) as retention:
        return retention.look()


@contextmanager
def _retention(settings: NodeSettings) -> Iterator[Retention]:
    spool = Spool(settings.node.data_dir.resolve(), min_free_bytes=0)
    with open_store(settings) as store:
        store.data_dir = spool.data_dir
        yield Retention(store, spool, settings=settings.retention, clock=system_clock)
