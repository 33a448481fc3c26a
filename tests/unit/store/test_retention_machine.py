"""Whatever comes, goes and breaks: what is acknowledged and live has its file."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from dicom_node.errors import OutOfResourcesError
from dicom_node.reconcile import reconcile
from dicom_node.records import ReceivedInstance
from dicom_node.store.removable import StudyPart
from dicom_node.store.retention import RemovalRule
from dicom_node.store.schema import deliveries, instances, results, versions
from tests.builders.kept_studies import LATER, Place

IMAGES = st.integers(1, 3)
EVERYTHING = RemovalRule("space", frozenset(StudyPart))


class RetentionMachine(RuleBasedStateMachine):
    """One study that grows, is processed, delivered, removed, and comes again."""

    empty_database: Path
    """With its tables, made once: each example begins with a copy."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        database = Path(self.folder.name) / "data" / "node.sqlite"
        database.parent.mkdir()
        shutil.copy(self.empty_database, database)
        self.place = Place(Path(self.folder.name))
        self.arriving: ReceivedInstance | None = None

    def teardown(self) -> None:
        self.place.store.close()
        self.folder.cleanup()

    @rule(number=IMAGES)
    def receive(self, number: int) -> None:
        self.place.receive(number)

    @precondition(lambda self: self.arriving is None)
    @rule(number=IMAGES)
    def put_a_file_in_place(self, number: int) -> None:
        self.arriving = self.place.store_file(number)

    @precondition(lambda self: self.arriving is not None)
    @rule()
    def record_it(self) -> None:
        assert self.arriving is not None
        arrived, self.arriving = self.arriving, None
        try:
            self.place.store.record_instance(arrived)
        except OutOfResourcesError:
            return  # refused: whoever sent it sends it again
        assert arrived.path.as_posix() in self.place.store.known_paths(
            [arrived.path.as_posix()]
        )

    @precondition(lambda self: self.place.store.collecting_studies())
    @rule()
    def process(self) -> None:
        (study,) = self.place.store.collecting_studies()
        key = self.place.store.open_version(
            study.study_id, now=LATER, version_of=lambda hashes: " ".join(hashes)[-64:]
        )
        if key is not None:
            self.place.start(key.version_id)
            self.place.finish(key.version_id)

    @rule(is_delivered=st.booleans())
    def deliver(self, *, is_delivered: bool) -> None:
        self.place.deliver(is_delivered=is_delivered)

    @rule()
    def retain(self) -> None:
        self.place.retention(max_bytes=1).run()

    @precondition(lambda self: self.place.store.recorded_files())
    @rule()
    def be_killed_between_the_passes(self) -> None:
        (study_id,) = {one.study_id for one in self.place.store.recorded_files()}
        self.place.store.retention.remove(
            study_id, EVERYTHING, now=LATER, is_busy=lambda _uid: False
        )

    @rule()
    def start_again(self) -> None:
        self.arriving = None
        found = reconcile(self.place.store, self.place.spool)
        assert found.missing == 0

    @invariant()
    def what_is_acknowledged_and_live_has_its_file(self) -> None:
        for one in self.place.store.recorded_files():
            assert (self.place.data_dir / one.path).is_file()

    @invariant()
    def what_is_undelivered_is_there(self) -> None:
        owed = {
            one.result_id
            for one in self.place.rows(deliveries)
            if one.state != "delivered"
        }
        for one in self.place.rows(results):
            if one.id in owed:
                assert one.removed_at is None
                assert (self.place.data_dir / one.path).is_file()
        if owed or any(
            one.state in {"ready", "processing"} for one in self.place.rows(versions)
        ):
            known = {one.path for one in self.place.store.recorded_files()}
            live = [one for one in self.place.rows(instances) if not one.removed_at]
            assert {one.path for one in live} == {path.as_posix() for path in known}


def test_nothing_live_is_without_its_file_whatever_happens(tmp_path: Path) -> None:
    place = Place(tmp_path)
    place.store.close()
    RetentionMachine.empty_database = place.data_dir / "node.sqlite"
    run_state_machine_as_test(
        RetentionMachine,
        settings=settings(
            max_examples=5,
            stateful_step_count=12,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
