"""Statements of the hot path: SQLite's driver gets them as they are, compiled once.

What SQLAlchemy does around a statement takes several times as long as SQLite takes to
run one that finds its row. A server takes longer than both: it gets them by SQLAlchemy,
which knows when its connection is lost.
"""

from __future__ import annotations

import sqlite3
from collections import namedtuple
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, Select
from sqlalchemy.dialects.sqlite import pysqlite
from sqlalchemy.exc import DBAPIError
from sqlalchemy.sql.dml import UpdateBase

__all__ = ["PreparedChange", "PreparedLook", "run_on_sqlite"]

_DIALECT = pysqlite.dialect(paramstyle="named")
_Convert = Callable[[Any], Any]


def run_on_sqlite(
    connection: Connection, sql: str, parameters: Mapping[str, Any] | None = None
) -> sqlite3.Cursor:
    """Run a statement in the transaction of a connection to SQLite.

    Raises
    ------
    sqlalchemy.exc.DBAPIError
        As SQLAlchemy raises it, but without the values.

    """
    driver: Any = connection.connection.dbapi_connection
    try:
        cursor: sqlite3.Cursor = driver.execute(sql, parameters or {})
    except sqlite3.Error as error:
        raise _wrapped(error, sql) from error
    return cursor


class PreparedChange:
    """An insert, or an update with named parameters, that is run very often.

    Parameters
    ----------
    statement : sqlalchemy Insert or Update
        The change.
    names : sequence of str, optional
        Columns that an insert fills; an update names its own parameters.

    """

    def __init__(
        self, statement: UpdateBase, names: Sequence[str] | None = None
    ) -> None:
        self._statement = statement
        keys = None if names is None else list(names)
        self._sql, self._constants, self._binds = _compile(statement, keys)

    def run(self, connection: Connection, values: Mapping[str, Any]) -> None:
        """Make the change in a transaction that writes.

        Raises
        ------
        sqlalchemy.exc.DBAPIError
            It was not made.

        """
        if connection.dialect.name != "sqlite":
            connection.execute(self._statement, values)
            return
        run_on_sqlite(
            connection, self._sql, _bound({**self._constants, **values}, self._binds)
        )


class PreparedLook:
    """A select with named parameters that is run very often."""

    def __init__(self, statement: Select[Any]) -> None:
        self._statement = statement
        self._sql, self._constants, self._binds = _compile(statement, None)
        columns = list(statement.selected_columns)
        make_type: Any = namedtuple  # its fields are the statement's
        self._make = make_type("Row", [str(one.key) for one in columns])._make
        converts = [
            one.type.dialect_impl(_DIALECT).result_processor(_DIALECT, None)
            for one in columns
        ]
        self._converts = [(at, one) for at, one in enumerate(converts) if one]

    def rows(self, connection: Connection, values: Mapping[str, Any]) -> Sequence[Any]:
        """Return what is found; each column is an attribute of its row.

        Raises
        ------
        sqlalchemy.exc.DBAPIError
            The database could not answer.

        """
        if connection.dialect.name != "sqlite":
            return connection.execute(self._statement, values).all()
        bound = _bound({**self._constants, **values}, self._binds)
        try:
            found = run_on_sqlite(connection, self._sql, bound).fetchall()
        except sqlite3.Error as error:
            raise _wrapped(error, self._sql) from error
        return [self._read(row) for row in found]

    def _read(self, row: tuple[Any, ...]) -> Any:
        values = list(row)
        for place, convert in self._converts:
            values[place] = convert(values[place])
        return self._make(values)


def _compile(
    statement: UpdateBase | Select[Any], names: list[str] | None
) -> tuple[str, dict[str, Any], list[tuple[str, _Convert]]]:
    """Return a statement's text, its constants, and what makes values storable."""
    compiled = statement.compile(dialect=_DIALECT, column_keys=names)
    named = {name: one for one, name in compiled.bind_names.items()}
    binds: list[tuple[str, _Convert]] = [
        (name, convert)
        for name, one in named.items()
        if (convert := one.type.dialect_impl(_DIALECT).bind_processor(_DIALECT))
    ]
    # What the statement itself says, such as how many rows are enough.
    constants: dict[str, Any] = {
        name: one.value for name, one in named.items() if not one.required
    }
    return str(compiled), constants, binds


def _bound(
    values: dict[str, Any], binds: Sequence[tuple[str, _Convert]]
) -> Mapping[str, Any]:
    for name, convert in binds:
        values[name] = convert(values[name])
    return values


def _wrapped(error: sqlite3.Error, sql: str) -> BaseException:
    return DBAPIError.instance(
        sql, None, error, sqlite3.Error, hide_parameters=True, dialect=_DIALECT
    )
