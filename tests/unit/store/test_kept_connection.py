"""The connection that writes stays with whoever writes next, and none leaks."""

from __future__ import annotations

from pathlib import Path

import pytest
from sqlalchemy import QueuePool, text

from dicom_node.errors import StoreError
from dicom_node.store.database import Database


@pytest.fixture
def database(tmp_path: Path) -> Database:
    database = Database(f"sqlite:///{tmp_path}/node.sqlite")
    with database.write() as connection:
        connection.execute(text("CREATE TABLE t (a INTEGER)"))
    return database


def _lent(database: Database) -> int:
    pool = database.engine.pool
    assert isinstance(pool, QueuePool)
    return pool.checkedout()


def _fail(database: Database) -> None:
    with database.write() as connection:
        connection.execute(text("INSERT INTO t VALUES (1)"))
        connection.execute(text("INSERT INTO absent VALUES (1)"))


def test_one_connection_stays_out_of_the_pool_and_no_more_after_failures(
    database: Database,
) -> None:
    assert _lent(database) == 1
    for _ in range(30):  # more than the pool would lend
        with pytest.raises(StoreError):
            _fail(database)
    assert _lent(database) == 0
    with database.write() as connection:
        assert connection.execute(text("SELECT count(*) FROM t")).scalar() == 0
    assert _lent(database) == 1
    database.close()


def test_a_closed_database_keeps_no_connection(database: Database) -> None:
    database.close()
    assert _lent(database) == 0
    with database.write() as connection:
        connection.execute(text("INSERT INTO t VALUES (1)"))
    assert _lent(database) == 0
    database.engine.dispose()


def test_a_change_waits_for_its_sync_whatever_the_one_before_did(
    database: Database,
) -> None:
    for told in (True, False, True, True, False, False):
        with database.write(is_told_by_files=told) as connection:
            level = connection.execute(text("PRAGMA synchronous")).scalar()
        assert level == (1 if told else 2)  # NORMAL, FULL
    database.close()


def test_closing_does_not_wait_for_a_change_whose_thread_closes_its_own(
    database: Database,
) -> None:
    with database.write() as connection:
        database.close()  # would wait for itself
        connection.execute(text("INSERT INTO t VALUES (1)"))

    assert database._kept is None
    with database.read() as connection:
        assert connection.execute(text("SELECT count(*) FROM t")).scalar() == 1
    database.engine.dispose()
