"""A data folder and a database belong to one node at a time.

lock of the folder -> turn on the database -> tables -> owner and epoch
"""

from __future__ import annotations

import fcntl
import os
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import structlog

from dicom_node.config import NodeSettings
from dicom_node.durable import write_whole
from dicom_node.errors import NodeError, SettingsError, StoreError
from dicom_node.service.standby import StandbyDoor
from dicom_node.store import Store
from dicom_node.store.patience import LEASE_S

if TYPE_CHECKING:
    from dicom_node.store.claim import Claim

__all__ = ["LOCK_FILE", "NodeClaim", "lock_folder", "read_node_id"]

LOCK_FILE = "node.lock"
"""Held by the running node, in its data folder."""

_LOOK_S = 0.5
_TELL_S = 60.0
"""How often a node that waits says so."""

_GONE_S = LEASE_S + 5.0
"""By then the server has noticed that the node before is gone."""

log = structlog.get_logger(__name__)


class NodeClaim:
    """What makes a process the one node of its data folder and database.

    Parameters
    ----------
    settings : NodeSettings
        Where both are, and whether this node waits for another to be gone.

    """

    def __init__(self, settings: NodeSettings) -> None:
        self._settings = settings
        self._data_dir = settings.node.data_dir.resolve()
        self._lock_file = -1
        self._store: Store | None = None

    @property
    def is_taken_over(self) -> bool:
        """Whether another node works in the place of this one."""
        turn = self._turn
        return turn is not None and turn.is_taken_over

    @property
    def trouble(self) -> str | None:
        """Why this node may not write at the moment."""
        return None if self._turn is None else self._turn.trouble

    @property
    def epoch(self) -> int | None:
        """Which node in the line of those that worked this one is; None on SQLite."""
        return None if self._store is None else self._store.epoch

    def take(self, *, is_cancelled: Callable[[], bool] = lambda: False) -> Store | None:
        """Take folder and database, waiting for another node where settings say so.

        Parameters
        ----------
        is_cancelled : callable
            Ends the wait.

        Returns
        -------
        Store or None
            The database with its tables; None: cancelled.

        Raises
        ------
        SettingsError
            Another node uses the folder or the database, or they cannot be used.
        StoreError
            The database cannot be opened.

        """
        if self._store is not None:
            return self._store
        # Nodes that stand by for each other share the folder: their database says
        # whose turn it is, also on file systems without locks between machines.
        is_standby = self._settings.node.standby
        self._lock_file = lock_folder(self._data_dir / LOCK_FILE, is_shared=is_standby)
        store = Store(self._settings.database_url)
        try:
            if not self._wait_for_turn(store, is_cancelled):
                store.close()
                self.release()
                return None
            node_id = read_node_id(self._data_dir / "node-id")
            store.migrate()
            self._begin(store, node_id)
        except NodeError:
            store.close()
            self.release()
            raise
        store.data_dir = self._data_dir
        self._store = store
        return store

    def release(self) -> None:
        """Let another node have the folder; the store is closed by who uses it."""
        self._store = None
        descriptor, self._lock_file = self._lock_file, -1
        if descriptor >= 0:
            os.close(descriptor)

    def _wait_for_turn(self, store: Store, is_cancelled: Callable[[], bool]) -> bool:
        turn = store.turn
        if turn is None:
            return True
        if self._settings.node.standby:
            return self._stand_by(turn, is_cancelled)
        if turn.take():
            return True
        end = time.monotonic() + _GONE_S
        while not is_cancelled():
            if turn.take():
                return True
            if time.monotonic() > end:
                msg = (
                    "node.database_url: another node works on this database; set "
                    "node.standby to let this one wait for its end"
                )
                raise SettingsError(msg)
            time.sleep(_LOOK_S)
        return False

    def _stand_by(self, turn: Claim, is_cancelled: Callable[[], bool]) -> bool:
        told_at = -_TELL_S
        with StandbyDoor(self._settings.web):
            while not is_cancelled():
                reason = None
                try:
                    if turn.take():
                        log.info("standby_ends")
                        return True
                except StoreError as error:
                    reason = str(error)
                if time.monotonic() - told_at >= _TELL_S:
                    told_at = time.monotonic()
                    log.info("standby_waits", reason=reason or "another node works")
                time.sleep(_LOOK_S)
        return False

    def _begin(self, store: Store, node_id: str) -> None:
        # A transaction of the node before may hold the fence until the server ends it.
        end = time.monotonic() + 2 * _GONE_S
        while True:
            try:
                is_ours = store.claim(node_id)
            except StoreError:
                if store.turn is None or time.monotonic() > end:
                    raise
                time.sleep(_LOOK_S)
                continue
            if is_ours:
                return
            msg = (
                "node.database_url: this database belongs to a node with another "
                "data folder; every node needs a database of its own"
            )
            raise SettingsError(msg)

    @property
    def _turn(self) -> Claim | None:
        return None if self._store is None else self._store.turn


def lock_folder(path: Path, *, is_shared: bool = False) -> int:
    """Take the lock of a data folder; it is held while the file is open.

    Parameters
    ----------
    path : pathlib.Path
        The lock file.
    is_shared : bool
        Whether others may share it: they keep out only who does not share.

    Returns
    -------
    int
        The open file's descriptor.

    Raises
    ------
    SettingsError
        Another node holds it, or the folder cannot be used.

    """
    descriptor = -1
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        how = fcntl.LOCK_SH if is_shared else fcntl.LOCK_EX
        fcntl.flock(descriptor, how | fcntl.LOCK_NB)
    except OSError as error:
        if descriptor >= 0:
            os.close(descriptor)
        is_taken = isinstance(error, BlockingIOError)
        what = "another node uses this data folder" if is_taken else error.strerror
        msg = f"node.data_dir {path.parent}: {what}"
        raise SettingsError(msg) from error
    return descriptor


def read_node_id(path: Path) -> str:
    """Return who the node is; it moves with its data folder.

    Raises
    ------
    SettingsError
        The file cannot be read or made.

    """
    try:
        if not path.exists():
            write_whole(path, f"{uuid.uuid4()}\n".encode())
        return str(uuid.UUID(path.read_text(encoding="ascii").strip()))
    except (OSError, ValueError) as error:
        msg = f"{path}: this file names the node and cannot be read or made"
        raise SettingsError(msg) from error
