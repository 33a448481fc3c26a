from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from pydicom.uid import Comprehensive3DSRStorage

from dicom_node.config import NodeSettings
from dicom_node.identity import content_version
from dicom_node.receive import InstanceReceiver
from dicom_node.retrieve import ArchiveRetriever
from dicom_node.spool import Spool
from dicom_node.store import RecordedDecision, Store, VersionKey
from tests.builders.qr_archive import QrArchive, instance
from tests.builders.stores import NOON, received, result_object


class Clock:
    """A monotonic clock that a test sets."""

    now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store(f"sqlite:///{tmp_path / 'node.sqlite'}") as opened:
        opened.migrate()
        yield opened


def open_version(store: Store, study: str) -> VersionKey:
    store.record_instance(
        received(
            study_instance_uid=study,
            sop_instance_uid=f"{study}.1.1",
            study={"PatientID": "ZZCANARY-ID", "StudyDate": "20260101"},
            series={"Modality": "CT"},
        )
    )
    key = store.open_version(
        store.study_id(study), now=NOON, version_of=content_version
    )
    assert key is not None
    return key


def make_retriever(
    store: Store, folder: Path, *archives: QrArchive, clock: Clock
) -> tuple[ArchiveRetriever, list[str]]:
    told: list[str] = []
    settings = NodeSettings.model_validate(
        {"archives": [one.settings.model_dump() for one in archives]}
    )
    retriever = ArchiveRetriever(
        settings,
        store,
        receiver=InstanceReceiver(Spool(folder, min_free_bytes=0), store),
        hold=told.append,
        release=lambda: told.append("released"),
        clock=lambda: NOON,
        monotonic=clock,
    )
    return retriever, told


def test_an_archive_that_is_away_is_not_asked_again_for_a_minute(
    store: Store, tmp_path: Path
) -> None:
    clock = Clock()
    retriever, told = make_retriever(store, tmp_path, QrArchive(), clock=clock)
    reasons = []
    for study, now_s in (("1.1", 0.0), ("1.2", 59.0), ("1.3", 61.0)):
        clock.now_s = now_s
        assert retriever.complete(open_version(store, study)) == 0
        (retrieval,) = store.retrievals.of_study(study)
        reasons.append(retrieval.reason)

    away = "it cannot be reached"
    assert reasons == [away, "it did not answer a moment ago and was not asked", away]
    assert told == ["1.1", "released", "1.2", "released", "1.3", "released"]


def test_our_own_results_in_an_archive_are_not_asked_for(
    store: Store, tmp_path: Path
) -> None:
    key = open_version(store, "1.2.3")
    store.work.start_version(
        key.version_id, run=1, fingerprint="f", data_dir=tmp_path, now=NOON
    )
    made = result_object(tmp_path / "results" / "a")
    store.work.finish_version(
        key.version_id,
        run=1,
        fingerprint="f",
        objects=[made],
        result_dir=tmp_path / "results" / "a",
        data_dir=tmp_path,
        destinations={},
        now=NOON,
    )
    ours = instance(
        series=9,
        sop_class=Comprehensive3DSRStorage,
        Modality="SR",
        SOPInstanceUID=made.reference.sop_instance_uid,
    )
    with QrArchive([instance(), ours]) as archive:
        retriever, _ = make_retriever(store, tmp_path, archive, clock=Clock())
        retriever.complete(key)

    assert archive.found
    assert archive.retrieved == []


def test_a_study_that_came_by_itself_is_not_completed_as_a_prior(
    store: Store, tmp_path: Path
) -> None:
    open_version(store, "1.9")
    key = open_version(store, "1.2.3")
    earlier = [instance("1.9", number, StudyDate="20250101") for number in (1, 2)]
    with QrArchive(earlier, fetch=("priors",)) as archive:
        retriever, _ = make_retriever(store, tmp_path, archive, clock=Clock())
        retriever.complete(key)

    assert archive.found
    assert archive.retrieved == []


def test_a_prior_that_comes_by_itself_is_processed_like_any(store: Store) -> None:
    store.retrievals.expect_prior("1.9", now=NOON)
    first = received(study_instance_uid="1.9", sop_instance_uid="1.9.1.1")
    later = received(study_instance_uid="1.9", sop_instance_uid="1.9.1.2")

    with store.retrievals.fetching("1.9"):
        store.record_instance(first)
        fetched = store.collecting_studies()
    store.record_instance(later)

    assert fetched == ()
    assert [one.study_instance_uid for one in store.collecting_studies()] == ["1.9"]


def test_what_a_person_asked_for_stays_asked_for_when_more_is_fetched(
    store: Store,
) -> None:
    key = open_version(store, "1.2.3")
    store.work.record_decision(
        key.version_id,
        run=key.run,
        decision=RecordedDecision(None, None, "requested"),
        is_processed=True,
        now=NOON,
    )
    store.record_instance(received(sop_instance_uid="1.2.3.1.2"))

    gives_way = store.retrievals.give_way(key, now=NOON)

    (study,) = store.collecting_studies()
    assert (gives_way, study.is_forced) == (True, True)
