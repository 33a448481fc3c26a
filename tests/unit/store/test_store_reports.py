"""Reports in the store: joined whichever comes first, replaced, counted in versions."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from dicom_node.audit import EventKind
from dicom_node.errors import PatientMismatchError, ReportError
from dicom_node.identity import content_version
from dicom_node.records import ReceivedInstance, ReportChannel, ReportStatus
from dicom_node.store import ReportOutcome, Store, StudyState, VersionKey, Work
from dicom_node.store.database import Database
from dicom_node.store.schema import events
from tests.builders.reports import incoming
from tests.builders.stores import NOON, received, result_object

FINAL, CORRECTED = ReportStatus.FINAL, ReportStatus.CORRECTED
PRELIMINARY, CANCELLED = ReportStatus.PRELIMINARY, ReportStatus.CANCELLED


def image(
    number: int = 1, *, patient: str = "P", order: str = "A1", **more: Any
) -> Any:
    said = {"PatientID": patient, "AccessionNumber": order}
    study = {key: value for key, value in said.items() if value}
    return received(number, study=study, **more)


def other_image(
    *, patient: str = "P", order: str = "A1", number: int = 90
) -> ReceivedInstance:
    return image(number, patient=patient, study_instance_uid="1.9")


def state_of(store: Store, uid: str = "1.2.3") -> str:
    (found,) = [
        one for one in store.snapshot().studies if one.study_instance_uid == uid
    ]
    return found.state


def texts(store: Store, uid: str = "1.2.3") -> list[str]:
    return [one.text for one in store.reports.of_study(uid) if one.is_current]


def open_version(store: Store, **options: Any) -> VersionKey | None:
    (study,) = [one for one in store.collecting_studies() if one.is_collecting]
    return store.open_version(
        study.study_id, now=NOON, version_of=content_version, **options
    )


def start(store: Store, key: VersionKey | None) -> Work:
    assert key is not None
    work = store.work.start_version(
        key.version_id,
        run=key.run,
        fingerprint="model-1",
        data_dir=Path("/data"),
        now=NOON,
    )
    assert work is not None
    return work


def process(store: Store, folder: Path, *, number: int) -> Work:
    """Open, start and finish a version with one result."""
    work = start(store, open_version(store))
    store.work.finish_version(
        work.key.version_id,
        run=work.key.run,
        fingerprint="model-1",
        objects=[result_object(folder / f"run-{number}", number)],
        result_dir=folder / f"run-{number}",
        data_dir=folder,
        destinations={},
        now=NOON,
    )
    return work


def kinds(url: str, kind: EventKind) -> list[dict[str, Any]]:
    database = Database(url)
    with database.read() as connection:
        found = [
            {"subject": row.subject, **row.detail}
            for row in connection.execute(
                select(events).where(events.c.kind == kind).order_by(events.c.id)
            )
        ]
    database.close()
    return found


@pytest.mark.parametrize(
    "names",
    [
        {"study_instance_uid": "1.2.3"},
        {"accession_number": "A1"},
        {"accession_number": "A1", "patient_id": "P"},
        {"study_instance_uid": "1.2.3", "accession_number": "another"},
    ],
)
@pytest.mark.parametrize("report_is_first", [True, False])
def test_a_report_meets_its_study_whichever_comes_first(
    store: Store, names: dict[str, str], *, report_is_first: bool
) -> None:
    if report_is_first:
        receipt = store.reports.record(incoming(**names))
        assert receipt.outcome is ReportOutcome.WAITING
        assert receipt.study_instance_uid is None
        assert [one.report_id for one in store.reports.waiting()] == [receipt.report_id]
        store.record_instance(image())
    else:
        store.record_instance(image())
        receipt = store.reports.record(incoming(**names))
        assert receipt.outcome is ReportOutcome.JOINED
        assert receipt.study_instance_uid == "1.2.3"

    assert texts(store) == ["FINDINGS: Hepatomegaly."]
    assert store.reports.waiting() == ()
    assert store.reports.count_waiting() == 0


def test_a_report_waits_until_an_image_says_the_accession_number(store: Store) -> None:
    store.record_instance(image(1, order=""))
    assert store.reports.record(incoming()).outcome is ReportOutcome.WAITING

    store.record_instance(image(2, order=""))
    assert texts(store) == []

    store.record_instance(image(3))
    assert texts(store) == ["FINDINGS: Hepatomegaly."]


def test_a_report_that_names_a_study_joins_no_other_of_its_order(store: Store) -> None:
    store.record_instance(image())

    receipt = store.reports.record(
        incoming(study_instance_uid="1.9", accession_number="A1")
    )

    assert receipt.outcome is ReportOutcome.WAITING
    assert texts(store) == []


def test_a_report_of_another_patient_is_refused_and_the_message_names_nobody(
    store: Store, url: str
) -> None:
    store.record_instance(image(patient="SECRET-1"))

    with pytest.raises(PatientMismatchError) as caught:
        store.reports.record(
            incoming(patient_id="SECRET-2", study_instance_uid="1.2.3")
        )

    assert "SECRET" not in str(caught.value)
    assert store.reports.of_study("1.2.3") == store.reports.waiting() == ()
    (event,) = kinds(url, EventKind.REPORT_HELD_BACK)
    assert "SECRET" not in str(event)


def test_an_accession_number_of_another_issuer_lets_a_report_wait(
    store: Store, url: str
) -> None:
    store.record_instance(image(patient="P"))

    receipt = store.reports.record(incoming(patient_id="Q"))

    assert receipt.outcome is ReportOutcome.WAITING
    (event,) = kinds(url, EventKind.REPORT_HELD_BACK)
    assert event["reason"] == "the report and the study are of different patients"
    store.record_instance(other_image(patient="Q"))
    assert texts(store) == []
    assert texts(store, "1.9") == ["FINDINGS: Hepatomegaly."]


def test_the_reports_of_a_message_are_kept_all_or_none(store: Store) -> None:
    store.record_instance(image(patient="P"))
    good = incoming("good", patient_id="P")
    bad = incoming("bad", patient_id="Q", study_instance_uid="1.2.3")

    with pytest.raises(PatientMismatchError):
        store.reports.record_all([good, bad])

    assert store.reports.of_study("1.2.3") == store.reports.waiting() == ()
    receipts = store.reports.record_all([good, incoming("b", accession_number="B")])
    assert [one.outcome for one in receipts] == [
        ReportOutcome.JOINED,
        ReportOutcome.WAITING,
    ]


def test_any_identifier_of_the_patient_may_be_that_of_the_study(store: Store) -> None:
    store.record_instance(image(patient="P"))

    receipt = store.reports.record(
        incoming(
            patient_id="insurance",
            other_patient_ids=("P",),
            study_instance_uid="1.2.3",
        )
    )

    assert receipt.outcome is ReportOutcome.JOINED


def test_a_report_leaves_its_study_when_another_patients_has_its_number_too(
    store: Store, url: str
) -> None:
    store.record_instance(image(patient="P"))
    assert store.reports.record(incoming()).outcome is ReportOutcome.JOINED
    assert start(store, open_version(store)).ready.reports != ()

    store.record_instance(other_image(patient="Q"))

    assert texts(store) == texts(store, "1.9") == []
    assert store.reports.count_waiting() == 1
    assert state_of(store) == StudyState.COLLECTING
    (event,) = kinds(url, EventKind.REPORT_HELD_BACK)
    assert "several studies" in event["reason"]


def test_copies_that_wait_again_are_one_report(store: Store) -> None:
    store.record_instance(image(1, patient="P"))
    store.record_instance(other_image(patient="P"))
    store.reports.record(incoming())

    store.record_instance(
        received(
            9,
            study_instance_uid="1.7",
            study={"AccessionNumber": "A1", "PatientID": "Q"},
        )
    )

    assert texts(store) == texts(store, "1.9") == texts(store, "1.7") == []
    assert store.reports.count_waiting() == 1


def test_a_report_without_an_identifier_replaces_nothing(store: Store) -> None:
    store.record_instance(image())
    first = store.reports.record(incoming("chest", identifier=""))

    store.reports.record(incoming("liver", identifier=""))
    again = store.reports.record(incoming("chest", identifier=""))

    assert texts(store) == ["chest", "liver"]
    assert again.outcome is ReportOutcome.DUPLICATE
    assert again.report_id == first.report_id


def test_a_repeated_report_is_kept_at_most_once_more_while_another_waits(
    store: Store,
) -> None:
    store.record_instance(image())
    store.reports.record(incoming("x", study_instance_uid="1.2.3"))
    store.reports.record(incoming("y", study_instance_uid="1.9"))

    for _ in range(3):
        receipt = store.reports.record(incoming("x", study_instance_uid="1.2.3"))

    assert receipt.outcome is ReportOutcome.DUPLICATE
    assert len(store.reports.of_study("1.2.3")) == 2
    assert texts(store) == ["x"]


def test_a_report_is_found_by_its_number(store: Store) -> None:
    receipt = store.reports.record(incoming())

    found = store.reports.get(receipt.report_id)

    assert found is not None
    assert (found.text, found.identifier, found.accession_number) == (
        "FINDINGS: Hepatomegaly.",
        "filler-1",
        "A1",
    )
    assert store.reports.get(99) is None


def test_a_waiting_report_stays_waiting_when_another_patients_study_comes(
    store: Store, url: str
) -> None:
    receipt = store.reports.record(incoming(patient_id="Q"))

    store.record_instance(image(patient="P"))

    assert texts(store) == []
    assert [one.report_id for one in store.reports.waiting()] == [receipt.report_id]
    (event,) = kinds(url, EventKind.REPORT_HELD_BACK)
    assert event["subject"] == f"hl7:{receipt.report_id}"
    assert event["reason"] == "the report and the study are of different patients"


def test_a_report_waits_again_when_its_study_turns_out_to_be_anothers(
    store: Store, url: str
) -> None:
    store.record_instance(image(1, patient=""))
    store.reports.record(incoming(patient_id="Q"))
    assert texts(store) == ["FINDINGS: Hepatomegaly."]
    assert start(store, open_version(store)).ready.reports != ()

    store.record_instance(image(2, patient="P"))

    assert texts(store) == []
    assert store.reports.count_waiting() == 1
    assert start(store, open_version(store)).ready.reports == ()
    assert len(kinds(url, EventKind.REPORT_HELD_BACK)) == 1


def test_a_report_belongs_to_every_study_of_its_order(store: Store) -> None:
    store.record_instance(image())
    store.record_instance(other_image())

    store.reports.record(incoming("first"))
    store.reports.record(incoming("second", CORRECTED))

    assert texts(store) == texts(store, "1.9") == ["second"]


def test_a_later_study_of_the_order_gets_its_report_too(store: Store) -> None:
    store.record_instance(image())
    store.reports.record(incoming())

    store.record_instance(other_image())

    assert texts(store, "1.9") == texts(store) == ["FINDINGS: Hepatomegaly."]


@pytest.mark.parametrize("report_is_first", [True, False])
def test_of_two_patients_with_one_accession_number_the_reports_patient_gets_it(
    store: Store, *, report_is_first: bool
) -> None:
    report = incoming(patient_id="Q")
    if report_is_first:
        store.reports.record(report)
    store.record_instance(image(patient="P"))
    store.record_instance(other_image(patient="Q"))
    if not report_is_first:
        store.reports.record(report)

    assert texts(store) == []
    assert texts(store, "1.9") == ["FINDINGS: Hepatomegaly."]


def test_nothing_is_guessed_between_two_patients(store: Store, url: str) -> None:
    store.record_instance(image(patient="P"))
    store.record_instance(other_image(patient="Q"))

    receipt = store.reports.record(incoming())

    assert receipt.outcome is ReportOutcome.WAITING
    assert texts(store) == texts(store, "1.9") == []
    (event,) = kinds(url, EventKind.REPORT_HELD_BACK)
    assert "several studies" in event["reason"]


def test_a_doubt_ends_when_the_studies_say_whose_they_are(store: Store) -> None:
    store.record_instance(image(1, patient=""))
    store.record_instance(other_image(patient="P"))
    assert store.reports.record(incoming()).outcome is ReportOutcome.WAITING

    store.record_instance(image(2, patient="P"))

    assert texts(store) == texts(store, "1.9") == ["FINDINGS: Hepatomegaly."]
    assert store.reports.count_waiting() == 0


def test_the_same_report_again_changes_nothing(store: Store) -> None:
    store.record_instance(image())
    first = store.reports.record(incoming())
    open_version(store)

    again = store.reports.record(incoming(received_at=NOON + timedelta(hours=1)))

    assert again.outcome is ReportOutcome.DUPLICATE
    assert again.report_id == first.report_id
    assert len(store.reports.of_study("1.2.3")) == 1
    assert state_of(store) == StudyState.READY


def test_the_same_waiting_report_again_changes_nothing(store: Store) -> None:
    first = store.reports.record(incoming())

    again = store.reports.record(incoming())

    assert again.outcome is ReportOutcome.DUPLICATE
    assert again.report_id == first.report_id
    assert store.reports.count_waiting() == 1


def test_a_corrected_report_replaces_the_one_before(store: Store) -> None:
    store.record_instance(image())
    first = store.reports.record(incoming("first"))

    second = store.reports.record(incoming("second", CORRECTED))

    old, new = store.reports.of_study("1.2.3")
    assert (old.report_id, old.is_current) == (first.report_id, False)
    assert (new.report_id, new.is_current) == (second.report_id, True)
    assert new.predecessor_id == first.report_id


def test_a_correction_while_it_waits_replaces_too(store: Store) -> None:
    store.reports.record(incoming("first"))
    store.reports.record(incoming("second", CORRECTED))

    store.record_instance(image())

    assert [one.text for one in store.reports.of_study("1.2.3")] == ["first", "second"]
    assert texts(store) == ["second"]


def test_a_correction_by_accession_number_replaces_a_report_by_uid(
    store: Store,
) -> None:
    store.reports.record(incoming("first", study_instance_uid="1.2.3"))
    store.reports.record(incoming("second", CORRECTED))

    store.record_instance(image())

    assert texts(store) == ["second"]


@pytest.mark.parametrize(
    "other", [{"identifier": "filler-2"}, {"sender": "other"}, {"channel": "rest"}]
)
def test_another_report_of_the_study_replaces_nothing(
    store: Store, other: dict[str, str]
) -> None:
    store.record_instance(image())
    store.reports.record(incoming("first"))

    changes: dict[str, Any] = dict(other)
    if "channel" in changes:
        changes["channel"] = ReportChannel(changes["channel"])
    store.reports.record(incoming("second", **changes))

    assert texts(store) == ["first", "second"]


@pytest.mark.parametrize("before", [FINAL, CORRECTED, CANCELLED])
def test_a_late_preliminary_report_never_replaces_a_final_one(
    store: Store, before: ReportStatus
) -> None:
    store.record_instance(image())
    store.reports.record(incoming("final", before))
    open_version(store)

    for _ in range(2):
        store.reports.record(incoming("early", PRELIMINARY))

    late = [one for one in store.reports.of_study("1.2.3") if one.text == "early"]
    assert [(one.is_current, one.predecessor_id) for one in late] == [(False, None)]
    assert texts(store) == ["final"]
    assert open_version(store) is None
    assert state_of(store) == StudyState.READY


def test_a_version_counts_the_reports_of_its_moment(store: Store) -> None:
    store.record_instance(image())
    first = store.reports.record(incoming("first", PRELIMINARY))
    key = open_version(store)
    second = store.reports.record(incoming("second"))

    work = start(store, key)
    (report,) = work.ready.reports
    assert (report.text, report.source) == ("first", f"hl7:{first.report_id}")
    assert report.status is PRELIMINARY
    name = report.lasting_name

    later = start(store, open_version(store))
    (report,) = later.ready.reports
    assert (report.text, report.source) == ("second", f"hl7:{second.report_id}")
    assert name is not None
    assert report.lasting_name == name
    assert start(store, work.key).ready == work.ready


def test_a_new_report_makes_a_version_that_names_the_old_results(
    store: Store, tmp_path: Path
) -> None:
    store.record_instance(image())
    store.reports.record(incoming("first"))
    first = process(store, tmp_path, number=1)
    assert state_of(store) == StudyState.DONE

    store.reports.record(incoming("second", CORRECTED), now=NOON + timedelta(hours=1))
    assert state_of(store) == StudyState.COLLECTING
    (study,) = store.collecting_studies()
    assert study.last_received_at == NOON + timedelta(hours=1)
    second = process(store, tmp_path, number=2)

    assert first.predecessors == ()
    assert [one.sop_instance_uid for one in second.predecessors] == ["2.25.1"]
    assert second.ready.predecessor_version == first.key.content_version


def test_going_back_to_an_earlier_report_is_a_third_version(store: Store) -> None:
    store.record_instance(image())
    found = []
    for text in ("A", "B", "A"):
        store.reports.record(incoming(text, CORRECTED))
        found.append(start(store, open_version(store)))

    assert len({one.key.content_version for one in found}) == 3
    assert [one.ready.reports[0].text for one in found] == ["A", "B", "A"]


def test_a_cancelled_report_leaves_a_version_without_it(
    store: Store, tmp_path: Path
) -> None:
    store.record_instance(image())
    bare = process(store, tmp_path, number=1)
    store.reports.record(incoming())
    process(store, tmp_path, number=2)

    store.reports.record(incoming("", CANCELLED))
    after = process(store, tmp_path, number=3)

    assert after.ready.reports == ()
    assert after.key.content_version != bare.key.content_version
    assert [one.sop_instance_uid for one in after.predecessors] == ["2.25.2"]


def test_a_report_that_is_withdrawn_before_it_counted_makes_no_version(
    store: Store, tmp_path: Path
) -> None:
    store.record_instance(image())
    process(store, tmp_path, number=1)
    store.reports.record(incoming())
    store.reports.record(incoming("", CANCELLED))

    assert open_version(store) is None
    assert state_of(store) == StudyState.DONE
    assert store.collecting_studies() == ()


def test_preliminary_reports_are_kept_and_count_only_where_the_settings_say_so(
    store: Store, tmp_path: Path
) -> None:
    store.record_instance(image())
    process(store, tmp_path, number=1)

    store.reports.record(incoming("early", PRELIMINARY))
    assert open_version(store, counts_preliminary=False) is None
    assert state_of(store) == StudyState.DONE
    assert texts(store) == ["early"]

    store.reports.record(incoming("final"))
    work = start(store, open_version(store, counts_preliminary=False))
    assert [one.text for one in work.ready.reports] == ["final"]


def test_a_study_of_our_own_results_stays_idle_and_its_report_waits(
    store: Store,
) -> None:
    store.record_instance(image(is_own_result=True))

    receipt = store.reports.record(incoming())

    assert receipt.outcome is ReportOutcome.WAITING
    assert state_of(store) == StudyState.IDLE
    assert store.reports.count_waiting() == 1
    assert store.collecting_studies() == ()

    store.record_instance(image(2))
    assert store.reports.count_waiting() == 0
    assert len(start(store, open_version(store)).ready.reports) == 1


def test_who_has_a_report_is_told_for_sent_ones_and_documents(store: Store) -> None:
    document = "1.2.840.10008.5.1.4.1.1.88.11"
    store.record_instance(image())
    store.record_instance(
        image(5, study_instance_uid="1.5", sop_class_uid=document, order="A5")
    )
    store.record_instance(image(6, study_instance_uid="1.6", order="A6"))
    store.reports.record(incoming("early", PRELIMINARY))
    by_uid = {one: store.study_id(one) for one in ("1.2.3", "1.5", "1.6")}

    def found(*, preliminary: bool) -> set[int]:
        return store.reports.studies_with_report(
            by_uid.values(),
            document_classes=[document],
            counts_preliminary=preliminary,
        )

    assert found(preliminary=True) == {by_uid["1.2.3"], by_uid["1.5"]}
    assert found(preliminary=False) == {by_uid["1.5"]}


def test_a_kept_report_shows_no_text_in_its_repr(store: Store) -> None:
    store.reports.record(incoming("SECRET words"))

    assert "SECRET" not in repr(store.reports.waiting())


def test_a_failure_on_the_way_leaves_no_half_of_a_report(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise RuntimeError

    store.record_instance(image())
    open_version(store)
    monkeypatch.setattr("dicom_node.store.report_keeping.collect_again", fail)
    with pytest.raises(RuntimeError):
        store.reports.record(incoming())

    assert store.reports.of_study("1.2.3") == store.reports.waiting() == ()
    assert state_of(store) == StudyState.READY

    monkeypatch.undo()
    assert store.reports.record(incoming()).outcome is ReportOutcome.JOINED


def test_a_forgotten_report_meets_no_study_and_its_text_is_gone(
    store: Store, url: str
) -> None:
    kept = store.reports.record(incoming(accession_number="A1"))
    other = store.reports.record(
        incoming("FINDINGS: Ascites.", accession_number="A2", identifier="filler-2")
    )

    store.reports.forget_waiting(kept.report_id, by="ann", now=NOON)
    store.record_instance(image())

    assert texts(store) == []
    gone = store.reports.get(kept.report_id)
    assert gone is not None
    assert gone.text == ""
    assert [one.report_id for one in store.reports.waiting()] == [other.report_id]
    assert kinds(url, EventKind.REPORT_FORGOTTEN) == [
        {
            "subject": f"hl7:{kept.report_id}",
            "report": kept.report_id,
            "person": "ann",
        }
    ]


def test_a_report_that_its_study_has_cannot_be_forgotten(store: Store) -> None:
    store.record_instance(image())
    kept = store.reports.record(incoming(accession_number="A1"))

    with pytest.raises(ReportError):
        store.reports.forget_waiting(kept.report_id, by="ann")

    assert texts(store) == ["FINDINGS: Hepatomegaly."]
