"""Statements that SQLite's driver gets as they are do what SQLAlchemy makes them do."""

from __future__ import annotations

import itertools
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import bindparam, insert, select, update

from dicom_node.errors import StoreError
from dicom_node.store import Store
from dicom_node.store.database import Database
from dicom_node.store.prepared import PreparedChange, PreparedLook
from dicom_node.store.schema import events, studies
from tests.builders.stores import received

NAMES = ("at", "kind", "study_id", "subject", "detail")
STATEMENT = insert(events)
LOOK = select(events).where(events.c.subject == bindparam("subject"))
KEYS = st.text(st.characters(exclude_characters="\0", codec="utf-8"), max_size=9)
VALUES = st.fixed_dictionaries(
    {
        "at": st.datetimes(
            min_value=datetime(1970, 1, 2),  # noqa: DTZ001 - hypothesis adds the zone
            max_value=datetime(2100, 1, 1),  # noqa: DTZ001
            timezones=st.sampled_from([UTC, timezone(timedelta(hours=5, minutes=30))]),
        ),
        "kind": KEYS,
        "study_id": st.none(),
        "detail": st.dictionaries(
            KEYS,
            st.none() | st.booleans() | st.integers(-(2**40), 2**40) | KEYS,
            max_size=4,
        ),
    }
)
_numbers = itertools.count()


@pytest.fixture
def database(store: Store) -> Database:
    return store._database


@settings(
    max_examples=25,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(values=VALUES)
def test_what_is_written_and_read_is_what_sqlalchemy_writes_and_reads(
    database: Database, values: dict[str, Any]
) -> None:
    ours, theirs = (f"S'\"%:x {next(_numbers)}" for _ in range(2))
    with database.write() as connection:
        PreparedChange(STATEMENT, NAMES).run(connection, {**values, "subject": ours})
        connection.execute(STATEMENT, {**values, "subject": theirs})

    look = PreparedLook(LOOK)
    with database.read() as connection:
        for subject in (ours, theirs):
            (read,) = look.rows(connection, {"subject": subject})
            (expected,) = connection.execute(LOOK, {"subject": subject}).all()
            assert tuple(read) == tuple(expected)
            assert read.at == values["at"]
            assert read.detail == values["detail"]
            assert read.kind == values["kind"]


def test_an_update_finds_its_rows(store: Store, database: Database) -> None:
    at = datetime(2031, 2, 3, 4, 5, 6, 789, tzinfo=UTC)
    for number in (1, 2):
        store.record_instance(received(number, study_instance_uid=f"1.2.{number}"))
    change = PreparedChange(
        update(studies)
        .where(studies.c.study_instance_uid == bindparam("uid"))
        .values(last_received_at=bindparam("moment"))
    )
    with database.write() as connection:
        change.run(connection, {"uid": "1.2.2", "moment": at})

    with database.read() as connection:
        changed = connection.scalars(
            select(studies.c.study_instance_uid).where(studies.c.last_received_at == at)
        ).all()
    assert changed == ["1.2.2"]


def test_what_fails_is_told_as_ever_and_without_the_values(database: Database) -> None:
    values = dict.fromkeys(NAMES) | {"subject": "ZZCANARY"}
    change = PreparedChange(STATEMENT, NAMES)

    with pytest.raises(StoreError) as told, database.write() as connection:
        change.run(connection, values)

    chain: list[BaseException] = []
    error: BaseException | None = told.value
    while error is not None:
        chain.append(error)
        error = error.__cause__
    if database.is_sqlite:
        assert not any("ZZCANARY" in str(one) for one in chain)
    with database.read() as connection:
        assert not PreparedLook(LOOK).rows(connection, {"subject": "ZZCANARY"})


def test_a_change_is_undone_with_its_transaction(database: Database) -> None:
    values = {"at": datetime.now(UTC), "kind": "k", "study_id": None, "detail": {}}

    def fail() -> None:
        with database.write() as connection:
            change = PreparedChange(STATEMENT, NAMES)
            change.run(connection, {**values, "subject": "S1"})
            raise LookupError

    with pytest.raises(LookupError):
        fail()

    with database.read() as connection:
        assert not PreparedLook(LOOK).rows(connection, {"subject": "S1"})
