"""Delivered means committed: pynetdicom is the archive, on real sockets."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ComprehensiveSRStorage, ExplicitVRLittleEndian

from dicom_node.audit import Counters
from dicom_node.commands import doctor
from dicom_node.commitment import CommitmentService
from dicom_node.config import NodeSettings
from dicom_node.identity import content_version
from dicom_node.records import ObjectReference, ResultObject
from dicom_node.store import AttemptOutcome, DeliveryState, Store
from dicom_node.workflows.delivery import Delivery, DeliveryOutcome
from dicom_node.workflows.names import commitment_name, parcel_name
from tests.builders.committing_archive import (
    report_of,
    run_committing_archive,
    send_report,
)
from tests.builders.dicom_server import running_server
from tests.builders.process import free_port
from tests.builders.stores import NOON, received


@dataclass
class Sender:
    """A store with results, and the step that delivers them to ``pacs``."""

    store: Store
    folder: Path
    settings: NodeSettings
    now: datetime = NOON
    failed: list[tuple[int, str]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.delivery = Delivery(
            self.settings,
            self.store,
            counters=Counters(CollectorRegistry()),
            clock=lambda: self.now,
            on_failed=lambda *what: self.failed.append(what),
        )

    def make_version(self, number: int, objects: int = 2) -> list[str]:
        """Let the study get an image and a version; return its objects' UIDs."""
        self.store.record_instance(received(number))
        (waiting,) = self.store.collecting_studies()
        key = self.store.open_version(
            waiting.study_id, now=self.now, version_of=content_version
        )
        assert key is not None
        folder = self.folder / str(number)
        self.store.work.start_version(
            key.version_id, run=1, fingerprint="m", data_dir=self.folder, now=self.now
        )
        made = [_document(folder, f"2.25.{number}{one}") for one in range(objects)]
        self.store.work.finish_version(
            key.version_id,
            run=1,
            fingerprint="m",
            objects=made,
            result_dir=folder,
            data_dir=self.folder,
            destinations={"pacs": "default"},
            now=self.now,
        )
        return [one.reference.sop_instance_uid for one in made]

    def deliver(self) -> DeliveryOutcome:
        """Send what is pending first."""
        parcel = self.store.outbox.pending_parcels()[0]
        return self.delivery.deliver(1, "pacs", parcel_name(parcel))

    def commit(self) -> None:
        """Ask for commitment to what is stored first."""
        parcel = self.store.commitments.waiting()[0]
        self.delivery.commit(1, "pacs", commitment_name(parcel))

    def states(self) -> dict[str, int]:
        """Count the deliveries by state."""
        counts = self.store.counts().deliveries
        return {state: count for (_, state), count in counts.items() if count}

    def comment(self) -> str | None:
        """Return the last comment on what is not delivered."""
        ((one,),) = [study.deliveries for study in self.store.snapshot().studies]
        return one.last_comment


def _document(folder: Path, uid: str) -> ResultObject:
    folder.mkdir(exist_ok=True)
    ds = Dataset()
    ds.SOPClassUID, ds.SOPInstanceUID = ComprehensiveSRStorage, uid
    ds.file_meta = FileMetaDataset()
    ds.file_meta.MediaStorageSOPClassUID = ComprehensiveSRStorage
    ds.file_meta.MediaStorageSOPInstanceUID = uid
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    path = folder / f"{uid}.dcm"
    ds.save_as(path, enforce_file_format=True)
    return ResultObject(
        path=path,
        reference=ObjectReference(
            sop_class_uid=ComprehensiveSRStorage,
            sop_instance_uid=uid,
            series_instance_uid="2.25.99",
            study_instance_uid="1.2.3",
        ),
        sha256=hashlib.sha256(path.read_bytes()).hexdigest(),
        transfer_syntax_uid=ExplicitVRLittleEndian,
        profile="default",
    )


@pytest.fixture(autouse=True)
def short_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dicom_node.deliver.commitment._REPORT_WAIT_S", 0.4)


