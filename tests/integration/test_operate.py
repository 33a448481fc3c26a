"""A running node under its operator's hands: pause, drain, rules, priorities."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from dbos import DBOS
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian
from structlog.testing import capture_logs

from dicom_node.commands.operate import read_remaining, set_draining, set_paused
from dicom_node.config import DicomPeer, NodeSettings
from dicom_node.deliver import send_objects
from dicom_node.errors import SettingsError
from dicom_node.service import NodeService
from dicom_node.workflows.lanes import SMALL_QUEUE
from tests.builders.process import wait_until
from tests.builders.study_processor import QuickProcessor

RULES = [
    {
        "name": "scouts",
        "when": 'StudyDescription == "scout"',
        "action": "ignore",
    },
    {"name": "stroke", "when": 'StudyDescription == "stroke"', "priority": "urgent"},
    {
        "name": "screening",
        "when": 'StudyDescription == "screening"',
        "priority": "low",
        "model": "second",
    },
]


@pytest.fixture(autouse=True)
def short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dicom_node.assembly._SETTLE", timedelta(seconds=0.2))
    monkeypatch.setattr("dicom_node.service.work._STOP_GRACE_S", 1)
    monkeypatch.setattr("dicom_node.service.node._DRAIN_LOOK_S", 0.0)
    monkeypatch.setattr("dicom_node.workflows.steps._LOOK_S", 0.05)
    monkeypatch.setattr("dicom_node.workflows.workflows.POLLING_S", 0.05)


class ModelProcessor(QuickProcessor):
    """Remembers which model each study was processed by."""

    def __init__(self) -> None:
        super().__init__()
        self.models: dict[str, str | None] = {}

    def process(self, ready: Any, **options: Any) -> Any:
        self.models[ready.study_instance_uid] = options["model"]
        return super().process(ready, **options)


def settings_in(folder: Path, **changes: Any) -> NodeSettings:
    return NodeSettings.model_validate(
        {
            "node": {"port": 0, "data_dir": folder / "data", "quiet_time_s": 0.2},
            "web": {"port": 0},
            "limits": {"min_free_bytes": 0},
            "rules": RULES,
            "models": [{"name": "second"}],
            **changes,
        }
    )


@contextmanager
def running(
    settings: NodeSettings, processor: ModelProcessor | None = None
) -> Iterator[tuple[NodeService, ModelProcessor]]:
    processor = processor or ModelProcessor()
    with NodeService(settings, processor=processor) as node:
        yield node, processor


def send(
    node: NodeService,
    folder: Path,
    study: str,
    description: str = "",
    *,
    frames: int = 1,
) -> bool:
    ds = Dataset()
    ds.SOPClassUID = CTImageStorage
    ds.SOPInstanceUID = f"{study}.1.1"
    ds.StudyInstanceUID = study
    ds.SeriesInstanceUID = f"{study}.1"
    ds.Modality = "CT"
    ds.StudyDescription = description
    ds.NumberOfFrames = frames
    ds.file_meta = FileMetaDataset()
    ds.file_meta.MediaStorageSOPClassUID = CTImageStorage
    ds.file_meta.MediaStorageSOPInstanceUID = ds.SOPInstanceUID
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    path = folder / f"{study}.dcm"
    ds.save_as(path, enforce_file_format=True)
    address = DicomPeer("node", "GROUNDING", "127.0.0.1", node.port)
    return send_objects([path], address, ae_title="PACS")[0].is_delivered


def states(node: NodeService) -> dict[str, str]:
    return {one.study_instance_uid: one.state for one in node.store.snapshot().studies}


def wait_for_states(node: NodeService, **wanted: str) -> None:
    expected = {uid.replace("_", "."): state for uid, state in wanted.items()}
    expected = {uid.removeprefix("s"): state for uid, state in expected.items()}
    wait_until(
        lambda: states(node) == expected,
        timeout_s=30,
        what=lambda: f"{expected}, not {states(node)}",
        interval_s=0.05,
    )


def test_a_paused_node_receives_and_processes_the_urgent_first_when_it_goes_on(
    tmp_path: Path,
) -> None:
    settings = settings_in(tmp_path)
    with running(settings) as (node, processor):
        set_paused(settings, True)
        for study, description in (
            ("1.1", "first"),
            ("1.2", "screening"),
            ("1.3", "stroke"),
        ):
            assert send(node, tmp_path, study, description)
            wait_until(
                lambda study=study: states(node)[study] == "ready",
                timeout_s=30,
                what="the study",
                interval_s=0.05,
            )
        before = list(processor.processed)
        set_paused(settings, False)
        wait_for_states(node, s1_1="done", s1_2="done", s1_3="done")

    assert before == []
    # The first had been taken from the queue when it found the pause.
    assert [one.study_instance_uid for one in processor.processed] == [
        "1.1",
        "1.3",
        "1.2",
    ]
    assert processor.models == {"1.1": None, "1.2": "second", "1.3": None}


class HeldProcessor(ModelProcessor):
    """Works on study 1.1 until it is told to end."""

    def __init__(self) -> None:
        super().__init__()
        self.ends = threading.Event()

    def process(self, ready: Any, **options: Any) -> Any:
        made = super().process(ready, **options)
        if ready.study_instance_uid == "1.1":
            self.ends.wait(60)
        return made


def test_an_urgent_radiograph_passes_one_that_must_wait_for_an_urgent_ct(
    tmp_path: Path,
) -> None:
    processor = HeldProcessor()

    def is_under_way(queue: str) -> bool:
        return bool(DBOS.list_workflows(queue_name=queue, status="PENDING"))

    with running(settings_in(tmp_path), processor) as (node, _):
        send(node, tmp_path, "1.1", "stroke", frames=300)
        wait_until(lambda: processor.processed, timeout_s=30, what="the CT")
        send(node, tmp_path, "1.2", "screening")
        wait_until(
            lambda: is_under_way(SMALL_QUEUE), timeout_s=30, what="the first radiograph"
        )
        send(node, tmp_path, "1.3", "stroke")
        wait_for_states(node, s1_1="processing", s1_2="ready", s1_3="done")
        processor.ends.set()
        wait_for_states(node, s1_1="done", s1_2="done", s1_3="done")

    done = [one.study_instance_uid for one in processor.processed]
    assert done == ["1.1", "1.3", "1.2"]


def test_a_pause_outlasts_a_restart(tmp_path: Path) -> None:
    settings = settings_in(tmp_path)
    with running(settings) as (node, _):
        set_paused(settings, True)
        send(node, tmp_path, "1.1")
        wait_for_states(node, s1_1="ready")
    with capture_logs() as logs, running(settings) as (node, processor):
        still = states(node), list(processor.processed)
        paused = node.examine()
        set_paused(settings, False)
        wait_for_states(node, s1_1="done")
        resumed = node.examine()

    assert still == ({"1.1": "ready"}, [])
    (told,) = (one for one in logs if one["event"] == "node_paused")
    assert (told["log_level"], told["reason"]) == ("warning", paused.warnings["pause"])
    assert "pause" not in paused.problems
    assert "pause" not in resumed.warnings


def test_a_study_that_a_rule_ignores_is_kept_and_processed_when_asked_for(
    tmp_path: Path,
) -> None:
    with running(settings_in(tmp_path)) as (node, processor):
        send(node, tmp_path, "1.1", "scout")
        wait_for_states(node, s1_1="ignored")
        ignored = list(processor.processed)
        node.store.requeue_study("1.1", destinations={})
        wait_for_states(node, s1_1="done")

    assert ignored == []


def test_a_draining_node_finishes_and_refuses_what_is_new(tmp_path: Path) -> None:
    settings = settings_in(tmp_path)
    with running(settings) as (node, _):
        send(node, tmp_path, "1.1")
        set_draining(settings, True)
        refused = not send(node, tmp_path, "1.2")
        problems = node.examine().problems
        wait_until(
            lambda: read_remaining(settings).is_empty,
            timeout_s=30,
            what="the end of the work",
            interval_s=0.05,
        )
        finished = states(node)
        set_draining(settings, False)
        accepted = send(node, tmp_path, "1.2")

    assert (refused, finished, accepted) == (True, {"1.1": "done"}, True)
    assert problems["work"] == "it drains: nothing new is accepted"


def test_draining_does_not_wait_for_a_destination_that_is_away(tmp_path: Path) -> None:
    away = {"name": "pacs", "ae_title": "PACS", "host": "127.0.0.1", "port": 1}
    settings = settings_in(tmp_path, destinations=[away])
    with running(settings) as (node, _):
        send(node, tmp_path, "1.1")
        set_draining(settings, True)
        wait_until(
            lambda: (left := read_remaining(settings)).is_empty and left.away,
            timeout_s=30,
            what="the end of the work that can be done",
            interval_s=0.05,
        )
        left = read_remaining(settings)

    assert left.undelivered > 0
    assert str(left).endswith("is undelivered (waiting for pacs)")


def test_a_node_with_a_rule_that_cannot_be_understood_does_not_start(
    tmp_path: Path,
) -> None:
    settings = settings_in(tmp_path, rules=[{"name": "bad", "when": "Modalty == 1"}])

    with (
        pytest.raises(SettingsError, match=r"rules\.bad\.when: Modalty"),
        running(settings),
    ):
        pass
