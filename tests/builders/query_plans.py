"""How a database would answer what a block of code asks it."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Engine, event

__all__ = ["Asked", "listen", "read_whole", "reads_ahead", "sorts_all"]

_SCAN = re.compile(r"SCAN (\w+)|Seq Scan on (\w+)")
_SORT = re.compile(r"USE TEMP B-TREE FOR (GROUP|ORDER) BY|Sort Key|Aggregate")
_AHEAD = re.compile(r"hashed SubPlan|->  (?:Hash|Materialize)\b")
_THOUSANDFOLD = """
UPDATE pg_class SET reltuples = reltuples * 1000
WHERE relnamespace = 'public'::regnamespace AND reltuples > 0
"""
_ASKS = ("SELECT", "UPDATE", "DELETE", "WITH")


@dataclass(frozen=True, slots=True)
class Asked:
    """A statement with its values."""

    statement: str
    values: Any


@contextmanager
def listen(engine: Engine) -> Iterator[list[Asked]]:
    """Collect what is asked of an engine while the block lasts, each statement once.

    The list is full when the block has ended. SQLite itself tells what it is asked,
    with the values: not all of it goes by SQLAlchemy (`store.prepared`).
    """
    heard: dict[str, Asked] = {}

    def hear(_c: Any, _k: Any, statement: str, values: Any, *_: Any) -> None:
        if statement.lstrip().upper().startswith(_ASKS):
            heard.setdefault(statement, Asked(statement, values))

    def trace(driver: Any, *_: Any) -> None:
        driver.set_trace_callback(lambda statement: hear(None, None, statement, ()))

    def end(driver: Any, *_: Any) -> None:
        driver.set_trace_callback(None)

    # A connection that writes stays with whoever writes next; one that reads may ask
    # before SQLAlchemy begins anything.
    def begins(connection: Connection) -> None:
        trace(connection.connection.dbapi_connection)

    def ends(connection: Connection) -> None:
        end(connection.connection.dbapi_connection)

    is_sqlite = engine.dialect.name == "sqlite"
    listeners: dict[str, Callable[..., None]] = (
        {"checkout": trace, "checkin": end}
        | {"begin": begins, "commit": ends, "rollback": ends}
        if is_sqlite
        else {"before_cursor_execute": hear}
    )
    found: list[Asked] = []
    for name, listener in listeners.items():
        event.listen(engine, name, listener)
    try:
        yield found
    finally:
        for name, listener in listeners.items():
            event.remove(engine, name, listener)
        found += heard.values()


def read_whole(engine: Engine, asked: Asked) -> frozenset[str]:
    """Return the tables that a statement would read from end to end.

    One that is read in the order of the answer until a page is full is none of them.
    On PostgreSQL: those that no index can serve, however small they are.
    """
    is_sqlite = engine.dialect.name == "sqlite"
    plan = _plan(
        engine, asked, *() if is_sqlite else ("SET LOCAL enable_seqscan = off",)
    )
    if "LIMIT" in asked.statement and not _SORT.search(plan):
        return frozenset()
    return frozenset(one[0] or one[1] for one in _SCAN.findall(plan))


def reads_ahead(engine: Engine, asked: Asked) -> bool:
    """Tell whether PostgreSQL would read other rows before the first one of a page.

    It is asked as if there were a thousand times the rows: it then takes a page for few
    of them, and finds it cheaper to have the answers about all of them at once.
    """
    if engine.dialect.name == "sqlite" or "LIMIT" not in asked.statement:
        return False
    return _AHEAD.search(_thousandfold_plan(engine, asked)) is not None


def sorts_all(engine: Engine, asked: Asked) -> bool:
    """Tell whether every row of an answer is found before the first one of a page.

    On PostgreSQL: if there were a thousand times the rows.
    """
    if engine.dialect.name == "sqlite":
        return "USE TEMP B-TREE FOR ORDER BY" in _plan(engine, asked)
    return re.search(r"->  Sort\b", _thousandfold_plan(engine, asked)) is not None


def _plan(engine: Engine, asked: Asked, *before: str) -> str:
    is_sqlite = engine.dialect.name == "sqlite"
    with engine.connect() as connection:
        for statement in before:
            connection.exec_driver_sql(statement)
        rows = connection.exec_driver_sql(
            ("EXPLAIN QUERY PLAN " if is_sqlite else "EXPLAIN ") + asked.statement,
            asked.values,
        ).all()
        connection.rollback()
    return "\n".join(str(row[-1]) for row in rows)


def _thousandfold_plan(engine: Engine, asked: Asked) -> str:
    return _plan(engine, asked, _THOUSANDFOLD)
