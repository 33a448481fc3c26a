"""Jobs: one worker has each, for as long as it gives signs of life."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import func, text, update
from sqlalchemy.exc import ProgrammingError

from dicom_node.errors import LeaseLostError, SettingsError, StoreError
from dicom_node.store import Store
from dicom_node.store.job_claims import JobClaims, JobListener, session_name
from dicom_node.store.jobs import Job
from dicom_node.store.schema import JobState, VersionState, jobs, versions
from tests.builders.postgres import PostgresCluster
from tests.builders.process import wait_until
from tests.builders.stores import NOON, received

pytestmark = pytest.mark.peers

MINE = {"model-1"}


@pytest.fixture
def shared(cluster: PostgresCluster) -> str:
    return cluster.new_database()


@pytest.fixture
def store(shared: str) -> Iterator[Store]:
    with Store(shared) as opened:
        opened.migrate()
        yield opened


@pytest.fixture
def claims(shared: str, store: Store) -> Iterator[JobClaims]:
    opened = JobClaims(shared, "worker", lease_s=30)
    yield opened
    opened.close()


def job(number: int = 1, *, fingerprint: str = "model-1") -> Job:
    return Job(f"{number:064}", fingerprint, "1.2.3", "v1", {"number": number})


def lapse(store: Store, times: int = 1) -> None:
    with store._database.write() as connection:
        connection.execute(
            update(jobs).values(lease_until=func.now() - timedelta(seconds=times))
        )


def open_version(store: Store) -> int:
    store.record_instance(received())
    key = store.open_version(1, now=NOON, version_of=lambda _: "v1")
    assert key is not None
    return key.version_id


def test_a_job_is_claimed_once_and_its_result_is_seen(
    store: Store, claims: JobClaims
) -> None:
    store.jobs.open(job())

    claimed = claims.claim(MINE)
    assert claimed is not None
    assert claimed.request == {"number": 1}
    assert claims.claim(MINE) is None
    claims.complete(claimed, {"files": []})

    outcome = store.jobs.outcome(job().job_id)
    assert outcome is not None
    assert outcome.state is JobState.DONE
    assert outcome.result == {"files": []}


def test_who_waits_longest_is_first_and_what_others_must_do_is_left(
    store: Store, claims: JobClaims
) -> None:
    store.jobs.open(job(3))
    store.jobs.open(job(1))
    store.jobs.open(job(2, fingerprint="model-2"))

    found = [claims.claim(MINE), claims.claim(MINE), claims.claim(MINE)]

    assert [one and one.request["number"] for one in found] == [3, 1, None]
    assert claims.others_wait(MINE)
    assert not claims.others_wait({"model-1", "model-2"})


def test_of_many_workers_each_job_has_one(store: Store, shared: str) -> None:
    for number in range(12):
        store.jobs.open(job(number))
    taken: list[int] = []
    barrier = threading.Barrier(4)

    def work() -> None:
        claims = JobClaims(shared, "worker", lease_s=30)
        barrier.wait()
        while (claimed := claims.claim(MINE)) is not None:
            taken.append(claimed.request["number"])
        claims.close()

    threads = [threading.Thread(target=work) for _ in range(4)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()

    assert sorted(taken) == list(range(12))


def test_a_lease_that_lapsed_opens_the_job_and_its_worker_cannot_end_it(
    store: Store, claims: JobClaims
) -> None:
    store.jobs.open(job())
    late = claims.claim(MINE)
    assert late is not None
    lapse(store)

    # Also while nobody else has it yet.
    with pytest.raises(LeaseLostError):
        claims.complete(late, {})
    with pytest.raises(LeaseLostError):
        claims.renew(late)
    second = claims.claim(MINE)
    assert second is not None
    assert second.generation == late.generation + 1
    for end in (
        lambda: claims.complete(late, {}),
        lambda: claims.fail(late, error="ValueError", reason=""),
        lambda: claims.give_back(late),
    ):
        with pytest.raises(LeaseLostError):
            end()
    claims.complete(second, {"by": "second"})

    outcome = store.jobs.outcome(job().job_id)
    assert outcome is not None
    assert outcome.result == {"by": "second"}


def test_a_job_that_ends_its_workers_again_and_again_is_given_up(
    store: Store, claims: JobClaims
) -> None:
    store.jobs.open(job())
    for _ in range(3):
        outcome = store.jobs.outcome(job().job_id)
        assert outcome is not None
        assert outcome.state is not JobState.FAILED
        assert claims.claim(MINE) is not None
        lapse(store)

    assert claims.claim(MINE) is None
    outcome = store.jobs.outcome(job().job_id)
    assert outcome is not None
    assert outcome.state is JobState.FAILED
    assert outcome.reason == "3 workers were lost over this study"


def test_what_is_given_back_is_no_loss(store: Store, claims: JobClaims) -> None:
    store.jobs.open(job())

    for _ in range(5):
        claimed = claims.claim(MINE)
        assert claimed is not None
        claims.renew(claimed)
        claims.give_back(claimed)

    assert store.jobs.counts() == {"open": 1, "running": 0, "done": 0, "failed": 0}


def test_asking_twice_changes_nothing_unless_it_failed(
    store: Store, claims: JobClaims
) -> None:
    store.jobs.open(job())
    claimed = claims.claim(MINE)
    assert claimed is not None
    store.jobs.open(job())
    assert claims.claim(MINE) is None

    claims.fail(claimed, error="ValueError", reason="ValueError")
    failed = store.jobs.outcome(job().job_id)
    store.jobs.open(job())
    again = claims.claim(MINE)

    assert failed is not None
    assert (failed.state, failed.error) == (JobState.FAILED, "ValueError")
    assert again is not None
    assert again.generation > claimed.generation
    claims.complete(again, {})
    store.jobs.reopen(job().job_id)
    assert claims.claim(MINE) is not None


def test_a_job_ends_with_its_version_and_its_worker_hears_it(
    store: Store, claims: JobClaims
) -> None:
    version_id = open_version(store)
    store.jobs.open(job())
    claimed = claims.claim(MINE)
    assert claimed is not None
    assert store.jobs.forget() == ()

    with store._database.write() as connection:
        connection.execute(
            update(versions)
            .where(versions.c.id == version_id)
            .values(state=VersionState.SUPERSEDED)
        )

    assert store.jobs.forget() == ({"job_id": job().job_id, "number": 1},)
    assert store.jobs.outcome(job().job_id) is None
    with pytest.raises(LeaseLostError):
        claims.renew(claimed)


def test_a_listener_hears_and_is_seen_while_it_is_connected(
    store: Store, shared: str
) -> None:
    listener = JobListener(JobClaims(shared, "", lease_s=1).url, name=session_name("f"))
    assert not listener.wait(0.01)
    assert store.jobs.workers() == ("f",)

    store.jobs.open(job())
    heard = listener.wait(30)
    listener.close()

    assert heard
    wait_until(lambda: store.jobs.workers() == (), timeout_s=20, what="its end")


def test_the_rights_that_are_documented_suffice_and_no_other_table_is_written(
    store: Store, shared: str
) -> None:
    page = Path(__file__).parents[3] / "docs" / "operations.md"
    _, role, rest = page.read_text(encoding="utf-8").partition(
        "CREATE ROLE node_worker"
    )
    _, grant, more = rest.partition("GRANT CONNECT ON")
    grants = role + rest.partition("\n")[0] + grant + more.partition("```")[0]
    with store._database.write() as connection:
        name = connection.scalar(text("SELECT current_database()"))
        connection.execute(text(grants.replace("DATABASE node", f"DATABASE {name}")))
    store.jobs.open(job())

    claims = JobClaims(shared.replace("postgres@", "node_worker@"), "w", lease_s=30)
    claims.check()
    claimed = claims.claim(MINE)
    assert claimed is not None
    claims.renew(claimed)
    claims.complete(claimed, {})

    for statement in ("DELETE FROM jobs", "SELECT * FROM studies"):
        with (
            pytest.raises(ProgrammingError, match="permission denied"),
            claims._engine.begin() as connection,
        ):
            connection.execute(text(statement))
    claims.close()


def test_tables_of_another_version_are_refused(store: Store, claims: JobClaims) -> None:
    claims.check()
    with store._database.write() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))

    with pytest.raises(SettingsError, match="must be of the same version"):
        claims.check()


def test_a_database_that_is_not_there_is_told_without_its_password() -> None:
    claims = JobClaims("postgresql://node:secret@127.0.0.1:9/x", "w", lease_s=30)

    with pytest.raises(StoreError) as told:
        claims.claim(MINE)
    assert "secret" not in str(told.value)
    with pytest.raises(SettingsError, match="PostgreSQL"):
        JobClaims("sqlite:///x", "w", lease_s=30)
