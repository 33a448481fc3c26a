"""A round of housekeeping looks at what is lost, not at all that waits."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from dbos import DBOS
from prometheus_client import CollectorRegistry

from dicom_node.audit import Counters
from dicom_node.config import NodeSettings
from dicom_node.store import Store, VersionKey
from dicom_node.store.decisions import RecordedDecision
from dicom_node.store.switches import PAUSED
from dicom_node.workflows import Workflows, submitting
from dicom_node.workflows.engine import newest
from dicom_node.workflows.names import work_name
from dicom_node.workflows.order import FIRST
from tests.builders.stores import NOON, received
from tests.builders.study_processor import QuickProcessor

_STUDIES = 6


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    one = Store(NodeSettings(node={"data_dir": tmp_path}).database_url)
    one.migrate()
    one.switches.set(PAUSED, True, by="test")
    for number in range(_STUDIES):
        uid = f"1.2.{number}"
        one.record_instance(
            received(study_instance_uid=uid, sop_instance_uid=f"{uid}.1")
        )
        (study,) = one.collecting_studies()
        one.open_version(study.study_id, now=NOON, version_of=lambda _: "v")
    yield one
    one.close()


@pytest.fixture
def workflows(store: Store, tmp_path: Path) -> Iterator[Workflows]:
    made = Workflows(
        NodeSettings(node={"data_dir": tmp_path}),
        store,
        QuickProcessor(),
        counters=Counters(CollectorRegistry()),
    )
    made.launch()
    yield made
    made.stop(grace_s=0)


@pytest.fixture
def looked_at(
    workflows: Workflows, monkeypatch: pytest.MonkeyPatch
) -> list[VersionKey | str]:
    found: list[VersionKey | str] = []
    ready = workflows.version_ready
    monkeypatch.setattr(
        workflows, "version_ready", lambda key: (found.append(key), ready(key))
    )
    monkeypatch.setattr(
        submitting, "newest", lambda name: (found.append(name), newest(name))[1]
    )
    return found


def test_only_what_is_not_in_its_queue_costs_a_look(
    workflows: Workflows, store: Store, looked_at: list[VersionKey | str]
) -> None:
    keys = store.work.unfinished_versions()
    assert len(keys) == _STUDIES
    workflows.resume(only_overdue=True)
    assert len(looked_at) == 2 * _STUDIES
    looked_at.clear()

    counts = workflows.resume(only_overdue=True)

    assert counts["versions"] == _STUDIES
    assert looked_at == []
    lost = newest(work_name(keys[2]))
    assert lost is not None
    DBOS.cancel_workflow(lost.workflow_id)
    workflows.resume(only_overdue=True)
    assert looked_at == [keys[2], work_name(keys[2])]
    again = newest(work_name(keys[2]))
    assert again is not None
    assert again.workflow_id != lost.workflow_id
    assert again.status == "ENQUEUED"


def test_what_a_person_asked_for_gets_its_place_though_asking_was_cut_short(
    workflows: Workflows, store: Store
) -> None:
    key = store.work.unfinished_versions()[-1]
    workflows.resume()
    before = newest(work_name(key))
    store.work.record_decision(
        key.version_id,
        run=key.run,
        decision=RecordedDecision(None, None, "requested"),
        is_processed=True,
        now=NOON,
    )

    workflows.resume(only_overdue=True)

    after = newest(work_name(key))
    assert before is not None
    assert after is not None
    assert before.priority != FIRST
    assert (after.status, after.priority) == ("ENQUEUED", FIRST)
