"""The engine: durable commits, one writer at a time, errors as `StoreError`."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

from sqlalchemy import Connection, Engine, create_engine, event, make_url, text
from sqlalchemy import exc as sql_errors
from sqlalchemy.engine import URL
from sqlalchemy.exc import ArgumentError, SQLAlchemyError

from dicom_node.errors import SettingsError, StoreError
from dicom_node.store.claim import Claim
from dicom_node.store.patience import make_server_engine

__all__ = ["BUSY_TIMEOUT_S", "Database", "database_url"]

BUSY_TIMEOUT_S = 10
"""How long a write waits for another process's lock; the peer that waits for our
answer has its own time limit, 30 s is common."""

_LINE_S = 10.0
"""How long a change waits for those before it: a database that hangs must not add up
the time that each of them waits."""

_MAX_BATCH = 64

_SQLITE_BYTES = 4 << 20
"""What SQLite keeps in memory in the whole process, about. Each connection would keep
2 MiB of the file for itself; what it does not keep it finds in the system's cache."""

_AWAY = (
    sql_errors.OperationalError,
    sql_errors.InterfaceError,
    sql_errors.TimeoutError,
)
"""Errors that every other change would meet too."""

Result = TypeVar("Result")


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


@dataclass(eq=False)
class _Waiting(Generic[Result]):
    """A change that waits to be committed together with others."""

    change: Callable[[Connection], Result]
    is_done: bool = False
    result: Result | None = None
    error: Exception | None = None


class Database:
    """Transactions on SQLite or PostgreSQL.

    Parameters
    ----------
    url : str
        SQLAlchemy URL.

    Raises
    ------
    SettingsError
        The URL cannot be used.

    """

    def __init__(self, url: str) -> None:
        self.url = database_url(url)
        self.is_sqlite = self.url.get_backend_name() == "sqlite"
        self.engine = _make_engine(self.url)
        self.fence: Callable[[Connection], None] | None = None
        """Asked at the beginning of each transaction that writes; what it raises ends
        the transaction."""
        self.trouble: str | None = None
        """Why the database could not answer; None: the last change was made."""
        self.failures = 0
        """How often it could not answer."""
        self._writer = threading.Lock()
        self._queue: list[_Waiting[Any]] = []
        self._queue_lock = threading.Lock()
        self._turn = threading.Lock()

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """Open a transaction that only reads.

        Raises
        ------
        StoreError
            The database could not answer.

        """
        try:
            with self.engine.connect() as connection:
                yield connection
        except SQLAlchemyError as error:
            raise self._failed(_store_error(error, self.url)) from error
        except StoreError as error:  # of the fence, or of who asks
            self._failed(error)
            raise

    @contextmanager
    def write(self, *, is_patient: bool = False) -> Iterator[Connection]:
        """Open a transaction that is durable when the block ends.

        One thread of the process writes at a time: on SQLite there is no more to
        win, on PostgreSQL it makes every check in the block free of races.

        Parameters
        ----------
        is_patient : bool
            Whether each statement may take as long as it takes, as migrations may.

        Raises
        ------
        StoreError
            The database could not answer; nothing was changed.
        TakenOverError
            Another node works on the database now; nothing was changed.

        """
        if not self._writer.acquire(timeout=_LINE_S):
            raise self._busy()
        try:
            with (
                self.engine.connect().execution_options(is_write=True) as connection,
                connection.begin(),
            ):
                if is_patient and not self.is_sqlite:
                    _wait_for_ever(connection)
                if self.fence is not None:
                    self.fence(connection)
                yield connection
            self.trouble = None
        except SQLAlchemyError as error:
            raise self._failed(_store_error(error, self.url)) from error
        except StoreError as error:  # of the fence, or of who changes something
            self._failed(error)
            raise
        finally:
            self._writer.release()

    def check(self) -> None:
        """Ask whether this process may still write.

        Raises
        ------
        TakenOverError
            Another node works on the database now.
        StoreError
            The database could not answer.

        """
        if self.fence is not None:
            with self.read() as connection:
                self.fence(connection)

    def commit_together(self, change: Callable[[Connection], Result]) -> Result:
        """Make a change durable, in one commit with those of other threads.

        A commit waits for the disk; fifty associations that wait for the same one
        are as fast as one. A change that fails takes no other with it; a database
        that is away is waited for once, not by each.

        Raises
        ------
        StoreError
            The database could not answer; the change was not made.
        TakenOverError
            Another node works on the database now.

        """
        waiting: _Waiting[Result] = _Waiting(change)
        with self._queue_lock:
            self._queue.append(waiting)
        while not waiting.is_done:
            # Who waits here finds, when its turn comes, that the one before has
            # committed its change too, or commits for all that wait by then.
            if not self._turn.acquire(timeout=_LINE_S):
                if self._withdraw(waiting):
                    raise self._busy()
                continue  # it is being committed: how that ends must be known
            try:
                if not waiting.is_done:
                    self._commit_batch()
            finally:
                self._turn.release()
        if waiting.error is not None:
            raise waiting.error
        return waiting.result  # type: ignore[return-value]

    def _withdraw(self, waiting: _Waiting[Any]) -> bool:
        with self._queue_lock:
            if waiting not in self._queue:
                return False
            self._queue.remove(waiting)
            return True

    def _commit_batch(self) -> None:
        with self._queue_lock:
            batch = self._queue[:_MAX_BATCH]
            del self._queue[:_MAX_BATCH]
        try:
            with self.write() as connection:
                results = [one.change(connection) for one in batch]
        except Exception as error:  # noqa: BLE001 - raised in the threads that wait
            for one in batch:
                if isinstance(error, StoreError) and error.is_away:
                    one.error = type(error)(str(error), is_away=True)
                    one.is_done = True
                else:  # each meets its own
                    self._commit_alone(one)
            return
        for one, result in zip(batch, results, strict=True):
            one.result = result
            one.is_done = True

    def _commit_alone(self, waiting: _Waiting[Any]) -> None:
        try:
            with self.write() as connection:
                waiting.result = waiting.change(connection)
        except Exception as error:  # noqa: BLE001 - raised in the thread that waits
            waiting.error = error
        waiting.is_done = True

    def make_claim(self) -> Claim | None:
        """Make the claim of one node on the database; None on SQLite."""
        return None if self.is_sqlite else Claim(self.url)

    def close(self) -> None:
        """Close every connection."""
        self.engine.dispose()

    def _failed(self, error: StoreError) -> StoreError:
        if error.is_away:
            self.trouble = str(error)
            self.failures += 1
        return error

    def _busy(self) -> StoreError:
        where = self.url.database or "" if self.is_sqlite else _server(self.url)
        return StoreError(f"{where}: other changes wait for it too long", is_away=True)


