"""Every schema that was ever on disk becomes the one of today, with its rows."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from alembic import command, op
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext

from dicom_node.errors import StoreError
from dicom_node.store import Store, migration
from dicom_node.store.database import Database
from dicom_node.store.migration import REVISION
from dicom_node.store.schema import metadata

OLD = [f"{number:04d}" for number in range(1, int(REVISION) + 1)]
MOMENT = datetime(2026, 1, 1, 12)  # noqa: DTZ001 - as SQLite keeps it


def upgrade(connection: sa.Connection, revision: str) -> None:
    config = Config()
    folder = Path(migration.__file__).parent / "migrations"
    config.set_main_option("script_location", str(folder))
    config.attributes["connection"] = connection
    command.upgrade(config, revision)


def value_of(column: sa.Column[Any], number: int) -> Any:
    """Return something that a column takes, another for each row."""
    if column.foreign_keys or isinstance(column.type, sa.Integer):
        return number
    if column.name == "state":
        return "done"
    if isinstance(column.type, sa.DateTime):
        return MOMENT
    if isinstance(column.type, sa.JSON):
        return {"number": number} if column.name != "report_ids" else []
    if isinstance(column.type, sa.Boolean):
        return False
    return f"{column.name}{number}"[: getattr(column.type, "length", None) or 64]


def fill(connection: sa.Connection) -> dict[str, list[Any]]:
    """Put two rows into every table, as the schema of the moment has them."""
    found = sa.MetaData()
    found.reflect(connection)
    kept = {}
    for table in found.sorted_tables:
        if table.name in {"alembic_version", "tallies"}:
            continue
        for number in (1,) if table.name == "owner" else (1, 2):
            connection.execute(
                table.insert().values(
                    {one.name: value_of(one, number) for one in table.columns}
                )
            )
        kept[table.name] = read(connection, table)
    return kept


def read(connection: sa.Connection, table: sa.Table) -> list[Any]:
    return [
        dict(row._mapping)
        for row in connection.execute(
            sa.select(table).order_by(*table.primary_key.columns)
        )
    ]


def make_old(database: Database, revision: str) -> dict[str, list[Any]]:
    with database.write() as connection:
        upgrade(connection, revision)
        return fill(connection)


@pytest.fixture
def database(url: str) -> Any:
    made = Database(url)
    yield made
    made.close()


@pytest.mark.parametrize("revision", OLD)
def test_rows_of_every_old_schema_are_kept(
    database: Database, url: str, revision: str
) -> None:
    before = make_old(database, revision)

    with Store(url) as store:
        store.migrate()
        assert len(store.snapshot().studies) == 2
        assert store.counts().instances == (0 if revision >= "0005" else 2)
        assert store.collecting_studies() == ()
        assert store.work.unfinished_versions() == ()

    with database.read() as connection:
        assert compare_metadata(MigrationContext.configure(connection), metadata) == []
        now = sa.MetaData()
        now.reflect(connection)
        after = {name: read(connection, now.tables[name]) for name in before}
    for name, rows in before.items():
        assert [
            {key: row[key] for key in old}
            for row, old in zip(after[name], rows, strict=True)
        ] == rows


def test_a_migration_that_fails_leaves_the_old_schema(
    database: Database, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = make_old(database, "0004")

    def fail(*_: Any, **__: Any) -> None:
        raise RuntimeError("the disk is full")

    monkeypatch.setattr(op, "create_index", fail)
    with Store(url) as store, pytest.raises(RuntimeError):
        store.migrate()

    with database.read() as connection:
        assert connection.scalar(
            sa.text("SELECT version_num FROM alembic_version")
        ) == ("0004")
        now = sa.MetaData()
        now.reflect(connection)
        assert {*now.tables} - {"alembic_version"} == {*before}
        assert {name: read(connection, now.tables[name]) for name in before} == before


def test_a_database_of_a_newer_version_is_refused(database: Database, url: str) -> None:
    make_old(database, REVISION)
    with database.write() as connection:
        connection.execute(sa.text("UPDATE alembic_version SET version_num = '9999'"))

    with Store(url) as store, pytest.raises(StoreError, match="newer version"):
        store.migrate()
