"""What a requeue leaves of the moments of a version."""

from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path

from dicom_node.identity import content_version
from dicom_node.store import Store, VersionKey
from dicom_node.timeline import VersionMoments
from tests.builders.stores import NOON, received, result_object


def at(seconds: float) -> datetime:
    return NOON + timedelta(seconds=seconds)


def start(
    store: Store, key: VersionKey, folder: Path, *, run: int, now: datetime
) -> None:
    store.work.start_version(
        key.version_id, run=run, fingerprint="m", data_dir=folder, now=now
    )


def finish(
    store: Store, key: VersionKey, folder: Path, *, run: int, now: datetime
) -> None:
    store.work.finish_version(
        key.version_id,
        run=run,
        fingerprint="m",
        objects=[result_object(folder / f"run{run}")],
        result_dir=folder / f"run{run}",
        data_dir=folder,
        destinations={"pacs": "default"},
        now=now,
    )


def moments(store: Store, folder: Path) -> VersionMoments:
    (found,) = store.timeline.of_study("1.2.3", data_dir=folder)
    return found


def test_a_study_that_is_asked_for_again_is_told_by_its_own_run(
    store: Store, tmp_path: Path
) -> None:
    store.record_instance(received(1))
    (study,) = store.collecting_studies()
    key = store.open_version(study.study_id, now=at(10), version_of=content_version)
    assert key is not None
    start(store, key, tmp_path, run=1, now=at(11))
    finish(store, key, tmp_path, run=1, now=at(20))
    once = moments(store, tmp_path)

    store.requeue_study("1.2.3", destinations={})
    # A person asks again for what is sent already; then for the whole.
    with store._database.write() as connection:
        connection.exec_driver_sql("UPDATE deliveries SET state = 'delivered'")
    store.requeue_study("1.2.3", destinations={})
    waiting = moments(store, tmp_path)
    asked = waiting.queued_at
    start(store, key, tmp_path, run=2, now=asked + timedelta(seconds=1))
    working = moments(store, tmp_path)
    finish(store, key, tmp_path, run=2, now=asked + timedelta(seconds=5))
    done = moments(store, tmp_path)

    assert not once.is_repeated
    assert once.run_before_ended_at is None
    for one in (waiting, working, done):
        assert (one.completed_at, one.run_before_ended_at) == (at(10), at(20))
        assert (one.queued_at, one.is_repeated) == (asked, True)
    assert (waiting.started_at, waiting.finished_at) == (None, None)
    assert (working.started_at, working.finished_at) == (
        asked + timedelta(seconds=1),
        None,
    )
    assert done.finished_at == asked + timedelta(seconds=5)
