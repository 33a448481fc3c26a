"""Whatever a destination does, delivered means that it committed (or need not)."""

from __future__ import annotations

import shutil
import tempfile
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
)
from prometheus_client import CollectorRegistry

from dicom_node.audit import Counters
from dicom_node.commitment_messages import CommitmentReport, SopReference
from dicom_node.config import NodeSettings
from dicom_node.deliver import CommitmentAsked, SendOutcome
from dicom_node.identity import content_version
from dicom_node.store import Store
from dicom_node.workflows.delivery import Delivery, first_in_line
from dicom_node.workflows.names import commitment_name, parcel_name
from tests.builders.stores import NOON, received, result_object

ANSWERS = st.sampled_from(["stored", "refused", "away"])
ASKED = st.sampled_from(["asked", "away", "not offered"])


class DeliveryMachine(RuleBasedStateMachine):
    """A study, a destination that requires or offers commitment, and its whims."""

    @initialize(
        commitment=st.sampled_from(["required", "auto"]),
        objects=st.integers(1, 3),
    )
    def begin(self, commitment: str, objects: int) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="delivery-machine-"))
        self.commitment, self.objects = commitment, objects
        self.now: datetime = NOON
        self.versions = 0
        self.answer, self.asked = "stored", "asked"
        self.sent: list[str] = []
        self.open: dict[str, list[str]] = {}
        """What was asked for, by Transaction UID."""
        self.held: set[str] = set()
        """What the destination stored since it last failed to commit."""
        self.committed: set[str] = set()
        self.waived: set[str] = set()
        self.store = Store(f"sqlite:///{self.folder / 'node.sqlite'}")
        self.store.migrate()
        pacs = {"name": "pacs", "ae_title": "PACS", "host": "127.0.0.1", "port": 104}
        self.node_settings = NodeSettings.model_validate(
            {
                "node": {"data_dir": self.folder},
                "limits": {"commitment_timeout_s": 100},
                "destinations": [pacs | {"commitment": commitment}],
            }
        )
        self.patch = pytest.MonkeyPatch()
        self.patch.setattr("dicom_node.deliver.send", self._send)
        self.patch.setattr("dicom_node.deliver.ask_for_commitment", self._ask)
        self._start()

    def _start(self) -> None:
        self.delivery = Delivery(
            self.node_settings,
            self.store,
            counters=Counters(CollectorRegistry()),
            clock=lambda: self.now,
        )

    def teardown(self) -> None:
        if hasattr(self, "store"):
            self.patch.undo()
            self.store.close()
            shutil.rmtree(self.folder)

    def _send(self, objects: Any, _destination: Any, **options: Any) -> None:
        for one in objects:
            is_stored = self.answer == "stored"
            if is_stored:
                self.held.add(one.sop_instance_uid)
                self.sent.append(one.sop_instance_uid)
            status = {"stored": 0, "refused": 0xA700, "away": None}[self.answer]
            options["on_outcome"](
                SendOutcome(
                    one.path, one.sop_instance_uid, is_stored, status, self.answer
                )
            )

    def _ask(self, references: Any, _peer: Any, **options: Any) -> CommitmentAsked:
        uids = [uid for _, uid in references]
        assert set(uids) <= self.held
        if self.asked == "asked":
            self.open[options["transaction_uid"]] = uids
        if self.asked == "not offered":
            self.waived |= set(uids)
        return CommitmentAsked(
            self.asked == "asked", self.asked != "not offered", self.asked
        )

    @precondition(lambda self: self.versions < 3)
    @rule()
    def make_a_version(self) -> None:
        self.versions += 1
        self.store.record_instance(received(self.versions))
        (waiting,) = self.store.collecting_studies()
        key = self.store.open_version(
            waiting.study_id, now=self.now, version_of=content_version
        )
        assert key is not None
        self.store.work.start_version(
            key.version_id, run=1, fingerprint="m", data_dir=self.folder, now=self.now
        )
        folder = self.folder / str(self.versions)
        self.store.work.finish_version(
            key.version_id,
            run=1,
            fingerprint="m",
            objects=[
                result_object(folder, self.versions * 10 + one)
                for one in range(self.objects)
            ],
            result_dir=folder,
            data_dir=self.folder,
            destinations={"pacs": "default"},
            now=self.now,
        )

    @rule(answer=ANSWERS, asked=ASKED)
    def deliver(self, answer: str, asked: str) -> None:
        self.answer, self.asked = answer, asked
        for parcel in first_in_line(self.store.outbox.pending_parcels()):
            self.delivery.deliver(1, "pacs", parcel_name(parcel))

    @rule(asked=ASKED, wait_s=st.sampled_from([0, 10, 200]))
    def ask_again(self, asked: str, wait_s: int) -> None:
        self.asked = asked
        self.now += timedelta(seconds=wait_s)
        for parcel in self.store.commitments.waiting():
            self.delivery.commit(1, "pacs", commitment_name(parcel))

    @precondition(lambda self: self.open)
    @rule(data=st.data(), is_repeated=st.booleans())
    def report(self, data: st.DataObject, is_repeated: bool) -> None:
        transaction = data.draw(st.sampled_from(sorted(self.open)))
        uids = self.open[transaction]
        kept = data.draw(st.sets(st.sampled_from(uids)))
        failed = data.draw(st.sets(st.sampled_from(uids))) - kept
        self.committed |= kept
        told = CommitmentReport(
            transaction,
            tuple(SopReference("1.2", uid) for uid in sorted(kept)),
            {SopReference("1.2", uid): 0x0110 for uid in sorted(failed)},
        )
        assert self.delivery.take_report(("pacs",), told)
        if is_repeated:
            before = self._states()
            assert self.delivery.take_report(("pacs",), told)
            assert self._states() == before

    @rule()
    def hear_of_nothing_that_was_asked(self) -> None:
        before = self._states()

        assert not self.delivery.take_report(("pacs",), CommitmentReport("1.2.3"))
        assert not self.delivery.take_report(
            ("other",), CommitmentReport(next(iter(self.open), "1.2.4"))
        )
        assert self._states() == before

    @rule()
    def restart(self) -> None:
        self._start()

    @rule()
    def ask_for_the_study(self) -> None:
        if self.versions:
            self.store.requeue_study(
                "1.2.3", destinations={"pacs": "default"}, now=self.now
            )

    @invariant()
    def delivered_means_committed(self) -> None:
        if not hasattr(self, "store"):
            return
        allowed = set(self.committed)
        if self.commitment == "auto":
            allowed |= self.waived
        for uid, state in self._states().items():
            if state == "delivered":
                assert uid in allowed & self.held
            if state == "stored":
                assert uid in self.held

    @invariant()
    def nothing_is_lost(self) -> None:
        if hasattr(self, "store"):
            assert len(self._states()) == self.versions * self.objects
            pending = {one.version_id for one in self.store.outbox.pending_parcels()}
            stored = {one.version_id for one in self.store.commitments.waiting()}
            states = set(self._states().values())
            assert ("pending" in states) == bool(pending)
            assert ("stored" in states) == bool(stored)

    def _states(self) -> dict[str, str]:
        with self.store._database.read() as connection:
            rows = connection.exec_driver_sql(
                "SELECT r.sop_instance_uid, d.state FROM deliveries d "
                "JOIN results r ON r.id = d.result_id"
            )
            return {row[0]: row[1] for row in rows}


DeliveryMachine.TestCase.settings = settings(
    max_examples=12,
    stateful_step_count=20,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)
TestDeliveryMachine = DeliveryMachine.TestCase
