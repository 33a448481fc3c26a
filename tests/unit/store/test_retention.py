"""Retention: what goes, what stays, and what comes back."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import insert, update

from dicom_node.errors import OutOfResourcesError, StoreError
from dicom_node.reconcile import reconcile
from dicom_node.records import (
    IncomingReport,
    ReportChannel,
    ReportStatus,
)
from dicom_node.store import InstanceOutcome, RequeueOutcome
from dicom_node.store.removable import StudyPart
from dicom_node.store.retention import RemovalRule
from dicom_node.store.schema import (
    commitments,
    deliveries,
    events,
    instances,
    remote_answers,
    remote_studies,
    reports,
    studies,
    versions,
    workitems,
)
from tests.builders.kept_studies import LATER, Place
from tests.builders.stores import NOON

EVERYTHING = RemovalRule("space", frozenset(StudyPart))


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    made = Place(tmp_path)
    with made.store:
        yield made


def test_a_finished_study_goes_with_its_files_its_cache_and_an_event(
    place: Place,
) -> None:
    images = place.finish_study(1, 2)
    cached = place.data_dir / "cache/metadata" / images[0].stem[:2]
    cached.mkdir(parents=True)
    (cached / f"{images[0].stem}.json.z").write_bytes(b"{}")
    retention = place.retention(images_days=7, results_days=7)

    assert retention.run() == 2

    assert not any(path.exists() for path in images)
    assert list((place.data_dir / "results").iterdir()) == []
    assert list(cached.iterdir()) == []
    told = [row.detail for row in place.rows(events) if row.kind == "study_removed"]
    assert [(one["reason"], one["instances"], one["results"]) for one in told] == [
        ("age", 2, 0),
        ("age", 0, 1),
    ]
    assert retention.run() == 0
    assert place.store.recorded_files() == ()
    assert retention.kept_bytes == 0


def test_results_stay_when_only_images_are_old(place: Place) -> None:
    images = place.finish_study(1)
    place.deliver()
    retention = place.retention(images_days=7, results_days=90)

    retention.run()

    assert not images[0].exists()
    assert len(list((place.data_dir / "results").glob("*/*"))) == 1


def test_what_is_younger_stays(place: Place) -> None:
    images = place.finish_study(1)
    place.now = NOON + timedelta(days=6)

    assert place.retention(images_days=7, results_days=7).run() == 0

    assert images[0].exists()


@pytest.mark.parametrize(
    ("settings", "pause"),
    [
        ({"images_days": 7, "results_days": 7}, timedelta(hours=1)),
        ({"images_days": 7, "results_days": 7}, -timedelta(hours=1)),  # it was set back
        ({"images_days": 0.01, "results_days": 0.01}, timedelta(seconds=36)),
    ],
)
def test_where_nothing_was_old_enough_it_is_looked_for_again_after_a_while(
    place: Place, settings: dict[str, float], pause: timedelta
) -> None:
    retention = place.retention(**settings)
    assert retention.run() == 0
    images = place.finish_study(1)

    place.now += pause * 0.9
    assert retention.run() == 0
    assert [one.rule.reason for one in retention.due(is_plan=True)] == ["age", "age"]
    place.now += pause * 0.1
    assert retention.run() == 2

    assert not images[0].exists()


def test_what_is_due_is_not_waited_for_after_a_round_that_found_some(
    place: Place,
) -> None:
    retention = place.retention(images_days=7)
    place.finish_study(1)
    assert retention.run() == 1
    place.finish_study(2, study_instance_uid="1.2.9", series_instance_uid="1.2.9.4")

    assert retention.run() == 1


def _undelivered(place: Place) -> None:
    place.set_rows(deliveries, state="pending")


def _stored(place: Place) -> None:
    place.set_rows(deliveries, state="stored")


def _dead(place: Place) -> None:
    place.set_rows(deliveries, state="dead")


def _failed(place: Place) -> None:
    place.set_rows(studies, state="failed")


def _collecting(place: Place) -> None:
    place.receive(3)


def _requested(place: Place) -> None:
    place.set_rows(studies, is_forced=True)


def _at_work(place: Place) -> None:
    place.set_rows(versions, state="processing")


def _has_workitem(place: Place) -> None:
    with place.store._database.write() as connection:
        connection.execute(
            insert(workitems).values(
                workitem_uid="1.9",
                transaction_uid="1.8",
                study_instance_uid="1.2.3",
                state="claimed",
                claimed_at=NOON,
                detail={},
            )
        )


def _has_remote(place: Place) -> None:
    (version,) = place.rows(versions)
    key = place.store.remotes.key_of("1.2.3", version.content_version)
    place.store.remotes.begin(
        key, remote="cloud", pseudonymous_study_uid="2.25.7", now=NOON
    )


def _is_asked_about(place: Place) -> None:
    place.store.commitment_requests.keep_request(
        "PACS",
        "1.7",
        references=[("1.2.840.10008.5.1.4.1.1.2", "1.2.3.4.1")],
        now=place.now,
        is_told_here=False,
    )


def _is_committed_to(place: Place) -> None:
    _is_asked_about(place)
    (request,) = place.rows(commitments)
    place.store.commitment_requests.told(request.id, now=place.now)


def _is_compared_with(place: Place) -> None:
    (study,) = place.rows(studies)
    place.receive(9, study_instance_uid="1.2.9", series_instance_uid="1.2.9.1")
    (other,) = place.store.collecting_studies()
    key = place.store.open_version(
        other.study_id, now=NOON, version_of=lambda _hashes: "other"
    )
    assert key is not None
    with place.store._database.write() as connection:
        connection.execute(
            update(versions)
            .where(versions.c.id == key.version_id)
            .values(priors=[[study.id, 2, []]])
        )


@pytest.mark.parametrize(
    "hold",
    [
        _undelivered,
        _stored,
        _dead,
        _failed,
        _collecting,
        _requested,
        _at_work,
        _has_workitem,
        _has_remote,
        _is_asked_about,
        _is_committed_to,
        _is_compared_with,
    ],
)
def test_a_study_that_is_not_done_with_stays(place: Place, hold: Any) -> None:
    images = place.finish_study(1, 2)
    hold(place)

    place.retention(images_days=7, results_days=7, max_bytes=1).run()

    assert all(path.exists() for path in images)
    assert [one for one in place.rows(events) if one.kind == "study_removed"] == []


def test_a_study_that_is_being_fetched_stays(place: Place) -> None:
    place.finish_study(1)
    (study,) = place.rows(studies)

    freed = place.store.retention.remove(
        study.id, EVERYTHING, now=LATER, is_busy=lambda uid: uid == "1.2.3"
    )

    assert freed is None


@pytest.mark.parametrize("give_up", [_failed, _dead])
def test_what_failed_goes_when_it_is_given_up(place: Place, give_up: Any) -> None:
    images = place.finish_study(1, 2)
    give_up(place)

    assert place.retention(failed_days=60).run() == 0
    assert place.retention(failed_days=7).run() == 1

    assert not any(path.exists() for path in images)


def test_the_study_that_was_finished_first_goes_when_there_is_too_much(
    place: Place,
) -> None:
    first = place.finish_study(1)
    place.receive(2, study_instance_uid="1.2.5", series_instance_uid="1.2.5.1")
    place.process(at=NOON + timedelta(hours=1))
    place.deliver()
    kept = place.store.retention.kept_bytes()
    retention = place.retention(max_bytes=kept - 1)

    planned = [one.candidate.study_instance_uid for one in retention.due(is_plan=True)]
    retention.run()

    assert planned == ["1.2.3"]
    assert not first[0].exists()
    assert len(place.store.recorded_files()) == 1


def test_the_disk_is_emptied_to_low_water_and_what_holds_it_is_told(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    place.finish_study(1)
    _undelivered(place)
    monkeypatch.setattr(
        "dicom_node.retention.shutil.disk_usage",
        lambda _folder: type("Disk", (), {"total": 100, "free": 5})(),
    )
    place.set_rows(instances, size_bytes=100)
    retention = place.retention(high_water=0.9, low_water=0.8)

    assert retention.run() == 0
    assert "1 study is not delivered to pacs" in (retention.warning() or "")

    place.set_rows(deliveries, state="delivered")
    assert retention.run() == 1


def test_nothing_goes_where_other_files_fill_the_disk(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    place.finish_study(1)
    monkeypatch.setattr(
        "dicom_node.retention.shutil.disk_usage",
        lambda _folder: type("Disk", (), {"total": 10**12, "free": 10**10})(),
    )
    retention = place.retention(high_water=0.9, low_water=0.8)

    assert retention.run() == 0
    assert "other files fill it" in (retention.warning() or "")


def test_a_round_that_freed_nothing_is_not_followed_by_another(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number, uid in ((1, "1.2.5"), (2, "1.2.6")):
        place.receive(number, study_instance_uid=uid, series_instance_uid=f"{uid}.1")
        place.process()
        place.deliver()
    place.set_rows(instances, size_bytes=100)
    monkeypatch.setattr(
        "dicom_node.retention.shutil.disk_usage",
        lambda _folder: type("Disk", (), {"total": 100, "free": 5})(),
    )
    retention = place.retention(high_water=0.9, low_water=0.8)

    assert [retention.run() for _ in range(2)] == [1, 0]


def test_what_was_finished_just_now_does_not_go_for_space(place: Place) -> None:
    place.finish_study(1, received_at=LATER)

    assert place.retention(max_bytes=1).run() == 0
    assert place.retention(max_bytes=1, space_days=0).run() == 0
    place.now = LATER + timedelta(hours=1)
    assert place.retention(max_bytes=1).run() == 1


def test_a_report_is_emptied_with_its_images_and_may_come_again(place: Place) -> None:
    report = IncomingReport(
        text="No pneumothorax.",
        channel=ReportChannel.HL7,
        status=ReportStatus.FINAL,
        identifier="r1",
        sender="RIS",
        received_at=NOON,
        study_instance_uid="1.2.3",
    )
    place.receive(1)
    place.store.reports.record(report)
    place.process()
    place.deliver()

    place.retention(images_days=7).run()
    again = place.store.reports.record(report)

    assert [one.text for one in place.rows(reports)] == ["", "No pneumothorax."]
    assert again.report_id == 2


def test_a_report_whose_study_never_came_goes_with_its_age(place: Place) -> None:
    place.store.reports.record(
        IncomingReport(
            text="Normal.",
            channel=ReportChannel.HL7,
            status=ReportStatus.FINAL,
            identifier="r1",
            sender="RIS",
            received_at=NOON,
            accession_number="A1",
        )
    )

    place.retention(images_days=7).run()
    assert [one.text for one in place.rows(reports)] == ["Normal."]
    place.retention(waiting_reports_days=7).run()

    assert [one.text for one in place.rows(reports)] == [""]
    assert place.store.reports.count_waiting() == 0


def test_an_image_that_was_sent_again_today_counts_from_today(place: Place) -> None:
    images = place.finish_study(1, 2)
    place.receive(2, received_at=LATER)

    assert place.retention(images_days=7).run() == 0

    assert all(path.exists() for path in images)


def test_a_repetition_is_acknowledged_though_its_event_is_not_written(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(*_: object, **__: object) -> None:
        raise StoreError("away", is_away=True)

    (kept, *_) = place.finish_study(1)
    monkeypatch.setattr(place.store.accesses, "note", away)

    outcome = place.store.record_instance(place.store_file(1))

    assert outcome is InstanceOutcome.DUPLICATE
    assert kept.exists()


def test_an_image_that_comes_again_is_kept_again(place: Place) -> None:
    place.finish_study(1, 2)
    place.retention(images_days=7).run()

    assert place.store.record_instance(place.store_file(1)) is InstanceOutcome.NEW

    assert len(place.store.recorded_files()) == 1
    assert [one.removed_at for one in place.rows(studies)] == [None]
    # It was processed and delivered: a part must not supersede the whole.
    (study,) = place.store.collecting_studies()
    assert (
        place.store.open_version(study.study_id, now=LATER, version_of="".join) is None
    )
    assert [one.state for one in place.rows(studies)] == ["done"]


def test_an_image_that_is_deleted_as_it_comes_again_is_refused(place: Place) -> None:
    place.finish_study(1)
    (study,) = place.rows(studies)
    place.store.retention.remove(
        study.id, EVERYTHING, now=LATER, is_busy=lambda _uid: False
    )

    again = place.store_file(1)  # its file is in place, its row not yet
    place.delete_files(study.id)

    with pytest.raises(OutOfResourcesError):
        place.store.record_instance(again)
    assert place.store.recorded_files() == ()
    place.receive(1)  # the sender tries again
    assert len(place.store.recorded_files()) == 1


def test_files_of_what_came_back_are_not_deleted(place: Place) -> None:
    images = place.finish_study(1, 2)
    (study,) = place.rows(studies)
    place.store.retention.remove(
        study.id, EVERYTHING, now=LATER, is_busy=lambda _uid: False
    )
    place.receive(1)  # between the two passes

    place.delete_files(study.id)

    assert [path.exists() for path in images] == [True, False]


def test_a_start_after_a_crash_between_the_passes_deletes_the_files(
    place: Place,
) -> None:
    images = place.finish_study(1, 2)
    (study,) = place.rows(studies)
    place.store.retention.remove(
        study.id, EVERYTHING, now=LATER, is_busy=lambda _uid: False
    )

    found = reconcile(place.store, place.spool)

    assert not any(path.exists() for path in images)
    assert (found.reindexed, found.missing, found.unreadable) == (0, 0, 0)
    assert place.store.work.named_results(["results/1"]) == set()


def test_a_start_after_a_crash_forgets_what_a_remote_had_sent(place: Place) -> None:
    place.finish_study(1)
    _has_remote(place)
    answer = place.receive(7, study_instance_uid="2.25.7")
    place.set_rows(remote_studies, state="done")
    (study,) = place.rows(studies)
    place.store.retention.remove(
        study.id, EVERYTHING, now=LATER, is_busy=lambda _uid: False
    )
    assert len(place.rows(remote_answers)) == 1

    place.retention().run()

    assert place.rows(remote_answers) == []
    assert not (place.data_dir / answer.path).exists()


def test_a_study_without_its_images_is_not_processed_again(place: Place) -> None:
    place.finish_study(1)
    place.retention(images_days=7).run()

    outcome = place.store.requeue_study("1.2.3", destinations={"pacs": "default"})

    assert outcome is RequeueOutcome.REMOVED
    assert place.store.work.unfinished_versions() == ()


def test_results_that_are_made_again_are_kept_again(place: Place) -> None:
    place.finish_study(1)
    place.retention(results_days=7).run()
    assert list((place.data_dir / "results").iterdir()) == []

    place.store.requeue_study("1.2.3", destinations={"pacs": "default"})
    place.start(1, run=2)
    place.finish(1, run=2)
    place.retention(max_bytes=1 << 40).run()

    assert len(place.store.details.results(1)) == 1
    assert len(list((place.data_dir / "results").glob("*/*"))) == 1


def test_nobody_is_shown_what_is_gone(place: Place) -> None:
    place.finish_study(1)
    place.retention(images_days=7, results_days=7).run()
    (study,) = place.rows(studies)

    assert place.store.details.paths(study.id) == {}
    assert place.store.details.results(1) == ()
    assert place.store.catalogue.instances(study.id, profile="default") == ()
    assert place.store.commitment_requests.kept_instances(["1.2.3.4.1"]) == {}
    assert place.store.known_paths([place.rows(instances)[0].path]) == set()


def test_what_was_committed_to_a_week_ago_may_go(place: Place) -> None:
    images = place.finish_study(1, 2)
    _is_committed_to(place)
    place.set_rows(commitments, answered_at=LATER - timedelta(days=8))

    place.retention(images_days=7).run()

    assert not any(path.exists() for path in images)


def test_events_stay_until_their_reader_has_passed_them(place: Place) -> None:
    place.store.trail.open_cursor("audit")
    place.finish_study(1)
    count = len(place.rows(events))
    retention = place.retention(events_days=7)

    retention.run()
    assert len(place.rows(events)) == count

    place.store.trail.move_cursor("audit", count)
    retention.run()
    assert len(place.rows(events)) == 1


def test_a_peer_that_waits_for_ever_holds_nothing_for_ever(place: Place) -> None:
    images = place.finish_study(1)
    _is_asked_about(place)
    place.set_rows(commitments, asked_at=NOON)

    place.retention(images_days=7).run()

    assert not images[0].exists()