def _make_engine(url: URL) -> Engine:
    if url.get_backend_name() == "postgresql":
        return make_server_engine(url, pool_size=8)
    if url.database and url.database != ":memory:":
        # SQLite also takes a URI in the place of the path.
        folder = Path(url.database.removeprefix("file:")).parent
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
        # NORMAL would lose acknowledged instances at a power cut.
        connection.execute("PRAGMA synchronous=FULL")
        connection.execute("PRAGMA foreign_keys=ON")
        connection.execute(f"PRAGMA soft_heap_limit={_SQLITE_BYTES}")

    @event.listens_for(engine, "begin")
    def _begin(connection: Connection) -> None:
        is_write = connection.get_execution_options().get("is_write", False)
        connection.exec_driver_sql("BEGIN IMMEDIATE" if is_write else "BEGIN")

    return engine


def _wait_for_ever(connection: Connection) -> None:
    # Until it is back in the pool.
    driver: Any = connection.connection.dbapi_connection
    driver.patience_s = None
    for limit in ("statement_timeout", "lock_timeout"):
        connection.execute(text(f"SET LOCAL {limit} = 0"))


def _server(url: URL) -> str:
    return f"{url.host or 'localhost'}:{url.port or 5432}"


_SQLITE_CAUSES = {
    "SQLITE_NOTADB": "it is not a database, or it is damaged",
    "SQLITE_CORRUPT": "it is not a database, or it is damaged",
    "SQLITE_CANTOPEN": "it cannot be opened",
    "SQLITE_PERM": "it cannot be opened",
    "SQLITE_READONLY": "it is read-only, or its folder is",
    "SQLITE_BUSY": "another process keeps it locked",
    "SQLITE_FULL": "the disk is full",
    "SQLITE_IOERR": "the disk failed",
}
"""By the beginning of the driver's name for the error."""

_SERVER_CAUSES = {
    "refused": "the connection was refused",
    "resolve": "the host name is not known",
    "translate host name": "the host name is not known",
    "timeout": "it did not answer in time",
    "authentication failed": "it does not accept user and password",
    "no password supplied": "it asks for a password",
    "does not exist": "it has no such database, user or table",
    "permission denied": "the user may not do that",
}
"""By a part of the driver's message, which itself may quote values."""


def _store_error(error: SQLAlchemyError, url: URL) -> StoreError:
    # The driver's message quotes parameters: only what it means is told.
    cause = getattr(error, "orig", None) or error
    if url.get_backend_name() == "sqlite":
        where = url.database or ""
        name = getattr(cause, "sqlite_errorname", "")
        known = (text for key, text in _SQLITE_CAUSES.items() if name.startswith(key))
    else:
        where = _server(url)
        said = str(cause)
        known = (text for key, text in _SERVER_CAUSES.items() if key in said)
    what = next(known, f"the database could not answer ({type(cause).__name__})")
    return StoreError(f"{where}: {what}", is_away=isinstance(error, _AWAY))
