"""With a million instances, what is asked again and again reads no table whole."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import (
    Connection,
    bindparam,
    case,
    delete,
    func,
    literal,
    or_,
    select,
)

from dicom_node.store import Store
from dicom_node.store.database import Database
from dicom_node.store.lookups import has_some
from dicom_node.store.prepared import PreparedLook
from dicom_node.store.removable import StudyPart
from dicom_node.store.retention import RemovalRule
from dicom_node.store.schema import (
    deliveries,
    events,
    instances,
    results,
    studies,
    tallies,
    versions,
)
from tests.bench.growth_queries import QUERIES, opened
from tests.bench.growth_rows import NOW, fill
from tests.builders.query_plans import listen, read_whole, reads_ahead, sorts_all

COUNT = 1000
LARGE = {
    *("studies", "series", "instances", "reports", "events"),
    *("versions", "results", "deliveries", "corrections"),
}


@pytest.fixture
def filled(url: str) -> str:
    fill(url, instance_count=COUNT)
    return url


@pytest.fixture
def database(filled: str) -> Iterator[Database]:
    made = Database(filled)
    yield made
    made.close()


def test_no_hot_query_reads_a_large_table_whole_or_before_a_page(
    filled: str, database: Database, tmp_path: Path
) -> None:
    with opened(filled, instance_count=COUNT, folder=tmp_path) as one:
        engine = one.store._database.engine
        whole, ahead = {}, {}
        for query in (each for each in QUERIES if each.is_hot):
            with listen(engine) as heard:
                query.timed(one)
            assert heard
            for asked in heard:
                if found := read_whole(database.engine, asked) & LARGE:
                    whole[query.name] = (found, asked.statement)
                if reads_ahead(database.engine, asked):
                    ahead[query.name] = asked.statement

    assert (whole, ahead) == ({}, {})


def test_a_query_without_an_index_is_seen(database: Database) -> None:
    with listen(database.engine) as heard, database.read() as connection:
        connection.execute(
            select(func.count()).select_from(events).where(events.c.subject == "1.2")
        )

    assert [read_whole(database.engine, one) for one in heard] == [{"events"}]


def test_a_prepared_statement_without_an_index_is_seen(database: Database) -> None:
    look = PreparedLook(
        select(func.count().label("found"))
        .select_from(events)
        .where(events.c.subject == bindparam("subject"))
    )
    with listen(database.engine) as heard, database.read() as connection:
        look.rows(connection, {"subject": "1.2"})

    assert [read_whole(database.engine, one) for one in heard] == [{"events"}]


def test_an_answer_for_every_study_before_a_page_of_them_is_seen(
    database: Database,
) -> None:
    newer = select(instances.c.id).where(
        instances.c.study_id == studies.c.id, instances.c.received_at >= NOW
    )
    page = select(studies.c.id).order_by(studies.c.id).limit(5)

    with listen(database.engine) as heard, database.read() as connection:
        for claim in (newer.exists(), has_some(newer)):
            connection.execute(page.where(or_(studies.c.id < 0, claim)))

    # SQLite looks it up for each row in turn, however it is asked.
    ahead = [reads_ahead(database.engine, one) for one in heard]
    assert ahead == [not database.is_sqlite, False]


def test_a_round_of_retention_begins_with_the_oldest_study_at_once(
    filled: str, database: Database
) -> None:
    with Store(filled) as store, listen(store._database.engine) as heard:
        for parts in ([StudyPart.IMAGES], [StudyPart.RESULTS], StudyPart):
            store.retention.candidates(
                RemovalRule("age", frozenset(parts), NOW), limit=500
            )

    assert len(heard) == 3
    for asked in heard:
        assert not reads_ahead(database.engine, asked), asked.statement
        assert not sorts_all(database.engine, asked), asked.statement


def counted(connection: Connection) -> dict[tuple[str, str, str], tuple[int, int]]:
    """Count what `tallies` keeps."""
    found: dict[tuple[str, str, str], tuple[int, int]] = {}
    for table in (studies, versions, deliveries, instances, results):
        columns: Any = table.c
        state = (
            columns.state
            if "state" in columns
            else case((columns.removed_at.is_(None), "kept"), else_="removed")
        )
        to = columns.destination if "destination" in columns else literal("")
        size = func.sum(columns.size_bytes) if "size_bytes" in columns else literal(0)
        each = select(state, to, func.count(), size).group_by(*{state: 0, to: 0})
        found |= {
            (table.name, row[0], row[1]): (row[2], int(row[3]))
            for row in connection.execute(each)
        }
    return found


def test_the_numbers_that_are_kept_are_those_of_the_rows(
    filled: str, database: Database, tmp_path: Path
) -> None:
    with opened(filled, instance_count=COUNT, folder=tmp_path) as one:
        for query in QUERIES:
            query.timed(one)
    with database.write() as connection:
        connection.execute(
            instances.update()
            .where(instances.c.id < 5)
            .values(removed_at=func.current_timestamp())
        )
        connection.execute(studies.update().values(state="ignored"))
        connection.execute(delete(deliveries).where(deliveries.c.id == 1))

    with database.read() as connection:
        kept = {
            (name, state, to): (count, size)
            for name, state, to, count, size in connection.execute(
                select(tallies).where(tallies.c.count != 0)
            )
        }
        assert kept == counted(connection)