@contextmanager
def sender(folder: Path, port: int, commitment: str = "auto") -> Iterator[Sender]:
    settings = NodeSettings.model_validate(
        {
            "node": {"data_dir": folder},
            "limits": {"commitment_timeout_s": 60},
            "destinations": [
                {
                    "name": "pacs",
                    "ae_title": "ARCHIVE",
                    "host": "127.0.0.1",
                    "port": port,
                    "commitment": commitment,
                }
            ],
        }
    )
    with Store(f"sqlite:///{folder / 'node.sqlite'}") as store:
        store.migrate()
        yield Sender(store, folder, settings)


@contextmanager
def listening(one: Sender) -> Iterator[int]:
    """Let the node's server take reports for a sender; yield its port."""
    service = CommitmentService(
        one.settings,
        one.store,
        clock=lambda: one.now,
        on_report=lambda ae_title, address, report: one.delivery.take_report(
            one.delivery.names_of(ae_title, address), report
        ),
    )
    with running_server(one.folder / "spool", commitments=service) as server:
        yield server.port


def test_a_report_on_the_same_association_makes_it_delivered(tmp_path: Path) -> None:
    with (
        run_committing_archive() as archive,
        sender(tmp_path, archive.port, "required") as node,
    ):
        uids = node.make_version(1)

        outcome = node.deliver()
        archive.reported.wait(5)

        assert outcome.left is None
        assert node.states() == {"delivered": 2}
        assert archive.answers == [0]
        (request,) = archive.requests
        asked = [one.ReferencedSOPInstanceUID for one in request.ReferencedSOPSequence]
        assert asked == uids


def test_a_report_on_a_new_association_makes_it_delivered(tmp_path: Path) -> None:
    with (
        run_committing_archive(reports_here=False) as archive,
        sender(tmp_path, archive.port) as node,
        listening(node) as port,
    ):
        node.make_version(1)
        node.deliver()
        before = node.states()

        status = send_report(report_of(archive, archive.requests[0]), port)
        after = node.states()
        again = send_report(report_of(archive, archive.requests[0]), port)

        assert before == {"stored": 2}
        assert (status, again) == (0, 0)
        assert after == node.states() == {"delivered": 2}


def test_a_report_without_role_selection_is_heard(tmp_path: Path) -> None:
    with (
        run_committing_archive(reports_here=False) as archive,
        sender(tmp_path, archive.port) as node,
        listening(node) as port,
    ):
        node.make_version(1)
        node.deliver()

        report = report_of(archive, archive.requests[0])

        assert send_report(report, port, selects_role=False) == 0
        assert node.states() == {"delivered": 2}


@pytest.mark.parametrize("what", ["another application", "another transaction"])
def test_a_report_of_somebody_else_changes_nothing(tmp_path: Path, what: str) -> None:
    with (
        run_committing_archive(reports_here=False) as archive,
        sender(tmp_path, archive.port) as node,
        listening(node) as port,
    ):
        node.make_version(1)
        node.deliver()
        report = report_of(archive, archive.requests[0])
        calling = "ARCHIVE"
        if what == "another transaction":
            report.TransactionUID = "1.2.3.4"
        else:
            # The archive moved, so that this address is somebody else's.
            calling = "STRANGER"
            pacs = node.delivery._destinations["pacs"]
            node.delivery._destinations["pacs"] = pacs.model_copy(
                update={"host": "192.0.2.1"}
            )

        assert send_report(report, port, calling=calling) == 0x0115
        assert node.states() == {"stored": 2}


def test_an_archive_that_reports_under_another_ae_title_is_heard(
    tmp_path: Path,
) -> None:
    with (
        run_committing_archive(reports_here=False) as archive,
        sender(tmp_path, archive.port) as node,
        listening(node) as port,
    ):
        node.make_version(1)
        node.deliver()
        report = report_of(archive, archive.requests[0])

        assert send_report(report, port, calling="ARCHIVE_SCU") == 0
        assert node.states() == {"delivered": 2}


