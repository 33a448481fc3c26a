from __future__ import annotations

import sqlite3
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory

from dicom_node.errors import SettingsError, StoreError
from dicom_node.identity import content_version
from dicom_node.store import (
    AttemptOutcome,
    InstanceOutcome,
    RequeueOutcome,
    Store,
    StudyState,
    VersionKey,
    VersionState,
    Work,
    migration,
)
from dicom_node.store.database import Database
from dicom_node.store.schema import events, metadata, versions
from tests.builders.postgres import PostgresCluster
from tests.builders.stores import NOON, received, result_object

TO_PACS = {"pacs": "default"}


def open_next(store: Store, *, after_s: float = 60.0) -> VersionKey:
    (study,) = [one for one in store.collecting_studies() if one.is_collecting]
    key = store.open_version(
        study.study_id,
        now=NOON + timedelta(seconds=after_s),
        version_of=content_version,
    )
    assert key is not None
    return key


def start(store: Store, key: VersionKey, *, fingerprint: str = "model-1") -> Work:
    work = store.work.start_version(
        key.version_id,
        run=key.run,
        fingerprint=fingerprint,
        data_dir=Path("/data"),
        now=NOON,
    )
    assert work is not None
    return work


def finish(
    store: Store, key: VersionKey, folder: Path, *, number: int = 1, **changes: str
) -> None:
    store.work.finish_version(
        key.version_id,
        run=key.run,
        fingerprint=changes.get("fingerprint", "model-1"),
        objects=[result_object(folder / f"run-{number}", number)],
        result_dir=folder / f"run-{number}",
        data_dir=folder,
        destinations=TO_PACS,
        now=NOON,
    )


def test_the_migrated_tables_are_those_of_the_schema(url: str) -> None:
    with Store(url) as store:
        store.migrate()
        store.migrate()

    database = Database(url)
    with database.read() as connection:
        context = MigrationContext.configure(
            connection, opts={"compare_type": True, "compare_server_default": True}
        )
        assert compare_metadata(context, metadata) == []
    database.close()


