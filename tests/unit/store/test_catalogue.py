from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import event, text

from dicom_node.identity import content_version
from dicom_node.store import Store, StudyFilter
from tests.builders.stores import NOON, received, result_object

ALL = StudyFilter()


@pytest.fixture
def on_sqlite(tmp_path: Path) -> Iterator[Store]:
    with Store(f"sqlite:///{tmp_path / 'node.sqlite'}") as opened:
        opened.migrate()
        yield opened


def finish(
    store: Store, tmp_path: Path, *numbers: int, folder: str, profile: str = "ohif"
) -> None:
    """Process whatever collects, with results of these numbers."""
    (study,) = [one for one in store.collecting_studies() if one.is_collecting]
    key = store.open_version(
        study.study_id,
        now=NOON + timedelta(hours=1),
        version_of=content_version,
    )
    assert key is not None
    store.work.start_version(
        key.version_id, run=key.run, fingerprint="f", data_dir=tmp_path, now=NOON
    )
    result_dir = tmp_path / "results" / folder
    objects = [
        result_object(result_dir, number, profile=profile, content=b"%d" % number)
        for number in numbers
    ]
    objects.append(
        result_object(result_dir, 100 + numbers[0], profile="default", content=b"x")
    )
    done = store.work.finish_version(
        key.version_id,
        run=key.run,
        fingerprint="f",
        objects=objects,
        result_dir=result_dir,
        data_dir=tmp_path,
        destinations={},
        now=NOON,
    )
    assert done is not None


def shown(store: Store) -> set[str]:
    """Return the UIDs that study 1.2.3 shows."""
    (study,) = store.catalogue.studies(StudyFilter(study_instance_uids=("1.2.3",)))
    return {
        one.sop_instance_uid
        for one in store.catalogue.instances(study.study_id, profile="ohif")
    }


def test_a_study_shows_its_instances_and_the_results_of_one_profile(
    store: Store, tmp_path: Path
) -> None:
    store.record_instance(received(1))
    store.record_instance(received(2))
    finish(store, tmp_path, 1, 2, folder="first")

    assert shown(store) == {"1.2.3.4.1", "1.2.3.4.2", "2.25.1", "2.25.2"}


def test_results_of_an_older_version_are_not_shown(
    store: Store, tmp_path: Path
) -> None:
    store.record_instance(received(1))
    finish(store, tmp_path, 1, folder="first")
    store.record_instance(received(2))
    assert "2.25.1" in shown(store)  # until the new version has results

    finish(store, tmp_path, 2, folder="second")

    assert shown(store) == {"1.2.3.4.1", "1.2.3.4.2", "2.25.2"}


def test_a_result_that_a_newer_version_made_again_is_shown_once(
    store: Store, tmp_path: Path
) -> None:
    store.record_instance(received(1))
    finish(store, tmp_path, 1, folder="first")
    store.record_instance(received(2))
    finish(store, tmp_path, 1, 3, folder="second")

    assert shown(store) == {"1.2.3.4.1", "1.2.3.4.2", "2.25.1", "2.25.3"}


def test_a_result_that_came_back_from_an_archive_is_shown_once(
    store: Store, tmp_path: Path
) -> None:
    store.record_instance(received(1))
    finish(store, tmp_path, 1, folder="first")
    for number in (1, 101):  # of this profile, and of another
        store.record_instance(
            received(number, sop_instance_uid=f"2.25.{number}", is_own_result=True)
        )

    (study,) = store.catalogue.studies(ALL)
    instances = store.catalogue.instances(study.study_id, profile="ohif")

    assert [(one.sop_instance_uid, one.is_result) for one in instances] == [
        ("1.2.3.4.1", False),
        ("2.25.1", True),
    ]
    series = store.catalogue.series([study.study_id], profile="ohif")
    assert sum(one.instance_count for one in series[study.study_id]) == 2


def test_a_result_of_another_node_is_a_document_like_any_other(store: Store) -> None:
    store.record_instance(received(1, sop_instance_uid="1.9", is_own_result=True))

    assert shown(store) == {"1.9"}