def test_what_is_not_committed_is_sent_again(tmp_path: Path) -> None:
    with (
        run_committing_archive() as archive,
        sender(tmp_path, archive.port, "required") as node,
    ):
        first, second = node.make_version(1)
        archive.failures = {first: 0x0112}
        outcome = node.deliver()
        states, comment, failed = node.states(), node.comment(), list(node.failed)

        archive.failures = {}
        node.now += timedelta(minutes=1)
        node.deliver()

        assert outcome.left is not None
        assert states == {"pending": 1, "delivered": 1}
        assert comment == "it did not commit (0x0112)"
        assert failed == [(1, "pacs")]
        assert node.states() == {"delivered": 2}
        assert archive.stored == [first, second, first]


def test_what_a_report_does_not_name_is_sent_again(tmp_path: Path) -> None:
    with (
        run_committing_archive() as archive,
        sender(tmp_path, archive.port) as node,
    ):
        first, _ = node.make_version(1)
        archive.silent_about = {first}

        node.deliver()

        assert node.states() == {"pending": 1, "delivered": 1}
        assert node.comment() == "it did not commit (its report does not name it)"


def test_a_destination_without_the_service_has_it_when_it_is_stored(
    tmp_path: Path,
) -> None:
    with (
        run_committing_archive(offers_commitment=False) as archive,
        sender(tmp_path, archive.port) as node,
    ):
        node.make_version(1)

        node.deliver()

        assert node.states() == {"delivered": 2}


@pytest.mark.parametrize(
    ("options", "comment"),
    [
        ({"offers_commitment": False}, "stored; it does not offer storage commitment"),
        (
            {"action_status": 0x0110},
            "stored; it refuses to be asked for commitment (0x0110)",
        ),
        ({"aborts": True}, "stored; it aborts when it is asked for commitment"),
    ],
)
def test_a_required_commitment_is_insisted_on(
    tmp_path: Path, options: dict[str, object], comment: str
) -> None:
    with (
        run_committing_archive(**options) as archive,  # type: ignore[arg-type]
        sender(tmp_path, archive.port, "required") as node,
    ):
        uids = node.make_version(1)

        node.deliver()
        (waiting,) = node.store.commitments.waiting()
        node.now = waiting.next_attempt_at
        node.commit()
        (after,) = node.store.commitments.waiting()

        assert node.states() == {"stored": 2}
        assert node.comment() == comment
        assert after.attempts == waiting.attempts + 1
        # What is stored is not sent again.
        assert archive.stored == uids


@pytest.mark.parametrize("status", [0x0122, 0x0211])
def test_a_peer_that_does_not_know_the_service_does_not_offer_it(
    tmp_path: Path, status: int
) -> None:
    with (
        run_committing_archive(action_status=status) as archive,
        sender(tmp_path, archive.port) as node,
    ):
        node.make_version(1)

        node.deliver()

        assert node.states() == {"delivered": 2}


@pytest.mark.parametrize(
    "options",
    [
        {"action_status": 0x0110},
        {"action_status": 0x0213},
        {"action_status": 0xA700},
        {"aborts": True},
    ],
)
def test_a_peer_that_cannot_be_asked_now_is_asked_again_until_it_is_given_up(
    tmp_path: Path, options: dict[str, object]
) -> None:
    with (
        run_committing_archive(**options) as archive,  # type: ignore[arg-type]
        sender(tmp_path, archive.port) as node,
    ):
        uids = node.make_version(1)

        node.deliver()
        before = node.states()
        (waiting,) = node.store.commitments.waiting()
        node.now += timedelta(days=7)
        node.commit()

        assert before == {"stored": 2}
        assert waiting.next_attempt_at < NOON + timedelta(minutes=1)
        assert node.states() == {"dead": 2}
        assert archive.stored == uids


def test_the_doctor_says_who_does_not_commit(tmp_path: Path) -> None:
    with (
        run_committing_archive(aborts=True) as archive,
        sender(tmp_path, archive.port) as node,
    ):
        node.make_version(1)
        node.deliver()

        found = [one.text for one in doctor._database(node.settings) if not one.is_good]

    assert found == [
        "destination pacs has stored 2 results and does not say that it commits: "
        "it aborts when it is asked for commitment. Let it know this node (AE title, "
        'host, port), or set commitment = "off"'
    ]


