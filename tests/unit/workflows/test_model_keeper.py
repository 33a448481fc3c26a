"""The model is loaded in the background, again when it is lost, and trouble is told."""

from __future__ import annotations

import errno
import json
import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from dicom_node.commands.study_files import gather_studies
from dicom_node.config import Engine, ModelSettings, NodeSettings
from dicom_node.errors import WorkerLostError
from dicom_node.grounding.grounder import ModelIdentity
from dicom_node.grounding.worker import GroundingWorker
from dicom_node.imaging import find_series
from dicom_node.workflows import PipelineProcessor, pipeline_processor
from tests.builders.dicom_series import make_ct_series
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
    processor = PipelineProcessor(NodeSettings(), make_grounder=lambda _model: worker)
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


def test_the_end_of_the_thread_that_keeps_the_model_is_told(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    processor = PipelineProcessor(
        NodeSettings(), make_grounder=lambda _model: LosingGrounder()
    )
    assert processor.dead_threads() == []
    monkeypatch.setattr(processor, "_keep_loaded", lambda: None)

    processor.start()

    join_all("warm-up")
    assert processor.dead_threads() == ["warm-up"]


def test_who_decodes_is_started_when_a_study_is_on_its_way_and_ends_with_the_node(
    tmp_path: Path,
) -> None:
    made = make_ct_series(tmp_path / "study", slices=2)
    (series,), _ = find_series(made.instances)
    processor = PipelineProcessor(NodeSettings(node={"data_dir": tmp_path}))

    processor.expect()
    wait_until(
        lambda: processor._reader is not None and processor._reader.pids,
        timeout_s=30,
        what="the processes",
    )
    reader = processor._reader
    assert reader is not None
    wait_until(
        lambda: len(reader.pids) == len(reader._all), timeout_s=30, what="all of them"
    )
    started = set(reader.pids)
    reader.read(series)
    processor.expect()
    join_all("warm-up-rooms")
    assert set(reader.pids) == started
    processor.stop()
    processor.expect()
    join_all("warm-up-rooms")
    assert reader.pids == ()


def join_all(name: str) -> None:
    for thread in threading.enumerate():
        if thread.name == name:
            thread.join()


class LosingGrounder:
    """A model whose process ends over every series."""

    identity = ModelIdentity("losing", "1", "0" * 64)

    def ground(self, *_arguments: object, **_options: object) -> tuple[()]:
        raise WorkerLostError("the model's process ended")


def test_a_study_that_ends_the_model_each_time_is_told_as_not_processed(
    tmp_path: Path,
) -> None:
    make_ct_series(tmp_path / "in", slices=2)
    ready = gather_studies([tmp_path / "in"]).studies[0]
    processor = PipelineProcessor(
        NodeSettings(), make_grounder=lambda _model: LosingGrounder()
    )
    out_dir = tmp_path / "out"
    out_dir.mkdir()

    for _ in range(2):
        with pytest.raises(WorkerLostError):
            processor.process(ready, out_dir=out_dir, predecessors=())
    objects = processor.process(ready, out_dir=out_dir, predecessors=())
    processor.stop()

    document = json.loads((out_dir / "result.json").read_text())
    assert [one["reason"] for one in document["not_processed"]] == [
        "the model's process ended"
    ]
    assert [one.path.name for one in objects] == ["sr.dcm"]


def test_a_study_whose_model_ends_with_the_node_is_no_result(tmp_path: Path) -> None:
    make_ct_series(tmp_path / "in", slices=2)
    ready = gather_studies([tmp_path / "in"]).studies[0]
    out_dir = tmp_path / "out"
    out_dir.mkdir()

    class EndingGrounder(LosingGrounder):
        def ground(self, *_arguments: object, **_options: object) -> tuple[()]:
            processor.stop()
            raise WorkerLostError("the node is stopping")

    processor = PipelineProcessor(
        NodeSettings(), make_grounder=lambda _model: EndingGrounder()
    )

    with pytest.raises(WorkerLostError, match="stopping"):
        processor.process(ready, out_dir=out_dir, predecessors=(), may_retry=False)


def test_a_model_that_the_system_refuses_a_process_is_loaded_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    load = GroundingWorker.load
    tries: list[bool] = []

    def refused_once(worker: GroundingWorker) -> ModelIdentity:
        tries.append(True)
        if len(tries) == 1:
            raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
        return load(worker)

    monkeypatch.setattr(GroundingWorker, "load", refused_once)
    with capture_logs() as logs, keeping(tmp_path, monkeypatch) as (processor, _):
        wait_until(lambda: len(tries) > 1, timeout_s=30, what="another try")
        wait_for_model(processor)

    (told,) = (one for one in logs if one["event"] == "model_not_loaded")
    assert (told["error"], told["reason"]) == ("OSError", os.strerror(errno.EMFILE))