def test_a_copy_with_other_bytes_is_not_shown(store: Store) -> None:
    store.record_instance(received(1))
    store.record_instance(received(1, sha256="ff" * 32, path=Path("other.dcm")))

    (study,) = store.catalogue.studies(ALL)
    (one,) = store.catalogue.instances(study.study_id, profile="ohif")

    assert one.path == received(1).path
    series = store.catalogue.series([study.study_id], profile="ohif")
    assert [one.instance_count for one in series[study.study_id]] == [1]


def fill(store: Store) -> None:
    for number in range(1, 8):
        store.record_instance(
            received(
                number,
                study_instance_uid=f"1.2.{number}",
                series_instance_uid=f"1.2.{number}.1",
                study={
                    "PatientID": f"P{number % 2}",
                    "AccessionNumber": f"A{number}",
                    "StudyDate": f"2026010{number}",
                },
                series={"Modality": "MR" if number > 5 else "CT"},
            )
        )


@pytest.mark.parametrize(
    ("where", "expected"),
    [
        (StudyFilter(), "7654321"),
        (StudyFilter(study_instance_uids=("1.2.2", "1.2.5", "9")), "52"),
        (StudyFilter(series_instance_uids=("1.2.3.1",)), "3"),
        (StudyFilter(sop_instance_uids=("1.2.3.4.6",)), "6"),
        (StudyFilter(accession_number="A4"), "4"),
        (StudyFilter(patient_id="P0"), "642"),
        (StudyFilter(study_date_from="20260103", study_date_to="20260105"), "543"),
        (StudyFilter(modalities=("MR",)), "76"),
    ],
)
def test_studies_are_found_newest_first(
    store: Store, where: StudyFilter, expected: str
) -> None:
    fill(store)

    found = store.catalogue.studies(where)

    assert "".join(one.study_instance_uid[-1] for one in found) == expected


def test_pages_follow_each_other(store: Store) -> None:
    fill(store)

    first = store.catalogue.studies(ALL, limit=3)
    second = store.catalogue.studies(ALL, limit=3, before_id=first[-1].study_id)

    assert [one.study_instance_uid[-1] for one in first + second] == list("765432")


def test_no_query_reads_every_instance(on_sqlite: Store) -> None:
    store = on_sqlite
    fill(store)
    statements: list[tuple[str, Any]] = []
    engine = store.catalogue._database.engine
    listen = (engine, "before_cursor_execute")

    def note(_c: Any, _u: Any, statement: str, parameters: Any, *_: Any) -> None:
        statements.append((statement, parameters))

    event.listen(*listen, note)
    for where in (
        ALL,
        StudyFilter(study_instance_uids=("1.2.2",)),
        StudyFilter(series_instance_uids=("1.2.3.1",)),
        StudyFilter(sop_instance_uids=("1.2.3.4.6",)),
        StudyFilter(accession_number="A4"),
        StudyFilter(patient_id="P0"),
        StudyFilter(modalities=("MR",), study_date_from="20260101"),
    ):
        store.catalogue.studies(where)
    store.catalogue.series([1, 2], profile="ohif")
    store.catalogue.instances(1, profile="ohif", series_instance_uid="1.2.1.1")
    store.catalogue.instances(1, profile="ohif", sop_instance_uid="1.2.3.4.1")
    event.remove(*listen, note)

    plans = []
    with engine.connect() as connection:
        for statement, parameters in statements:
            if statement.startswith("SELECT"):
                rows = connection.exec_driver_sql(
                    f"EXPLAIN QUERY PLAN {statement}", parameters
                )
                plans.append([row[3] for row in rows])
        assert connection.scalar(text("SELECT count(*) FROM instances")) == 7

    steps = [step for plan in plans for step in plan]
    assert len(plans) >= 10
    assert not [one for one in steps if re.match(r"SCAN (instances|series)\b", one)]
    for index in (
        "sqlite_autoindex_studies_1",
        "ix_studies_accession_number",
        "ix_studies_patient_id_study_date",
        "ix_instances_study_id_id",
        "ix_series_series_instance_uid",
        "sqlite_autoindex_instances_1",
        "ix_results_version_id",
        "sqlite_autoindex_versions_1",
    ):
        assert any(index in one for one in steps), (index, steps)
