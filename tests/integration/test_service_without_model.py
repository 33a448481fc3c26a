"""What the node does while its model is away: it receives, waits, and says so."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian

from dicom_node.commands.status import read_status, requeue_study
from dicom_node.config import DicomPeer, NodeSettings
from dicom_node.deliver import send_objects
from dicom_node.errors import ModelLoadError, SettingsError, StoreError
from dicom_node.service import NodeService
from dicom_node.workflows import steps
from tests.builders.process import wait_until
from tests.builders.study_processor import QuickProcessor

WAITS = "no model: no weights"


@pytest.fixture
def settings(tmp_path: Path) -> NodeSettings:
    return NodeSettings.model_validate(
        {
            "node": {"port": 0, "data_dir": tmp_path / "data", "quiet_time_s": 0.2},
            "web": {"port": 0},
            "limits": {"min_free_bytes": 0},
        }
    )


def test_a_lock_that_cannot_be_made_is_a_settings_error(
    settings: NodeSettings,
) -> None:
    (settings.node.data_dir / "node.lock").mkdir(parents=True)

    with pytest.raises(SettingsError, match=r"node\.data_dir .*/data: Is a directory"):
        NodeService(settings, processor=QuickProcessor()).start()


def test_workflows_that_cannot_be_read_are_told(settings: NodeSettings) -> None:
    settings.node.data_dir.mkdir()
    (settings.node.data_dir / "dbos.sqlite").write_bytes(b"no database " * 100)

    with pytest.raises(StoreError, match="workflow database cannot be opened"):
        NodeService(settings, processor=QuickProcessor()).start()


def without_model() -> QuickProcessor:
    processor = QuickProcessor()
    processor.trouble = "no weights"
    processor.failure = ModelLoadError("no weights")
    return processor


def bring_back(processor: QuickProcessor) -> None:
    processor.trouble = processor.failure = None


def send(node: NodeService, folder: Path, study: str) -> None:
    ds = Dataset()
    ds.SOPClassUID = CTImageStorage
    ds.SOPInstanceUID = f"{study}.1.1"
    ds.StudyInstanceUID = study
    ds.SeriesInstanceUID = f"{study}.1"
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    path = folder / f"{study}.dcm"
    ds.save_as(path, enforce_file_format=True)
    address = DicomPeer(
        name="node", ae_title="GROUNDING", host="127.0.0.1", port=node.port
    )
    (outcome,) = send_objects([path], address, ae_title="PACS")
    assert outcome.is_delivered


def wait_for(is_true: Callable[[], bool], what: str) -> None:
    wait_until(is_true, timeout_s=30, what=what, interval_s=0.05)


def states(node: NodeService) -> dict[str, str]:
    return {one.study_instance_uid: one.state for one in node.store.snapshot().studies}


def reasons(node: NodeService) -> set[str | None]:
    return {one.reason for one in node.store.snapshot().studies}


def test_studies_wait_for_the_model_and_the_node_says_so(
    tmp_path: Path, settings: NodeSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(steps, "delivery_delay_s", lambda _number: 0.3)
    processor = without_model()
    with NodeService(settings, processor=processor) as node:
        url = f"http://127.0.0.1:{node.web_port}"
        for study in ("1.2.1", "1.2.2"):
            send(node, tmp_path, study)
        wait_for(lambda: reasons(node) == {WAITS}, "both reasons")
        time.sleep(1.0)
        waiting = states(node)
        ready = httpx.get(f"{url}/health/ready")
        live = httpx.get(f"{url}/health/live")
        metrics = httpx.get(f"{url}/metrics").text
        bring_back(processor)
        wait_for(lambda: set(states(node).values()) == {"done"}, "both results")
        recovered = httpx.get(f"{url}/health/ready")

    assert set(waiting.values()) == {"processing"}
    assert ready.status_code == 503
    assert ready.json()["reasons"] == {"model": "the model is not loaded: no weights"}
    assert (live.status_code, recovered.status_code) == (200, 200)
    assert "dicom_node_model_loaded 0.0" in metrics


def test_a_model_that_is_back_wakes_all_that_wait(
    tmp_path: Path, settings: NodeSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(steps, "delivery_delay_s", lambda _number: 600.0)
    processor = without_model()
    with NodeService(settings, processor=processor) as node:
        for study in ("1.2.1", "1.2.2", "1.2.3"):
            send(node, tmp_path, study)
        wait_for(
            lambda: len(states(node)) == 3 and reasons(node) == {WAITS},
            "the reasons",
        )
        bring_back(processor)
        assert "1.2.1" in requeue_study(settings, "1.2.1")
        wait_for(lambda: set(states(node).values()) == {"done"}, "all three")


def test_what_failed_for_the_model_or_waits_is_processed_at_the_next_start(
    tmp_path: Path, settings: NodeSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(steps, "delivery_delay_s", lambda _number: 600.0)
    with NodeService(settings, processor=without_model()) as node:
        for study in ("1.2.1", "1.2.2"):
            send(node, tmp_path, study)
        wait_for(
            lambda: len(states(node)) == 2 and reasons(node) == {WAITS},
            "the reasons",
        )
        failed = node.store.work.unfinished_versions()[0]
        node.store.work.fail_version(
            failed.version_id,
            run=failed.run,
            reason=WAITS,
            now=node.store.snapshot().studies[0].last_received_at,
        )
    before = {one.state for one in read_status(settings).snapshot.studies}
    with NodeService(settings, processor=QuickProcessor()) as node:
        wait_for(lambda: set(states(node).values()) == {"done"}, "both results")

    assert before == {"failed", "processing"}
