"""Connections to PostgreSQL that give up: nobody waits for a server that hangs."""

from __future__ import annotations

from typing import Any

from sqlalchemy import URL, Engine, create_engine, event

__all__ = ["CONNECT_ARGUMENTS", "LEASE_S", "PATIENCE_S", "make_server_engine"]

PATIENCE_S = 10.0
"""How long an answer of the server is waited for, in seconds: the peer that waits for
ours gives up after 30 s. A server that is stopped keeps the connection and none of its
own time limits, so this one is ours."""

LEASE_S = 10
"""A node that gives no sign of life for so many seconds loses its claim; the server
keeps the time, so no two clocks are compared. Before PostgreSQL 14 only a connection
that is gone ends a claim."""

_STATEMENT_MS = 8_000
"""The server ends a statement itself before we end the connection."""

_LOCK_MS = 5_000

_IDLE_IN_TRANSACTION_MS = 10_000
"""The locks of a node that hangs are free after this long."""

_POOL_WAIT_S = 10.0

CONNECT_ARGUMENTS: dict[str, Any] = {
    "connect_timeout": 5,
    # A machine that is gone says nothing: ask it.
    "keepalives": 1,
    "keepalives_idle": 5,
    "keepalives_interval": 2,
    "keepalives_count": 3,
    "tcp_user_timeout": 10_000,
}
"""What every connection is opened with."""

_COMMON = (
    # What the node asks is answered from indexes: to compile it takes far longer than
    # to look there, and the server expects to look at more than a page needs.
    "-c synchronous_commit=on -c jit=off "
    f"-c idle_in_transaction_session_timeout={_IDLE_IN_TRANSACTION_MS}"
)


def make_server_engine(
    url: URL, *, pool_size: int, max_overflow: int = 10, has_time_limits: bool = True
) -> Engine:
    """Make an engine whose connections are `PatientConnection`.

    Parameters
    ----------
    url : sqlalchemy.URL
        Of a PostgreSQL database.
    pool_size, max_overflow : int
        Connections that are kept, and how many more may be open.
    has_time_limits : bool
        Whether the server ends long statements and waits for locks.

    """
    # The driver is loaded where PostgreSQL is used: a node starts in a second.
    from dicom_node.store.patient_connection import PatientConnection

    options = _COMMON
    if has_time_limits:
        options += f" -c statement_timeout={_STATEMENT_MS} -c lock_timeout={_LOCK_MS}"
    engine = create_engine(
        url,
        pool_pre_ping=True,
        pool_size=pool_size,
        max_overflow=max_overflow,
        pool_timeout=_POOL_WAIT_S,
        connect_args={**CONNECT_ARGUMENTS, "options": options},
    )

    @event.listens_for(engine, "do_connect")
    def _connect(_dialect: Any, _record: Any, cargs: Any, cparams: Any) -> Any:
        return PatientConnection.connect(*cargs, **cparams)

    @event.listens_for(engine, "checkin")  # codespell:ignore
    def _returned(connection: Any, _record: Any) -> None:
        if connection is not None:
            connection.patience_s = PATIENCE_S

    return engine
