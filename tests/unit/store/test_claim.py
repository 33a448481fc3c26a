"""One node works on a PostgreSQL database; who was taken over writes no more."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator

import pytest
from sqlalchemy import text

from dicom_node.errors import StoreError, TakenOverError
from dicom_node.store import Store
from dicom_node.store.patient_connection import PatientConnection
from tests.builders.postgres import PostgresCluster
from tests.builders.process import wait_until

pytestmark = pytest.mark.peers


@pytest.fixture
def shared(cluster: PostgresCluster) -> str:
    return cluster.new_database()


@pytest.fixture
def first(shared: str) -> Iterator[Store]:
    with Store(shared) as opened:
        assert opened.turn is not None
        assert opened.turn.take()
        opened.migrate()
        assert opened.claim("node")
        yield opened


@pytest.fixture
def second(shared: str) -> Iterator[Store]:
    with Store(shared) as opened:
        yield opened


def end_session(store: Store) -> None:
    """Let the server end the session that holds the claim."""
    with store._database.read() as connection:
        connection.execute(
            text(
                "SELECT pg_terminate_backend(pid) FROM pg_locks "
                "WHERE locktype = 'advisory' AND mode = 'ExclusiveLock'"
            )
        )


def ask_a_stopped_server(store: Store) -> None:
    with store._database.write() as connection:
        pid = connection.scalar(text("SELECT pg_backend_pid()"))
        os.kill(pid, signal.SIGSTOP)
        try:
            connection.execute(text("SELECT 1"))
        finally:
            os.kill(pid, signal.SIGCONT)


def test_the_second_waits_until_the_first_is_gone(first: Store, second: Store) -> None:
    assert second.turn is not None
    before = second.turn.take()
    first.close()
    after = second.turn.take()

    assert (before, after) == (False, True)
    assert second.claim("node")
    assert second.epoch == 2


def test_who_was_taken_over_can_write_nothing(first: Store, second: Store) -> None:
    assert first.turn is not None
    assert second.turn is not None
    workflows = first.turn.workflow_engine()
    end_session(second)
    assert second.turn.take()
    assert second.claim("node")

    with pytest.raises(TakenOverError):
        first.switches.set("drain", True, by="test")
    with pytest.raises(TakenOverError):
        first.check_claim()
    with pytest.raises(TakenOverError), workflows.begin():
        pass

    assert first.turn.is_taken_over
    second.switches.set("drain", False, by="test")


def test_taking_over_waits_for_what_is_being_written(
    first: Store, second: Store
) -> None:
    assert second.turn is not None
    done: list[str] = []

    def take_over() -> None:
        second.claim("node")
        done.append("taken over")

    with first._database.write() as connection:
        thread = threading.Thread(target=take_over)
        thread.start()
        time.sleep(0.3)
        connection.execute(text("SELECT 1"))
        done.append("written")
    thread.join()

    assert done == ["written", "taken over"]


def test_a_claim_that_is_lost_is_taken_again_if_nobody_has_it(
    first: Store, second: Store
) -> None:
    turn = first.turn
    assert turn is not None
    end_session(second)

    wait_until(lambda: turn.trouble is not None, timeout_s=30, what="the loss")
    with pytest.raises(StoreError, match="being taken again"):
        first.switches.set("drain", True, by="test")
    wait_until(lambda: turn.trouble is None, timeout_s=30, what="the claim")

    first.switches.set("drain", True, by="test")


def test_a_server_that_hangs_is_given_up(
    first: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(PatientConnection, "patience_s", 0.5)

    with pytest.raises(StoreError) as told:
        ask_a_stopped_server(first)

    assert "it did not answer in time" in str(told.value)
    assert told.value.is_away
    first.switches.set("drain", True, by="test")
