"""Which node works on a PostgreSQL database: a lock of its session, and an epoch.

The lock ends with the connection that holds it, so it says who works now. The epoch
grows with each node that begins to work, and every write asks for it: a node that was
stopped for a while and goes on cannot write what another has taken over.
"""

from __future__ import annotations

import threading
from typing import Any

import structlog
from psycopg import Error as DriverError
from sqlalchemy import URL, Connection, Engine, event, text
from sqlalchemy.dialects import registry

from dicom_node.errors import StoreError, TakenOverError
from dicom_node.store.patience import CONNECT_ARGUMENTS, LEASE_S, make_server_engine
from dicom_node.store.patient_connection import PatientConnection

__all__ = ["FENCE_KEY", "Claim"]

_TURN_KEY = 0x6469636F6D2D6E31
FENCE_KEY = 0x6469636F6D2D6E32
"""Advisory locks: ours alone, within the node's database."""

_ASK_S = 2.0
"""How often the node gives a sign of life."""

_ASK_PATIENCE_S = 4.0
_AGAIN_S = 0.5
_HAS_IDLE_SESSION_TIMEOUT = 140_000

log = structlog.get_logger(__name__)


class Claim:
    """A node's claim on a PostgreSQL database.

    Parameters
    ----------
    url : sqlalchemy.URL
        The database; connected to directly, not by a pooler of transactions.

    """

    def __init__(self, url: URL) -> None:
        self._url = url
        self._connection: PatientConnection | None = None
        self._epoch: int | None = None
        self._is_lost = False
        self._is_taken_over = threading.Event()
        self._is_closing = threading.Event()
        self._thread: threading.Thread | None = None
        self._engines: list[Engine] = []

    @property
    def epoch(self) -> int | None:
        """What this node's writes are fenced with; None: it has not begun to work."""
        return self._epoch

    @property
    def is_taken_over(self) -> bool:
        """Whether another node works on the database now."""
        return self._is_taken_over.is_set()

    @property
    def trouble(self) -> str | None:
        """Why this node may not write at the moment."""
        if self.is_taken_over:
            return "another node has taken over"
        if self._is_lost:
            return "the claim on the database was lost and is being taken again"
        return None

    def take(self) -> bool:
        """Take the claim if nobody has it; it is held until `close`.

        Raises
        ------
        StoreError
            The database could not answer.

        """
        try:
            is_taken = self._try_lock()
        except DriverError as error:
            msg = f"the database could not answer ({type(error).__name__})"
            raise StoreError(msg, is_away=True) from error
        if is_taken:
            self._thread = threading.Thread(
                target=self._watch, name="database-claim", daemon=True
            )
            self._thread.start()
        return is_taken

    def close(self) -> None:
        """Give the claim back."""
        self._is_closing.set()
        if self._thread is not None:
            self._thread.join(_ASK_PATIENCE_S)
        self._disconnect()
        for engine in self._engines:
            engine.dispose()

    def begin(self, connection: Connection) -> int:
        """Begin a new epoch, in the caller's write transaction; return it.

        It waits for the transactions of the node before, which hold the fence, and
        those that come later find another epoch.
        """
        connection.execute(text(f"SELECT pg_advisory_xact_lock({FENCE_KEY})"))
        return int(
            connection.scalars(
                text("UPDATE owner SET epoch = epoch + 1 RETURNING epoch")
            ).one()
        )

    def hold(self, epoch: int) -> None:
        """Let writes pass that find this epoch."""
        self._epoch = epoch

    def check(self, connection: Connection) -> None:
        """Let a transaction pass, or not.

        Raises
        ------
        TakenOverError
            Another node works on the database now.
        StoreError
            The claim was lost, and nobody has it yet.

        """
        if self._is_lost:
            raise StoreError(self.trouble, is_away=True)
        self.check_epoch(connection)

    def check_epoch(self, connection: Connection) -> None:
        """Let a transaction pass unless another node has taken over.

        Raises
        ------
        TakenOverError
            One has.

        """
        if self._epoch is None:
            return
        # Two statements: each sees what was committed when it begins, and the second
        # begins when nobody can take over before this transaction ends.
        connection.execute(text(f"SELECT pg_advisory_xact_lock_shared({FENCE_KEY})"))
        if connection.scalar(text("SELECT epoch FROM owner")) != self._epoch:
            self._is_taken_over.set()
            raise TakenOverError

    def workflow_engine(self) -> Engine:
        """Make an engine for others who write: every transaction is checked."""
        # Their own retries know a lost connection, not a statement that was ended.
        engine = make_server_engine(
            self._url, pool_size=20, max_overflow=0, has_time_limits=False
        )
        event.listen(engine, "begin", self.check_epoch)
        self._engines.append(engine)
        return engine

    def _watch(self) -> None:
        """Give signs of life; take the claim again when it is lost."""
        while not self._is_closing.wait(_ASK_S):
            try:
                self._ask()
            except DriverError as error:
                log.warning("claim_lost", error=type(error).__name__)
                self._is_lost = True
                self._take_again()

    def _ask(self) -> None:
        if self._connection is not None:
            self._connection.execute("SELECT 1")

    def _take_again(self) -> None:
        while not self._is_closing.wait(_AGAIN_S):
            try:
                is_taken = self._try_lock()
                if self._has_other_epoch():
                    self._is_taken_over.set()
                    return
            except DriverError:
                continue
            if is_taken:
                self._is_lost = False
                log.info("claim_taken_again", epoch=self._epoch)
                return
            # Nobody has begun: it may be our own lost session that the server keeps.

    def _try_lock(self) -> bool:
        self._disconnect()
        dialect = registry.load("postgresql.psycopg")()
        _, parameters = dialect.create_connect_args(self._url)
        connection = PatientConnection.connect(
            **{**parameters, **CONNECT_ARGUMENTS}, autocommit=True
        )
        connection.patience_s = _ASK_PATIENCE_S
        self._connection = connection
        row: Any = connection.execute(
            f"SELECT pg_try_advisory_lock({_TURN_KEY})"
        ).fetchone()
        if row[0] and connection.info.server_version >= _HAS_IDLE_SESSION_TIMEOUT:
            connection.execute(f"SET idle_session_timeout = '{LEASE_S}s'")
        return bool(row[0])

    def _has_other_epoch(self) -> bool:
        if self._epoch is None or self._connection is None:
            return False
        row: Any = self._connection.execute("SELECT epoch FROM owner").fetchone()
        return bool(row[0] != self._epoch)

    def _disconnect(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()
