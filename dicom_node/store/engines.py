"""From a URL to SQLite or PostgreSQL: the engine, and what each commit waits for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, create_engine, event, make_url
from sqlalchemy.engine import URL
from sqlalchemy.exc import ArgumentError

from dicom_node.errors import SettingsError
from dicom_node.store.patience import make_server_engine
from dicom_node.store.prepared import run_on_sqlite

__all__ = ["BUSY_TIMEOUT_S", "database_file", "database_url", "make_engine"]

BUSY_TIMEOUT_S = 10
"""How long a write waits for another process's lock; the peer that waits for our
answer has its own time limit, 30 s is common."""

_SQLITE_BYTES = 4 << 20
"""What SQLite keeps in memory in the whole process, about. Each connection would keep
2 MiB of the file for itself; what it does not keep it finds in the system's cache."""

_SYNCED, _UNSYNCED = "FULL", "NORMAL"
"""What SQLite calls a log that is synced at each commit, and one that is when it is
folded into the database: a power cut takes the last commits, and no order of them."""


def database_url(text: str) -> URL:
    """Return the SQLAlchemy URL, with the driver that we ship for PostgreSQL.

    Raises
    ------
    SettingsError
        It is no URL of SQLite or PostgreSQL; its text, which may hold a password, is
        not told.

    """
    try:
        url = make_url(text)
    except (ArgumentError, ValueError) as error:
        raise SettingsError("node.database_url: it is not a SQLAlchemy URL") from error
    if url.get_backend_name() == "postgresql":
        return url.set(drivername="postgresql+psycopg")
    if url.get_backend_name() == "sqlite":
        return url
    msg = (
        f"node.database_url: {url.get_backend_name()} is not supported; it begins with "
        "sqlite:/// or postgresql://"
    )
    raise SettingsError(msg)


def database_file(url: URL) -> Path | None:
    """Return SQLite's file; None: there is none."""
    if url.get_backend_name() != "sqlite" or url.database in (None, "", ":memory:"):
        return None
    # SQLite also takes a URI in the place of the path.
    return Path(str(url.database).removeprefix("file:"))


def make_engine(url: URL) -> Engine:
    """Make the engine; a transaction with the option ``is_write`` locks at its start.

    One with ``is_told_by_files`` too waits for no sync on SQLite.

    Raises
    ------
    SettingsError
        The folder of the database cannot be made.

    """
    if url.get_backend_name() == "postgresql":
        return make_server_engine(url, pool_size=8)
    if (file := database_file(url)) is not None:
        folder = file.parent
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            msg = f"node.database_url {folder}: {error.strerror}"
            raise SettingsError(msg) from error
    engine = create_engine(
        url,
        # What is kept soon holds what it will: more are opened for their moment only.
        pool_size=3,
        max_overflow=15,
        connect_args={"timeout": BUSY_TIMEOUT_S},
    )

    @event.listens_for(engine, "connect")
    def _connect(connection: Any, _record: Any) -> None:
        # The driver's own BEGIN is too late and too weak: `_begin` sends ours.
        connection.isolation_level = None
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute(f"PRAGMA synchronous={_SYNCED}")
        connection.execute("PRAGMA foreign_keys=ON")
        connection.execute(f"PRAGMA soft_heap_limit={_SQLITE_BYTES}")

    @event.listens_for(engine, "begin")
    def _begin(connection: Connection) -> None:
        options = connection.get_execution_options()
        if not options.get("is_write", False):
            run_on_sqlite(connection, "BEGIN")
            return
        level = _UNSYNCED if options.get("is_told_by_files", False) else _SYNCED
        if connection.info.get("synchronous", _SYNCED) != level:
            run_on_sqlite(connection, f"PRAGMA synchronous={level}")
            connection.info["synchronous"] = level
        run_on_sqlite(connection, "BEGIN IMMEDIATE")

    return engine
