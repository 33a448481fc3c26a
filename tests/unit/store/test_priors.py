from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from dicom_node.identity import content_version
from dicom_node.records import ReportStatus
from dicom_node.store import (
    Retrieval,
    Store,
    StudyState,
    VersionKey,
    Work,
    WorkitemState,
)
from tests.builders.postgres import PostgresCluster, postgres_cluster
from tests.builders.reports import incoming
from tests.builders.stores import NOON, received, result_object

OURS = {"PatientID": "P1", "StudyDate": "20260101"}


@pytest.fixture(scope="module")
def cluster() -> Iterator[PostgresCluster]:
    with postgres_cluster() as running:
        yield running


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.peers)])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    url = f"sqlite:///{tmp_path / 'node.sqlite'}"
    if request.param == "postgresql":
        running: PostgresCluster = request.getfixturevalue("cluster")
        url = running.new_database()
    with Store(url) as opened:
        opened.migrate()
        yield opened


def put(store: Store, study: str, *, number: int = 1, **said: str) -> None:
    store.record_instance(
        received(
            number,
            study_instance_uid=study,
            sop_instance_uid=f"{study}.{number}",
            study={**OURS, **said},
        )
    )


def open_version(store: Store, study: str = "1.2.3") -> VersionKey:
    key = store.open_version(
        store.study_id(study), now=NOON, version_of=content_version
    )
    assert key is not None
    return key


def start(
    store: Store, key: VersionKey, *, run: int = 1, counts_preliminary: bool = True
) -> Work:
    work = store.work.start_version(
        key.version_id,
        run=run,
        fingerprint="f",
        data_dir=Path("/data"),
        now=NOON,
        counts_preliminary=counts_preliminary,
    )
    assert work is not None
    return work


def test_the_last_three_earlier_studies_of_the_patient_are_its_priors(
    store: Store,
) -> None:
    put(store, "1.2.3", IssuerOfPatientID="HERE")
    for year in (2019, 2020, 2021, 2022):
        put(store, f"1.9.{year}", StudyDate=f"{year}0101")
    put(store, "1.9.1", StudyDate="20230101", PatientID="P2")
    put(store, "1.9.2", StudyDate="20230101", IssuerOfPatientID="ELSEWHERE")
    put(store, "1.9.3", StudyDate="20260101")

    work = start(store, open_version(store))

    assert [one.study_date for one in work.ready.priors] == [
        "20220101",
        "20210101",
        "20200101",
    ]
    (instance,) = work.ready.priors[0].instances
    assert instance.sop_instance_uid == "1.9.2022.1"


def test_the_priors_of_a_version_are_chosen_once(store: Store) -> None:
    put(store, "1.2.3")
    put(store, "1.9.1", StudyDate="20230101")
    key = open_version(store)
    first = start(store, key)
    put(store, "1.9.1", number=2, StudyDate="20230101")
    put(store, "1.9.2", StudyDate="20240101")

    assert start(store, key).ready.priors == first.ready.priors


def test_of_a_prior_only_the_reports_that_count_are_read(store: Store) -> None:
    put(store, "1.2.3")
    put(store, "1.9.1", StudyDate="20230101")
    for text, status, order in (
        ("final", ReportStatus.FINAL, "one"),
        ("late", ReportStatus.PRELIMINARY, "one"),
        ("early", ReportStatus.PRELIMINARY, "two"),
    ):
        store.reports.record(
            incoming(text, status, identifier=order, study_instance_uid="1.9.1")
        )
    work = start(store, open_version(store), counts_preliminary=False)
    put(store, "1.2.3", number=2)
    again = start(store, open_version(store), counts_preliminary=True)

    assert [one.text for one in work.ready.priors[0].reports] == ["final"]
    assert [one.text for one in again.ready.priors[0].reports] == ["final", "early"]


def test_a_study_without_patient_or_date_has_no_priors(store: Store) -> None:
    put(store, "1.2.3", PatientID="")
    put(store, "1.9.1", StudyDate="20230101", PatientID="")

    assert start(store, open_version(store)).ready.priors == ()


def test_what_is_fetched_to_compare_with_is_not_collected(store: Store) -> None:
    assert store.retrievals.expect_prior("1.9.1", now=NOON)
    with store.retrievals.fetching("1.9.1"):
        put(store, "1.9.1", StudyDate="20230101")

    assert store.collecting_studies() == ()
    store.requeue_study("1.9.1", destinations={})
    (study,) = store.collecting_studies()
    assert study.is_collecting
    assert study.is_forced
    assert not store.retrievals.expect_prior("1.9.1", now=NOON)


def test_a_study_of_which_only_our_results_came_can_be_a_prior(store: Store) -> None:
    store.record_instance(received(1, study_instance_uid="1.9.1", is_own_result=True))

    assert store.retrievals.expect_prior("1.9.1", now=NOON)
    with store.retrievals.fetching("1.9.1"):
        put(store, "1.9.1", number=2, StudyDate="20230101")
    assert store.collecting_studies() == ()


def test_an_archive_is_asked_once_for_each_run_of_a_version(store: Store) -> None:
    put(store, "1.2.3")
    key = open_version(store)
    answer = Retrieval("pacs", 2, 1, ("1.2.3.9",), "1 of 2 instances did not come")
    assert store.retrievals.is_waiting(key, ["pacs"])

    store.retrievals.record(key, answer, now=NOON)
    store.retrievals.record(key, answer, now=NOON)

    assert not store.retrievals.is_waiting(key, ["pacs"])
    assert store.retrievals.is_waiting(key, ["pacs", "other"])
    assert store.retrievals.is_waiting(replace(key, run=2), ["pacs"])
    assert store.retrievals.of_study("1.2.3") == (answer,)
    assert store.retrievals.missing("1.2.3", archive="pacs") == {"1.2.3.9"}
    assert store.retrievals.missing("1.2.3", archive="other") == frozenset()


def test_a_version_gives_way_only_to_a_newer_one(store: Store) -> None:
    put(store, "1.2.3")
    key = open_version(store)
    assert not store.retrievals.give_way(key, now=NOON)
    assert store.work.unfinished_versions() == (key,)

    put(store, "1.2.3", number=2)
    assert store.retrievals.give_way(key, now=NOON + timedelta(seconds=1))

    assert store.work.unfinished_versions() == ()
    assert open_version(store).version_id != key.version_id


def test_a_workitem_is_noted_once_and_knows_the_output_of_its_study(
    store: Store, tmp_path: Path
) -> None:
    put(store, "1.2.3")
    begun = store.workitems.begin("1.7.1", transaction_uid="2.25.1", now=NOON)
    assert begun is not None
    assert store.workitems.begin("1.7.1", transaction_uid="2.25.2", now=NOON) is None
    claimed = store.workitems.advance(
        begun, WorkitemState.CLAIMED, now=NOON, study_instance_uid="1.2.3", progress=10
    )
    assert store.workitems.open() == (claimed,)

    key = open_version(store)
    start(store, key)
    store.work.finish_version(
        key.version_id,
        run=1,
        fingerprint="f",
        objects=[result_object(tmp_path / "results" / "a")],
        result_dir=tmp_path / "results" / "a",
        data_dir=tmp_path,
        destinations={"pacs": "default"},
        now=NOON,
    )
    output = store.workitems.output("1.2.3")
    store.workitems.advance(claimed, WorkitemState.COMPLETED, now=NOON)

    assert output.state is StudyState.DONE
    assert [profile for _, profile in output.results] == ["default"]
    assert output.waiting == {"pacs"}
    assert store.workitems.output("9.9").state is None
    assert store.workitems.open() == ()
