"""What the inbox lets pass, and in which form."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import structlog

from dicom_node.errors import PatientMismatchError, ReportRefusedError
from dicom_node.inbox import MAX_TEXT_CHARACTERS, ReportInbox, ReportOutcome
from dicom_node.records import ReportStatus
from dicom_node.store import Store
from tests.builders.reports import incoming
from tests.builders.stores import NOON, received


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store(f"sqlite:///{tmp_path / 'node.sqlite'}") as opened:
        opened.migrate()
        yield opened


@pytest.fixture
def inbox(store: Store) -> ReportInbox:
    return ReportInbox(store, clock=lambda: NOON + timedelta(minutes=5))


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"text": " \n\t"}, "holds no text"),
        ({"text": "x" * (MAX_TEXT_CHARACTERS + 1)}, "more than"),
        ({"accession_number": " "}, "names neither"),
        ({"study_instance_uid": "Smith^John"}, "is no UID"),
        ({"study_instance_uid": "1" * 65}, "is no UID"),
        ({"accession_number": "9" * 65}, "accession number is longer than 64"),
        ({"patient_id": "9" * 65}, "patient id is longer than 64"),
        ({"sender": "s" * 129}, "sender is longer than 128"),
        ({"identifier": "i" * 129}, "identifier is longer than 128"),
    ],
)
def test_a_report_that_cannot_be_kept_is_refused_with_the_reason(
    store: Store, inbox: ReportInbox, changes: dict[str, Any], reason: str
) -> None:
    with pytest.raises(ReportRefusedError, match=reason) as caught:
        inbox.accept(incoming(**changes))

    for value in changes.values():
        assert not value.strip() or value not in str(caught.value)
    assert store.reports.count_waiting() == 0


def test_a_report_is_kept_in_one_form(store: Store, inbox: ReportInbox) -> None:
    inbox.accept(
        incoming("FINDINGS:\r\nAscites.\rEnd\x00\x07\ud800", accession_number=" A1 ")
    )
    store.record_instance(received(study={"AccessionNumber": "A1"}))

    (report,) = store.reports.of_study("1.2.3")
    assert report.text == "FINDINGS:\nAscites.\nEnd?"


def test_a_cancelled_report_needs_no_text(store: Store, inbox: ReportInbox) -> None:
    receipt = inbox.accept(incoming("", ReportStatus.CANCELLED))

    assert receipt.outcome is ReportOutcome.WAITING


@pytest.mark.parametrize("status", [ReportStatus.CANCELLED, ReportStatus.CORRECTED])
def test_what_changes_a_report_must_name_it(
    store: Store, inbox: ReportInbox, status: ReportStatus
) -> None:
    with pytest.raises(ReportRefusedError, match="identifier of the first"):
        inbox.accept_all([incoming("one"), incoming(status=status, identifier="")])

    assert store.reports.waiting() == ()


def test_a_study_is_quiet_from_the_arrival_and_not_from_what_the_sender_says(
    store: Store, inbox: ReportInbox
) -> None:
    store.record_instance(received(study={"AccessionNumber": "A1"}))

    inbox.accept(incoming(received_at=NOON + timedelta(days=365)))

    (study,) = store.collecting_studies()
    assert study.last_received_at == NOON + timedelta(minutes=5)


def test_logs_name_the_report_and_nobody(store: Store, inbox: ReportInbox) -> None:
    store.record_instance(
        received(study={"AccessionNumber": "SECRET-A", "PatientID": "SECRET-P"})
    )
    with structlog.testing.capture_logs() as lines:
        inbox.accept(
            incoming("SECRET text", accession_number="SECRET-A", patient_id="SECRET-P")
        )
        with pytest.raises(PatientMismatchError):
            inbox.accept(incoming(study_instance_uid="1.2.3", patient_id="SECRET-Q"))

    assert [one["event"] for one in lines] == ["report_accepted", "report_refused"]
    assert lines[0]["report"] == "hl7:1"
    assert "SECRET" not in str(lines)
