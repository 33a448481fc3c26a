"""Bring the tables to the current schema, from nothing or from an older one."""

from __future__ import annotations

from pathlib import Path

from sqlalchemy import Connection, column, inspect, select, table

from dicom_node.errors import StoreError

__all__ = ["REVISION", "check_tables", "make_tables", "migrate", "read_revision"]

_SCRIPTS = Path(__file__).parent / "migrations"

REVISION = max(one.name[:4] for one in (_SCRIPTS / "versions").glob("[0-9]*_*.py"))
"""The newest of `migrations`, whose files begin with their revision: a database that
is there needs nothing."""

_REVISIONS = table("alembic_version", column("version_num"))
"""Where Alembic keeps the revision of a database."""


def migrate(connection: Connection) -> None:
    """Bring the tables to the current schema.

    Parameters
    ----------
    connection : sqlalchemy.Connection
        In a transaction that writes; the tables are changed within it.

    Raises
    ------
    StoreError
        A newer version of the program has changed the tables.

    """
    found = read_revision(connection)
    if found == REVISION:
        return
    if found is not None and found > REVISION:
        raise StoreError(_describe(found))
    # Most starts have nothing to bring up, and Alembic loads every dialect that it
    # knows: a node that restarts does not wait for it.
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(_SCRIPTS))
    config.attributes["connection"] = connection
    command.upgrade(config, "head")


def make_tables(connection: Connection) -> str:
    """Make the tables where there are none; older ones stay as they are.

    Only a node that starts may change those: one that runs an older version would not
    start again.

    Returns
    -------
    str
        The revision of the tables.

    Raises
    ------
    StoreError
        A newer version of the program has changed the tables.

    """
    found = read_revision(connection)
    if found is None or found >= REVISION:
        migrate(connection)
        return REVISION
    return found


def check_tables(connection: Connection) -> None:
    """Look at the tables and change nothing.

    Raises
    ------
    StoreError
        There are none, or those of another version.

    """
    found = read_revision(connection)
    if found is None:
        raise StoreError("there is no node here: the database has none of its tables")
    if found != REVISION:
        raise StoreError(_describe(found))


def _describe(found: str) -> str:
    """Say of which version tables are, and what helps."""
    if found > REVISION:
        return (
            f"the database has the tables of a newer version ({found}, this one knows "
            f"{REVISION}): run that version, or restore a backup of before its start"
        )
    return (
        f"the database has the tables of an older version ({found}, this one needs "
        f"{REVISION}): the next start of the node brings them up"
    )


def read_revision(connection: Connection) -> str | None:
    """Return the revision of the tables; None: there are none."""
    if not inspect(connection).has_table(_REVISIONS.name):
        return None
    found = connection.scalars(select(_REVISIONS.c.version_num)).all()
    return found[0] if len(found) == 1 else None
