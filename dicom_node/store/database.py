"""The engine: durable commits, one writer at a time, errors as `StoreError`."""

from __future__ import annotations

import errno
import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from sqlalchemy import Connection, text
from sqlalchemy.exc import SQLAlchemyError

from dicom_node.durable import sync_path
from dicom_node.errors import StoreError
from dicom_node.store.causes import place_of, store_error
from dicom_node.store.engines import database_file, database_url, make_engine

if TYPE_CHECKING:
    from dicom_node.store.claim import Claim

__all__ = ["Database"]

_LINE_S = 10.0
"""How long a change waits for those before it: a database that hangs must not add up
the time that each of them waits."""

_MAX_BATCH = 64

Result = TypeVar("Result")


@dataclass(eq=False)
class _Waiting(Generic[Result]):
    """A change that waits to be committed together with others."""

    change: Callable[[Connection], Result]
    is_told_by_files: bool = False
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
        self.engine = make_engine(self.url)
        self.fence: Callable[[Connection], None] | None = None
        """Asked at the beginning of each transaction that writes; what it raises ends
        the transaction."""
        self.trouble: str | None = None
        """Why the database could not answer; None: the last change was made."""
        self.failures = 0
        """How often it could not answer."""
        self._is_unsettled = False
        self._has_lost_sync = False
        self._settling = threading.Lock()
        self._writer = threading.Lock()
        self._kept: Connection | None = None
        self._is_closed = False
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
            raise self._failed(store_error(error, self.url)) from error
        except StoreError as error:  # of the fence, or of who asks
            self._failed(error)
            raise

    @contextmanager
    def write(
        self, *, is_patient: bool = False, is_told_by_files: bool = False
    ) -> Iterator[Connection]:
        """Open a transaction that is durable when the block ends.

        One thread of the process writes at a time: on SQLite there is no more to
        win, on PostgreSQL it makes every check in the block free of races.

        Parameters
        ----------
        is_patient : bool
            Whether each statement may take as long as it takes, as migrations may.
        is_told_by_files : bool
            Whether a start could make the change again from durable files: on SQLite
            it then waits for no sync of its own, and a power cut may take it until
            the next change that does wait, or `settle`.

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
                self._connection_to_write() as connection,
                connection.execution_options(
                    is_write=True, is_told_by_files=is_told_by_files
                ).begin(),
            ):
                if is_patient and not self.is_sqlite:
                    _wait_for_ever(connection)
                if self.fence is not None:
                    self.fence(connection)
                yield connection
            self.trouble = None
            if is_told_by_files:
                self._is_unsettled = True
        except SQLAlchemyError as error:
            raise self._failed(store_error(error, self.url)) from error
        except StoreError as error:  # of the fence, or of who changes something
            self._failed(error)
            raise
        finally:
            self._writer.release()

    @contextmanager
    def _connection_to_write(self) -> Iterator[Connection]:
        """Yield the connection of the one thread that writes.

        On SQLite it stays that of whoever writes next, with the options that its
        transactions are given. After a failure it goes back to the pool, which undoes
        what is left of it.
        """
        connection, self._kept = self._kept, None
        if connection is None:
            connection = self.engine.connect()
        try:
            yield connection
        except BaseException:
            connection.close()
            raise
        if self.is_sqlite:
            self._kept = connection
        if not self.is_sqlite or self._is_closed:
            self._kept = None
            connection.close()

    def settle(self) -> None:
        """Make durable what `write` was told to wait for no sync of.

        Raises
        ------
        StoreError
            The disk did not take it; nothing that is durable is lost.

        """
        file = database_file(self.url)
        if file is None:
            return
        # Who finds nothing to settle may not go on before another one has settled it.
        with self._settling:
            if not self._is_unsettled:
                return
            self._is_unsettled = False
            # Every change is in the log before it is anywhere else. SQLite holds no
            # lock on this file, so that to open and close it takes none away.
            try:
                if self._has_lost_sync:
                    self._fold_log()
                sync_path(file.with_name(f"{file.name}-wal"))
            except FileNotFoundError:
                return  # It was folded into the database, which syncs both.
            except (OSError, SQLAlchemyError, sqlite3.Error) as error:
                self._is_unsettled = self._has_lost_sync = True
                msg = f"{place_of(self.url)}: the disk failed"
                raise self._failed(StoreError(msg, is_away=True)) from error

    def _fold_log(self) -> None:
        """Write the log into the database, which is synced.

        The kernel tells of a failed sync once: the next one of the same bytes says
        nothing of them.
        """
        driver: Any = self.engine.raw_connection()
        try:
            is_busy, *_ = driver.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        finally:
            driver.close()
        if is_busy:
            raise OSError(errno.EBUSY, "the log is being read")
        self._has_lost_sync = False

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

    def commit_together(
        self,
        change: Callable[[Connection], Result],
        *,
        is_told_by_files: bool = False,
    ) -> Result:
        """Make a change durable, in one commit with those of other threads.

        A commit waits for the disk; fifty associations that wait for the same one
        are as fast as one. A change that fails takes no other with it, unless it fails
        as if the database were away: that is waited for once, not by each.

        Parameters
        ----------
        change : callable
            Gets a connection in a transaction that writes.
        is_told_by_files : bool
            As `write` has it; together with one that is not, it waits as well.

        Raises
        ------
        StoreError
            The database could not answer; the change was not made.
        TakenOverError
            Another node works on the database now.

        """
        waiting: _Waiting[Result] = _Waiting(change, is_told_by_files)
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
            self._commit_all(batch)
        finally:
            # An interrupt is for this thread; nobody waits for ever because of it.
            for one in batch:
                if not one.is_done:
                    one.error = StoreError("the commit was interrupted", is_away=True)
                    one.is_done = True

    def _commit_all(self, batch: list[_Waiting[Any]]) -> None:
        try:
            told = all(one.is_told_by_files for one in batch)
            with self.write(is_told_by_files=told) as connection:
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
            told = waiting.is_told_by_files
            with self.write(is_told_by_files=told) as connection:
                waiting.result = waiting.change(connection)
        except Exception as error:  # noqa: BLE001 - raised in the thread that waits
            waiting.error = error
        waiting.is_done = True

    def make_claim(self) -> Claim | None:
        """Make the claim of one node on the database; None on SQLite."""
        if self.is_sqlite:
            return None
        from dicom_node.store.claim import Claim

        return Claim(self.url)

    def close(self) -> None:
        """Close every connection."""
        self._is_closed = True
        # Who still writes closes its own.
        if self._writer.acquire(blocking=False):
            try:
                if self._kept is not None:
                    self._kept.close()
                    self._kept = None
            finally:
                self._writer.release()
        self.engine.dispose()

    def _failed(self, error: StoreError) -> StoreError:
        if error.is_away:
            self.trouble = str(error)
            self.failures += 1
        return error

    def _busy(self) -> StoreError:
        where = place_of(self.url)
        return StoreError(f"{where}: other changes wait for it too long", is_away=True)


def _wait_for_ever(connection: Connection) -> None:
    # Until it is back in the pool.
    driver: Any = connection.connection.dbapi_connection
    driver.patience_s = None
    for limit in ("statement_timeout", "lock_timeout"):
        connection.execute(text(f"SET LOCAL {limit} = 0"))