def test_a_database_that_is_current_starts_without_the_migrations(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    scripts = ScriptDirectory(str(Path(migration.__file__).parent / "migrations"))
    with Store(url) as first:
        first.migrate()
    monkeypatch.delattr("alembic.command.upgrade")

    with Store(url) as second:
        second.migrate()

        assert second.claim("00000000-0000-4000-8000-000000000001")
    assert scripts.get_current_head() == migration.REVISION


def test_sqlite_commits_wait_for_the_disk(tmp_path: Path) -> None:
    database = Database(f"sqlite:///{tmp_path / 'node.sqlite'}")
    with database.read() as connection:
        found = {
            name: connection.exec_driver_sql(f"PRAGMA {name}").scalar()
            for name in ("journal_mode", "synchronous", "foreign_keys", "busy_timeout")
        }
    database.close()

    full = 2
    assert found == {
        "journal_mode": "wal",
        "synchronous": full,
        "foreign_keys": 1,
        "busy_timeout": 10_000,
    }


@pytest.mark.peers
def test_postgresql_commits_wait_for_the_disk_and_nothing_is_compiled(
    cluster: PostgresCluster,
) -> None:
    database = Database(cluster.new_database())
    with database.read() as connection:
        assert connection.exec_driver_sql("SHOW synchronous_commit").scalar() == "on"
        assert connection.exec_driver_sql("SHOW jit").scalar() == "off"
    database.close()


def test_a_recorded_instance_is_in_the_file_when_the_call_returns(
    tmp_path: Path,
) -> None:
    path = tmp_path / "node.sqlite"
    with Store(f"sqlite:///{path}") as store:
        store.migrate()
        store.record_instance(received())

        with sqlite3.connect(path) as other:
            rows = other.execute("SELECT sop_instance_uid FROM instances").fetchall()
        other.close()

    assert rows == [("1.2.3.4.1",)]


def test_an_instance_is_new_then_a_duplicate_then_a_conflict(store: Store) -> None:
    first = received()
    other_bytes = replace(first, sha256="b" * 64, path=Path("spool/b.dcm"))

    outcomes = [
        store.record_instance(one) for one in (first, first, other_bytes, other_bytes)
    ]

    assert outcomes == ["new", "duplicate", "conflict", "conflict"]
    assert {one.path for one in store.recorded_files()} == {
        first.path,
        other_bytes.path,
    }
    (study,) = store.snapshot().studies
    assert (study.instances, study.conflicts) == (2, 1)


def test_fifty_threads_that_send_the_same_study_agree_on_what_is_new(
    store: Store,
) -> None:
    sent = [received(number % 40) for number in range(200)]

    with ThreadPoolExecutor(50) as pool:
        outcomes = Counter(pool.map(store.record_instance, sent))

    assert outcomes == {InstanceOutcome.NEW: 40, InstanceOutcome.DUPLICATE: 160}


def test_one_bad_change_in_a_shared_commit_takes_no_other_with_it(url: str) -> None:
    with Store(url) as store:
        store.migrate()
        bad = received(99, study_instance_uid=None)

        def record(number: int) -> str:
            try:
                return store.record_instance(bad if number == 7 else received(number))
            except StoreError:
                return "refused"

        with ThreadPoolExecutor(20) as pool:
            outcomes = Counter(pool.map(record, range(20)))

        assert outcomes == {"new": 19, "refused": 1}


def test_own_results_neither_make_a_version_nor_count_in_one(store: Store) -> None:
    store.record_instance(received(1, is_own_result=True))
    idle = store.snapshot().studies[0].state
    nothing = store.collecting_studies()
    store.record_instance(received(2))
    key = open_next(store)
    store.record_instance(received(3, is_own_result=True))

    work = start(store, key)

    assert (idle, nothing) == (StudyState.IDLE, ())
    assert [one.sop_instance_uid for one in work.ready.instances] == ["1.2.3.4.2"]
    assert store.collecting_studies() == ()


def test_a_content_version_depends_on_the_instances_and_not_on_their_order(
    tmp_path: Path,
) -> None:
    def version_of(order: tuple[int, ...]) -> str:
        with Store(f"sqlite:///{tmp_path / f'{order[0]}.sqlite'}") as store:
            store.migrate()
            for number in order:
                store.record_instance(received(number))
            return open_next(store).content_version

    assert version_of((1, 2, 3)) == version_of((3, 1, 2))
    assert version_of((2, 1)) != version_of((4, 1))


def test_a_late_image_makes_a_version_that_supersedes_the_results_before(
    store: Store, tmp_path: Path
) -> None:
    store.record_instance(received(1))
    first = open_next(store)
    start(store, first)
    finish(store, first, tmp_path)
    store.record_instance(received(2, after_s=100))
    second = open_next(store, after_s=200)

    work = start(store, second)

    assert work.ready.predecessor_version == first.content_version
    assert [one.sop_instance_uid for one in work.predecessors] == ["2.25.1"]
    assert len(work.ready.instances) == 2


def test_a_version_that_nobody_began_is_superseded_by_the_next(store: Store) -> None:
    store.record_instance(received(1))
    first = open_next(store)
    store.record_instance(received(2))
    second = open_next(store)

    nothing = store.work.start_version(
        first.version_id, run=1, fingerprint="m", data_dir=Path("/data"), now=NOON
    )

    assert nothing is None
    assert [one.version_id for one in store.work.unfinished_versions()] == [
        second.version_id
    ]
    assert start(store, second).predecessors == ()


def test_a_study_that_gets_images_while_it_is_processed_keeps_collecting(
    store: Store, tmp_path: Path
) -> None:
    store.record_instance(received(1))
    key = open_next(store)
    start(store, key)
    store.record_instance(received(2))

    finish(store, key, tmp_path)

    assert store.snapshot().studies[0].state == StudyState.COLLECTING


def test_a_second_run_by_the_same_model_supersedes_what_the_first_did(
    store: Store, tmp_path: Path
) -> None:
    store.record_instance(received(1))
    key = open_next(store)
    start(store, key)
    finish(store, key, tmp_path)
    deliver_all(store, key, tmp_path)
    store.requeue_study("1.2.3", destinations=TO_PACS, now=NOON)
    again = store.work.unfinished_versions()[0]

    assert start(store, again).predecessors == ()
    assert start(store, again, fingerprint="model-2").predecessors[
        0
    ].sop_instance_uid == ("2.25.1")


def test_results_with_one_uid_and_two_contents_are_refused(
    store: Store, tmp_path: Path
) -> None:
    store.record_instance(received(1))
    key = open_next(store)
    start(store, key)
    finish(store, key, tmp_path)
    deliver_all(store, key, tmp_path)
    store.requeue_study("1.2.3", destinations=TO_PACS, now=NOON)
    again = store.work.unfinished_versions()[0]
    start(store, again)
    other = result_object(tmp_path / "other", 1, content=b"other bytes")

    with pytest.raises(StoreError, match="other bytes"):
        store.work.finish_version(
            again.version_id,
            run=again.run,
            fingerprint="model-1",
            objects=[other],
            result_dir=tmp_path / "other",
            data_dir=tmp_path,
            destinations=TO_PACS,
            now=NOON,
        )


def test_a_result_is_in_the_outbox_once_per_destination(
    store: Store, tmp_path: Path
) -> None:
    store.record_instance(received(1))
    key = open_next(store)
    start(store, key)
    finish(store, key, tmp_path)

    (parcel,) = store.outbox.pending_parcels()
    (item,) = store.outbox.pending_items(parcel.version_id, "pacs", data_dir=tmp_path)
    deliver_all(store, key, tmp_path)
    store.requeue_study("1.2.3", destinations=TO_PACS, now=NOON)
    again = store.work.unfinished_versions()[0]
    start(store, again)
    finish(store, again, tmp_path)

    assert item.path.read_bytes() == b"result"
    assert store.outbox.pending_parcels() == ()
    assert store.counts().deliveries == {("pacs", "delivered"): 1}


def test_only_what_a_destination_lacks_stays_pending(
    store: Store, tmp_path: Path
) -> None:
    store.record_instance(received(1))
    key = open_next(store)
    start(store, key)
    store.work.finish_version(
        key.version_id,
        run=1,
        fingerprint="m",
        objects=[
            result_object(tmp_path / "r", 1),
            result_object(tmp_path / "r", 2),
            result_object(tmp_path / "r", 3, profile="ohif"),
        ],
        result_dir=tmp_path / "r",
        data_dir=tmp_path,
        destinations=TO_PACS,
        now=NOON,
    )
    (parcel,) = store.outbox.pending_parcels()
    items = store.outbox.pending_items(parcel.version_id, "pacs", data_dir=tmp_path)

    store.outbox.record_attempt(
        parcel,
        [
            AttemptOutcome(items[0].delivery_id, True, 0, ""),
            AttemptOutcome(items[1].delivery_id, False, 0xA700, "out of resources"),
        ],
        now=NOON,
        next_attempt_at=NOON + timedelta(seconds=5),
    )

    left = store.outbox.pending_items(parcel.version_id, "pacs", data_dir=tmp_path)
    assert [one.sop_instance_uid for one in items] == ["2.25.1", "2.25.2"]
    assert [one.sop_instance_uid for one in left] == ["2.25.2"]
    assert store.outbox.pending_parcels()[0].attempts == 1
    assert store.snapshot().studies[0].deliveries[0].last_status == 0xA700


@pytest.mark.parametrize(
    ("days", "state"), [(6.99, "pending"), (7.0, "dead"), (8.0, "dead")]
)
def test_a_delivery_is_given_up_after_seven_days_and_not_before(
    store: Store, tmp_path: Path, days: float, state: str
) -> None:
    store.record_instance(received(1))
    key = open_next(store)
    start(store, key)
    finish(store, key, tmp_path)
    (parcel,) = store.outbox.pending_parcels()
    (item,) = store.outbox.pending_items(parcel.version_id, "pacs", data_dir=tmp_path)

    store.outbox.record_attempt(
        parcel,
        [AttemptOutcome(item.delivery_id, False, None, "no answer")],
        now=NOON + timedelta(days=days),
        next_attempt_at=NOON,
    )

    assert store.counts().deliveries == {("pacs", state): 1}


def test_a_destination_fails_from_when_it_lacks_a_result_that_was_tried(
    store: Store, tmp_path: Path
) -> None:
    store.record_instance(received(1))
    key = open_next(store)
    start(store, key)
    finish(store, key, tmp_path)
    (parcel,) = store.outbox.pending_parcels()
    (item,) = store.outbox.pending_items(parcel.version_id, "pacs", data_dir=tmp_path)
    later = NOON + timedelta(minutes=15)

    untried = store.details.failing_destinations(before=later)
    store.outbox.record_attempt(
        parcel,
        [AttemptOutcome(item.delivery_id, False, None, "no answer")],
        now=NOON,
        next_attempt_at=later,
    )

    assert untried == {}
    assert store.details.failing_destinations(before=NOON) == {}
    assert store.details.failing_destinations(before=later) == {"pacs": NOON}


def test_what_is_dead_is_delivered_again_on_request(
    store: Store, tmp_path: Path
) -> None:
    store.record_instance(received(1))
    key = open_next(store)
    start(store, key)
    finish(store, key, tmp_path)
    (parcel,) = store.outbox.pending_parcels()
    store.outbox.abandon_parcel(parcel, comment="not configured", now=NOON)
    dead = store.counts().deliveries

    outcome = store.requeue_study("1.2.3", destinations=TO_PACS, now=NOON)

    assert dead == {("pacs", "dead"): 1}
    assert outcome is RequeueOutcome.DELIVER_NOW
    assert store.counts().deliveries == {("pacs", "pending"): 1}
    assert [one.is_forced for one in store.collecting_studies()] == [True]


def test_what_a_removed_destination_lacks_keeps_no_study_from_a_second_run(
    store: Store, tmp_path: Path
) -> None:
    store.record_instance(received(1))
    key = open_next(store)
    start(store, key)
    finish(store, key, tmp_path)
    (parcel,) = store.outbox.pending_parcels()
    store.outbox.abandon_parcel(parcel, comment="not configured", now=NOON)

    outcome = store.requeue_study("1.2.3", destinations={}, now=NOON)

    assert outcome is RequeueOutcome.PROCESS_AGAIN
    assert store.counts().deliveries == {("pacs", "dead"): 1}
    assert store.work.unfinished_versions() == (replace(key, run=2),)


@pytest.mark.parametrize("was_delivered", [True, False])
def test_a_destination_that_is_new_gets_the_newest_results_on_request(
    store: Store, tmp_path: Path, was_delivered: bool
) -> None:
    store.record_instance(received(1))
    key = open_next(store)
    start(store, key)
    finish(store, key, tmp_path)
    if was_delivered:
        deliver_all(store, key, tmp_path)
    else:
        (parcel,) = store.outbox.pending_parcels()
        store.outbox.abandon_parcel(parcel, comment="not configured", now=NOON)
    before = store.counts().deliveries
    asked = {"archive": "default", "viewer": "ohif"}

    outcome = store.requeue_study("1.2.3", destinations=asked, now=NOON)

    assert outcome is RequeueOutcome.DELIVER_NOW
    assert store.counts().deliveries == before | {("archive", "pending"): 1}
    assert "to every destination that lacks them" in outcome


def test_a_new_destination_whose_profile_was_never_made_starts_a_second_run(
    store: Store, tmp_path: Path
) -> None:
    store.record_instance(received(1))
    key = open_next(store)
    start(store, key)
    finish(store, key, tmp_path)
    deliver_all(store, key, tmp_path)

    outcome = store.requeue_study("1.2.3", destinations={"viewer": "ohif"}, now=NOON)

    assert outcome is RequeueOutcome.PROCESS_AGAIN


def test_a_database_belongs_to_the_first_node_that_claims_it(store: Store) -> None:
    claims = [store.claim(one) for one in ("a", "b", "a")]

    assert claims == [True, False, True]


def test_a_failed_version_says_why_and_runs_again_on_request(store: Store) -> None:
    store.record_instance(received(1))
    key = open_next(store)
    start(store, key)
    store.work.fail_version(key.version_id, run=1, reason="no model", now=NOON)
    failed = store.snapshot().studies[0]

    outcome = store.requeue_study("1.2.3", destinations=TO_PACS, now=NOON)

    assert (failed.state, failed.reason) == (StudyState.FAILED, "no model")
    assert outcome is RequeueOutcome.PROCESS_AGAIN
    assert store.work.unfinished_versions() == (replace(key, run=2),)


def test_a_request_for_an_unknown_study_is_refused(store: Store) -> None:
    with pytest.raises(StoreError, match="no study"):
        store.requeue_study("1.2.99", destinations={}, now=NOON)


def test_the_audit_trail_tells_every_change(store: Store, tmp_path: Path) -> None:
    store.record_instance(received(1))
    key = open_next(store)
    start(store, key)
    finish(store, key, tmp_path)
    deliver_all(store, key, tmp_path)

    with store._database.read() as connection:
        rows = connection.execute(events.select().order_by(events.c.id)).all()

    assert [row.kind for row in rows] == [
        "instance_received",
        "study_complete",
        "study_processed",
        "result_delivered",
    ]
    assert all(row.study_id == 1 for row in rows)
    assert rows[0].at == NOON


def test_a_change_and_its_event_are_made_together_or_not_at_all(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.record_instance(received(1))
    (study,) = store.collecting_studies()

    def fail(*_: object, **__: object) -> None:
        raise StoreError

    with monkeypatch.context() as patched:
        patched.setattr("dicom_node.store.versions.record_event", fail)
        with pytest.raises(StoreError):
            store.open_version(study.study_id, now=NOON, version_of=content_version)

    with store._database.read() as connection:
        assert connection.execute(versions.select()).all() == []
    assert [one.is_collecting for one in store.collecting_studies()] == [True]


@pytest.mark.parametrize(
    "query",
    [
        "SELECT sha256 FROM instances WHERE sop_instance_uid = 'x'",
        "SELECT id FROM instances WHERE study_id = 1 AND id <= 5",
        "SELECT id FROM instances WHERE path = 'x'",
        "SELECT id FROM studies WHERE state = 'collecting' OR is_forced IS 1",
        "SELECT id FROM versions WHERE state IN ('ready', 'processing')",
        "SELECT id FROM deliveries WHERE version_id = 1 AND destination = 'x'"
        " AND state = 'pending'",
        "SELECT id FROM deliveries WHERE destination = 'x' AND state = 'pending'",
    ],
)
def test_the_queries_of_every_day_use_an_index(tmp_path: Path, query: str) -> None:
    path = tmp_path / "node.sqlite"
    with Store(f"sqlite:///{path}") as store:
        store.migrate()
    connection = sqlite3.connect(path)

    plan = connection.execute(f"EXPLAIN QUERY PLAN {query}").fetchall()
    connection.close()

    assert not [row for row in plan if row[3].startswith("SCAN")]


def test_a_database_that_is_away_is_a_store_error(tmp_path: Path) -> None:
    with (
        Store(f"sqlite:///{tmp_path / 'none' / 'node.sqlite'}") as store,
        pytest.raises(StoreError, match="OperationalError"),
    ):
        store.record_instance(received())


def test_only_sqlite_and_postgresql_are_databases() -> None:
    with pytest.raises(SettingsError, match="mysql"):
        Store("mysql://localhost/node")


def test_a_superseded_run_writes_nothing(store: Store, tmp_path: Path) -> None:
    store.record_instance(received(1))
    key = open_next(store)
    start(store, key)
    store.work.fail_version(key.version_id, run=1, reason="slow", now=NOON)
    store.requeue_study("1.2.3", destinations=TO_PACS, now=NOON)

    finish(store, key, tmp_path)

    assert store.snapshot().studies[0].state == StudyState.READY
    assert store.counts().deliveries == {}
    assert store.work.unfinished_versions()[0].run == 2
    assert VersionState.READY == "ready"


def deliver_all(store: Store, key: VersionKey, folder: Path) -> None:
    (parcel,) = store.outbox.pending_parcels(version_id=key.version_id)
    items = store.outbox.pending_items(parcel.version_id, "pacs", data_dir=folder)
    store.outbox.record_attempt(
        parcel,
        [AttemptOutcome(one.delivery_id, True, 0, "") for one in items],
        now=NOON,
        next_attempt_at=NOON,
    )
