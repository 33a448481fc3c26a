"""The model is loaded in the background, again when it is lost, and trouble is told."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from dicom_node.config import Engine, ModelSettings, NodeSettings
from dicom_node.grounding import GroundingWorker
from dicom_node.workflows import PipelineProcessor, pipeline_processor
from tests.builders.process import wait_until

STUB = Engine("tests.builders.stub_model:load", "tests.builders.stub_model:bundled")


@contextmanager
def keeping(
    checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[tuple[PipelineProcessor, GroundingWorker]]:
    monkeypatch.setenv("PYTHONPATH", str(Path.cwd()))
    monkeypatch.setattr(pipeline_processor, "_LOOK_S", 0.05)
    monkeypatch.setattr(pipeline_processor, "delivery_delay_s", lambda _number: 0.05)
    settings = ModelSettings(engine="stub", device="cpu", checkpoint=checkpoint)
    worker = GroundingWorker(settings, engines={"stub": STUB})
    processor = PipelineProcessor(NodeSettings(), make_grounder=lambda: worker)
    processor.start()
    try:
        yield processor, worker
    finally:
        processor.stop()


def wait_for_model(processor: PipelineProcessor) -> None:
    wait_until(
        lambda: processor.trouble is None,
        timeout_s=30,
        what="the model",
        interval_s=0.02,
    )


def test_a_model_that_cannot_be_loaded_is_told_and_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "checkpoint"
    with capture_logs() as logs, keeping(folder, monkeypatch) as (processor, _):
        wait_until(
            lambda: "is no folder" in (processor.trouble or ""),
            timeout_s=30,
            what="the reason",
            interval_s=0.02,
        )
        folder.mkdir()
        wait_for_model(processor)

    told = [one for one in logs if one["event"] == "model_not_loaded"]
    assert told[0]["error"] == "ModelLoadError"
    assert "is no folder" in told[0]["reason"]


def test_a_model_that_is_lost_is_loaded_again_without_any_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with keeping(tmp_path, monkeypatch) as (processor, worker):
        wait_for_model(processor)
        first = worker.pid
        assert first is not None
        os.kill(first, signal.SIGKILL)
        wait_until(
            lambda: worker.pid not in {None, first},
            timeout_s=30,
            what="another process",
            interval_s=0.02,
        )
        wait_for_model(processor)

    assert worker.pid is None
