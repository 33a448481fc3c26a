from __future__ import annotations

import shutil
import tempfile
from datetime import datetime, timedelta
from pathlib import Path

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from dicom_node.assembly import (
    RELEASE_SETTLE_S,
    Assembler,
    open_association_limit_s,
)
from dicom_node.identity import content_version
from dicom_node.store import CollectingStudy, Store, VersionKey
from tests.builders.stores import NOON, received, result_object

QUIET_S = 10.0
HELD_S = open_association_limit_s(QUIET_S)
SETTLE = timedelta(seconds=RELEASE_SETTLE_S)
STUDIES = ("1.2.1", "1.2.2")
ASSOCIATIONS = ("a", "b")


class AssemblyMachine(RuleBasedStateMachine):
    """Studies arrive in any order, through restarts and requests, against a model."""

    template: Path

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp(prefix="assembly-"))
        shutil.copy(self.template, self.folder / "node.sqlite")
        self.store = Store(f"sqlite:///{self.folder / 'node.sqlite'}")
        self.now = NOON
        self.association = ""
        self.hashes: dict[str, dict[str, str]] = {uid: {} for uid in STUDIES}
        self.last_new: dict[str, datetime] = {}
        self.brought: dict[str, set[str]] = {}
        self.released: dict[str, datetime] = {}
        self.forced: set[str] = set()
        self.versioned: dict[str, list[str]] = {uid: [] for uid in STUDIES}
        self.told: list[VersionKey] = []
        self.with_results: dict[str, str] = {}
        self.start_node()

    def start_node(self) -> None:
        self.assembler = Assembler(
            self.store,
            self,
            quiet_time_s=QUIET_S,
            clock=lambda: self.now,
            association_of=lambda: self.association,
        )

    def version_ready(self, key: VersionKey, *, is_requested: bool = False) -> None:
        self.told.append(key)

    def study_requested(self, study: CollectingStudy) -> None:
        assert study.study_instance_uid in self.forced

    @rule(
        study=st.sampled_from(STUDIES),
        number=st.integers(0, 4),
        kind=st.sampled_from(["image", "image", "other bytes", "own"]),
        association=st.sampled_from(ASSOCIATIONS),
    )
    def an_instance_comes(
        self, study: str, number: int, kind: str, association: str
    ) -> None:
        uid = f"{study}.{'9' if kind == 'own' else '1'}.{number}"
        instance = received(
            sop_instance_uid=uid,
            study_instance_uid=study,
            received_at=self.now,
            is_own_result=kind == "own",
        )
        if kind == "other bytes":
            instance = received(
                sop_instance_uid=uid,
                study_instance_uid=study,
                received_at=self.now,
                sha256=f"{number}" * 64,
                path=Path(f"spool/{uid}-other.dcm"),
            )
        self.association = association
        outcome = self.assembler.record_instance(instance)
        if kind != "own":
            self.brought.setdefault(association, set()).add(study)
        if outcome == "new" and kind != "own":
            assert uid not in self.hashes[study]
            self.hashes[study][uid] = instance.sha256
            self.last_new[study] = self.now

    @rule(association=st.sampled_from(ASSOCIATIONS))
    def an_association_ends(self, association: str) -> None:
        self.association = association
        self.assembler.association_released()
        for study in self.brought.pop(association, ()):
            self.released[study] = self.now

    @rule(seconds=st.sampled_from([0.5, RELEASE_SETTLE_S, 4.0, QUIET_S, HELD_S]))
    def time_passes(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)

    @rule(study=st.sampled_from(STUDIES))
    def somebody_asks(self, study: str) -> None:
        if self.hashes[study]:
            self.store.requeue_study(study, destinations={}, now=self.now)
            self.forced.add(study)

    @rule()
    def the_node_restarts(self) -> None:
        self.brought.clear()
        self.released.clear()
        self.told.clear()
        self.start_node()
        # As the durable work does at a start.
        self.told.extend(self.store.work.unfinished_versions())

    @rule()
    def it_is_evaluated(self) -> None:
        opened = self.assembler.evaluate()
        told = {one.study_instance_uid for one in opened}
        for uid, last in self.last_new.items():
            settles = self.now - self.released.get(uid, NOON - SETTLE) < SETTLE
            if self.now - last >= timedelta(seconds=HELD_S) and not settles:
                # Nothing holds a study for ever.
                current = content_version(self.hashes[uid].values())
                assert uid in told or current in self.versioned[uid]
        for key in opened:
            uid = key.study_instance_uid
            assert key.content_version == content_version(self.hashes[uid].values())
            assert key.content_version not in self.versioned[uid]
            if uid not in self.forced:
                idle = self.now - self.last_new[uid]
                assert idle >= timedelta(seconds=QUIET_S)
                is_open = any(uid in one for one in self.brought.values())
                assert not is_open or idle >= timedelta(seconds=HELD_S)
            self.versioned[uid].append(key.content_version)
        self.forced.clear()
        assert set(opened) <= set(self.told)

    @precondition(lambda self: self.store.work.unfinished_versions())
    @rule()
    def a_version_is_processed(self) -> None:
        key = self.store.work.unfinished_versions()[0]
        uid = key.study_instance_uid
        work = self.store.work.start_version(
            key.version_id,
            run=key.run,
            fingerprint="m",
            data_dir=self.folder,
            now=self.now,
        )
        assert work is not None
        before = self.with_results.get(uid)
        if before != key.content_version:
            assert work.ready.predecessor_version == before
        hashes = [one.sha256 for one in work.ready.instances]
        assert content_version(hashes) == key.content_version
        number = key.version_id
        self.store.work.finish_version(
            key.version_id,
            run=key.run,
            fingerprint="m",
            objects=[result_object(self.folder / f"r{number}", number)],
            result_dir=self.folder / f"r{number}",
            data_dir=self.folder,
            destinations={},
            now=self.now,
        )
        self.with_results[uid] = key.content_version

    @invariant()
    def every_version_that_waits_was_told_to_the_worker(self) -> None:
        waiting = {
            (one.version_id, one.run)
            for one in self.store.work.unfinished_versions()
            if one.run == 1
        }
        assert waiting <= {(one.version_id, one.run) for one in self.told}

    def teardown(self) -> None:
        for association in ASSOCIATIONS:
            self.an_association_ends(association)
        self.now += timedelta(seconds=QUIET_S + RELEASE_SETTLE_S)
        self.it_is_evaluated()
        for uid, hashes in self.hashes.items():
            if hashes:
                assert self.versioned[uid][-1] == content_version(hashes.values())
        assert self.store.collecting_studies() == ()
        self.store.close()
        shutil.rmtree(self.folder)


def test_no_order_of_events_loses_an_image_or_makes_a_second_result(
    tmp_path: Path,
) -> None:
    template = tmp_path / "node.sqlite"
    with Store(f"sqlite:///{template}") as store:
        store.migrate()
    AssemblyMachine.template = template

    machine = AssemblyMachine.TestCase
    machine.settings = settings(
        max_examples=40,
        stateful_step_count=25,
        deadline=None,
        suppress_health_check=list(HealthCheck),
        derandomize=True,
    )
    machine().runTest()
