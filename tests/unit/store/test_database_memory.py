"""The memory of SQLite stays small however many connections have read a lot."""

from __future__ import annotations

import re
from contextlib import ExitStack
from pathlib import Path

import pytest
from sqlalchemy import text

from dicom_node.store.database import Database

_CONNECTIONS = 8
_MIB = 1 << 20


def _anonymous_bytes() -> int:
    status = Path("/proc/self/status").read_text()
    found = re.search(r"RssAnon:\s+(\d+) kB", status)
    assert found is not None
    return int(found[1]) << 10


@pytest.mark.skipif(
    not Path("/proc/self/status").exists(), reason="memory is read from /proc"
)
def test_connections_that_read_a_large_database_share_few_megabytes(
    tmp_path: Path,
) -> None:
    database = Database(f"sqlite:///{tmp_path / 'node.sqlite'}")
    with database.write() as connection:
        connection.execute(text("CREATE TABLE t (value TEXT)"))
        connection.execute(
            text("INSERT INTO t VALUES (:value)"), [{"value": "x" * 1000}] * 8000
        )
    before = _anonymous_bytes()

    with ExitStack() as stack:
        for _ in range(_CONNECTIONS):
            connection = stack.enter_context(database.read())
            found = connection.execute(text("SELECT count(*) FROM t WHERE value > 'a'"))
            assert found.scalar_one() == 8000
        grown = _anonymous_bytes() - before
    database.close()

    assert grown < 8 * _MIB
