"""Copies of the databases of growth on a PostgreSQL server."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path

import psycopg
from psycopg import sql
from sqlalchemy import Integer, make_url

from dicom_node.store import Store
from dicom_node.store.schema import studies
from tests.bench.report import Tell
from tests.builders.postgres import postgres_cluster

__all__ = ["copied", "server_version"]

_TABLES = studies.metadata.sorted_tables


@contextmanager
def copied(files: Mapping[int, Path], tell: Tell) -> Iterator[dict[int, str]]:
    """Copy SQLite databases to a server of one's own while the block lasts.

    Parameters
    ----------
    files : mapping
        By the instances that each has, files that `growth_rows.fill` made and that
        nobody writes to.
    tell : callable
        Hears of each.

    Yields
    ------
    dict of int to str
        SQLAlchemy URLs of the copies.

    """
    with postgres_cluster() as cluster:
        urls = {}
        for size, path in files.items():
            began = time.perf_counter()
            urls[size] = cluster.new_database()
            _copy(path, urls[size])
            seconds = time.perf_counter() - began
            tell(f"{size} instances are on PostgreSQL: {seconds:.1f} s")
        yield urls


def server_version(url: str) -> str:
    """Return the version of a database's server."""
    with _connect(url) as connection:
        return str(connection.info.parameter_status("server_version")).split()[0]


def _copy(source: Path, url: str) -> None:
    with Store(url) as store:
        store.migrate()
    with closing(sqlite3.connect(source)) as lite, _connect(url) as connection:
        # Moments are UTC on SQLite. What triggers and keys would do again was done.
        connection.execute("SET timezone = 'UTC'")
        connection.execute("SET session_replication_role = replica")
        with connection.transaction():
            for table in _TABLES:
                name = sql.Identifier(table.name)
                # Some are not empty after the migration.
                connection.execute(sql.SQL("DELETE FROM {}").format(name))
                _copy_table(lite, connection, table.name, tuple(table.c.keys()))
                if "id" in table.c and isinstance(table.c.id.type, Integer):
                    _count_on(connection, table.name)
        # What autovacuum does by itself after a while.
        connection.execute("VACUUM (ANALYZE)")
        # The clock of a query must not run while the copy is being written down.
        connection.execute("CHECKPOINT")


def _copy_table(
    lite: sqlite3.Connection,
    connection: psycopg.Connection,
    table: str,
    columns: tuple[str, ...],
) -> None:
    quoted = ", ".join(f'"{one}"' for one in columns)
    rows = lite.execute(f'SELECT {quoted} FROM "{table}" ORDER BY rowid')
    statement = sql.SQL("COPY {} ({}) FROM STDIN").format(
        sql.Identifier(table), sql.SQL(", ").join(map(sql.Identifier, columns))
    )
    with connection.cursor() as cursor, cursor.copy(statement) as copy:
        for row in rows:
            copy.write_row(row)


def _count_on(connection: psycopg.Connection, table: str) -> None:
    """Let the next row's number follow the largest, where the server counts."""
    connection.execute(
        sql.SQL(
            "SELECT setval(pg_get_serial_sequence({name}, 'id'), max(id)) FROM {table}"
            " HAVING max(id) IS NOT NULL"
        ).format(name=sql.Literal(table), table=sql.Identifier(table))
    )


def _connect(url: str) -> psycopg.Connection:
    made = make_url(url).set(drivername="postgresql")
    return psycopg.connect(made.render_as_string(hide_password=False), autocommit=True)