def test_no_commitment_is_asked_where_it_is_off(tmp_path: Path) -> None:
    with (
        run_committing_archive() as archive,
        sender(tmp_path, archive.port, "off") as node,
    ):
        node.make_version(1)

        node.deliver()

        assert node.states() == {"delivered": 2}
        assert archive.requests == []


def test_a_request_without_a_report_is_made_again(tmp_path: Path) -> None:
    with (
        run_committing_archive(reports_here=False) as archive,
        sender(tmp_path, archive.port) as node,
        listening(node) as port,
    ):
        node.make_version(1)
        node.deliver()
        (waiting,) = node.store.commitments.waiting()
        assert waiting.next_attempt_at == NOON + timedelta(seconds=60)
        node.now = waiting.next_attempt_at
        node.commit()
        old, new = archive.requests

        # The late report on the first request counts: it is about the same storing.
        send_report(report_of(archive, old), port)

        assert old.TransactionUID != new.TransactionUID
        assert node.states() == {"delivered": 2}
        assert len(archive.stored) == 2


def test_a_destination_that_never_reports_is_given_up_after_a_week(
    tmp_path: Path,
) -> None:
    with (
        run_committing_archive(reports_here=False) as archive,
        sender(tmp_path, archive.port) as node,
    ):
        uids = node.make_version(1)
        node.deliver()
        node.now += timedelta(days=1)
        node.commit()
        comment = node.comment()
        node.now += timedelta(days=7)
        node.commit()

        assert comment == "stored; it has not reported whether it commits"
        assert node.states() == {"dead": 2}
        assert archive.stored == uids
        assert len(archive.requests) == 2


def test_a_peer_that_went_away_is_asked_when_it_is_back(tmp_path: Path) -> None:
    with sender(tmp_path, free_port()) as node:
        uids = node.make_version(1)
        (parcel,) = node.store.outbox.pending_parcels()
        # The peer stored everything and went away before it was asked.
        node.store.outbox.record_attempt(
            parcel,
            [
                AttemptOutcome(one.delivery_id, True, 0, "")
                for one in node.store.outbox.pending_items(1, "pacs", data_dir=tmp_path)
            ],
            now=NOON,
            next_attempt_at=NOON,
            awaits_commitment=True,
        )

        node.commit()

        assert node.states() == {"stored": len(uids)}
        assert node.comment() == "stored; it cannot be reached"


def test_a_superseded_version_is_not_sent_after_the_newer_one(tmp_path: Path) -> None:
    with (
        run_committing_archive(reports_here=False) as archive,
        sender(tmp_path, archive.port) as node,
        listening(node) as port,
    ):
        (old,) = node.make_version(1, objects=1)
        node.deliver()
        (new,) = node.make_version(2, objects=1)
        node.deliver()
        archive.failures = {old: 0x0110}

        send_report(report_of(archive, archive.requests[0]), port)

        assert archive.stored == [old, new]
        assert node.states() == {"dead": 1, "stored": 1}
        assert not node.store.outbox.pending_parcels()


def test_a_study_asked_for_again_is_asked_about_and_not_sent(tmp_path: Path) -> None:
    with (
        run_committing_archive(reports_here=False) as archive,
        sender(tmp_path, archive.port) as node,
    ):
        uids = node.make_version(1)
        node.deliver()

        node.store.requeue_study("1.2.3", destinations={"pacs": "default"}, now=NOON)
        (waiting,) = node.store.commitments.waiting()

        assert waiting.next_attempt_at == NOON
        assert node.states() == {"stored": 2}
        assert archive.stored == uids


def test_a_destination_that_was_removed_gives_up_what_it_stored(tmp_path: Path) -> None:
    with (
        run_committing_archive(reports_here=False) as archive,
        sender(tmp_path, archive.port) as node,
    ):
        node.make_version(1)
        node.deliver()
        node.settings = NodeSettings.model_validate({"node": {"data_dir": tmp_path}})
        node.__post_init__()

        node.commit()

        assert node.states() == {str(DeliveryState.DEAD): 2}
