"""A run that comes out otherwise than the one before it supersedes that."""

from __future__ import annotations

from pathlib import Path

import pytest

from dicom_node.identity import content_version
from dicom_node.store import Store, VersionKey
from dicom_node.store.newest import newest_results
from tests.builders.stores import NOON, received, result_object

TO_PACS = {"pacs": "default"}


@pytest.fixture
def key(store: Store) -> VersionKey:
    store.record_instance(received(1))
    (study,) = store.collecting_studies()
    made = store.open_version(study.study_id, now=NOON, version_of=content_version)
    assert made is not None
    return made


def run(
    store: Store, key: VersionKey, folder: Path, number: int, *made: int
) -> list[str]:
    """Process a version, coming out with these objects; return what they supersede."""
    if number > 1:
        with store._database.write() as connection:
            connection.exec_driver_sql(
                f"UPDATE versions SET run = {number}, state = 'ready'"
            )
    work = store.work.start_version(
        key.version_id, run=number, fingerprint="m", data_dir=folder, now=NOON
    )
    assert work is not None
    chosen = store.work.supersede_results(
        key.version_id,
        run=number,
        fingerprint="m",
        sop_instance_uids=[f"2.25.{one}" for one in made],
    )
    store.work.finish_version(
        key.version_id,
        run=number,
        fingerprint="m",
        objects=[result_object(folder / f"run{number}", one) for one in made],
        result_dir=folder / f"run{number}",
        data_dir=folder,
        destinations=TO_PACS,
        now=NOON,
    )
    named = work.predecessors if chosen is None else chosen
    return [one.sop_instance_uid for one in named]


def newest(store: Store, key: VersionKey) -> list[str]:
    with store._database.read() as connection:
        rows = newest_results(connection, key.version_id)
        return [row.sop_instance_uid for row in rows]


def states(store: Store) -> dict[str, str]:
    with store._database.read() as connection:
        rows = connection.exec_driver_sql(
            "SELECT r.sop_instance_uid, d.state FROM deliveries d "
            "JOIN results r ON r.id = d.result_id"
        )
        return {row[0]: row[1] for row in rows}


def test_a_run_that_comes_out_otherwise_supersedes_the_one_before(
    store: Store, key: VersionKey, tmp_path: Path
) -> None:
    first = run(store, key, tmp_path, 1, 1, 2)
    second = run(store, key, tmp_path, 2, 3, 4, 5)
    third = run(store, key, tmp_path, 3, 3, 4, 5)

    assert (first, second) == ([], ["2.25.1", "2.25.2"])
    # The same once more: the same bytes, so the same predecessors.
    assert third == second
    assert newest(store, key) == ["2.25.3", "2.25.4", "2.25.5"]


def test_a_later_version_supersedes_the_newest_run_only(
    store: Store, key: VersionKey, tmp_path: Path
) -> None:
    run(store, key, tmp_path, 1, 1, 2)
    run(store, key, tmp_path, 2, 3)
    store.record_instance(received(2))
    (study,) = store.collecting_studies()
    later = store.open_version(study.study_id, now=NOON, version_of=content_version)
    assert later is not None

    work = store.work.start_version(
        later.version_id, run=1, fingerprint="m", data_dir=tmp_path, now=NOON
    )

    assert work is not None
    assert [one.sop_instance_uid for one in work.predecessors] == ["2.25.3"]


def test_a_new_destination_gets_the_newest_run_only(
    store: Store, key: VersionKey, tmp_path: Path
) -> None:
    run(store, key, tmp_path, 1, 1, 2)
    run(store, key, tmp_path, 2, 3)

    store.requeue_study("1.2.3", destinations={"viewer": "default"}, now=NOON)

    assert store.counts().deliveries["viewer", "pending"] == 1
    assert store.workitems.output("1.2.3").results[0][0].sop_instance_uid == "2.25.3"


def test_what_an_earlier_run_did_not_deliver_is_not_sent_after_the_newer_one(
    store: Store, key: VersionKey, tmp_path: Path
) -> None:
    run(store, key, tmp_path, 1, 1)
    run(store, key, tmp_path, 2, 2)
    before = states(store)

    store.requeue_study("1.2.3", destinations=TO_PACS, now=NOON)

    assert before == {"2.25.1": "dead", "2.25.2": "pending"}
    assert states(store) == before
