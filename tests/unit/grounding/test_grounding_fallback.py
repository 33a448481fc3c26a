"""What a model does that runs out of memory, loses its device or answers nonsense."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from pydantic import ValidationError
from structlog.testing import capture_logs

from dicom_node.config import Engine, ModelSettings
from dicom_node.errors import GroundingError, ModelLoadError, WorkerLostError
from dicom_node.grounding.worker import GroundingWorker
from dicom_node.imaging import find_series
from dicom_node.regions import check_answer
from tests.builders.dicom_series import make_ct_series

STUB = Engine("tests.builders.stub_model:load", "tests.builders.stub_model:bundled")
REFUSING = Engine("tests.builders.stub_model:refuse", STUB.bundled)


@pytest.fixture
def make_worker(monkeypatch, tmp_path):
    monkeypatch.setenv("PYTHONPATH", str(Path.cwd()))
    (tmp_path / "checkpoint").mkdir()
    workers = []

    def make(device="cuda:7", attempts=3, engine="stub", **values):
        settings = ModelSettings(
            engine=engine, device=device, checkpoint=tmp_path / "checkpoint", **values
        )
        fallbacks = []
        worker = GroundingWorker(
            settings,
            engines={"stub": STUB, "refuses": REFUSING},
            attempts=attempts,
            on_fallback=fallbacks.append,
            scratch_dir=tmp_path,
        )
        workers.append(worker)
        return worker, fallbacks

    yield make
    for worker in workers:
        worker.stop()


@pytest.fixture
def ct(tmp_path):
    made = make_ct_series(tmp_path / "ct", slices=6, rows=16, columns=20)
    (series,), _ = find_series(made.instances)
    return series, made.voxels.astype(np.float32)


@pytest.mark.parametrize(
    ("fits", "computed_on", "fallbacks"),
    [
        ("cuda:7/4", "cuda:7", []),
        ("cuda:7/2", "cuda:7, 2 at once", ["smaller_batch"]),
        ("cuda:7/1", "cuda:7, 1 at once", ["smaller_batch"]),
        ("cpu/1", "cpu, 1 at once", ["smaller_batch", "cpu"]),
    ],
)
def test_a_model_without_memory_takes_less_at_once_and_then_the_cpu(
    make_worker, ct, fits, computed_on, fallbacks
):
    worker, told = make_worker()

    with capture_logs() as logs:
        (found,) = worker.ground(*ct, [f"fits {fits}"])
    (after,) = worker.ground(*ct, ["above 600"])

    assert found.computed_on == computed_on
    assert told == fallbacks
    assert [one["to"] for one in logs if "to" in one] == fallbacks
    assert "Doe" not in str(logs)
    assert after.computed_on == "cuda:7"


def test_an_arithmetic_that_is_refused_is_told_and_float32_answers(make_worker, ct):
    worker, told = make_worker(engine="refuses", precision="bfloat16", compiled=True)

    with capture_logs() as logs:
        (found,) = worker.ground(*ct, ["above 600"])

    assert found.computed_on == "cuda:7"
    assert told == ["float32"]
    (fell,) = [one for one in logs if one["event"] == "model_fell_back"]
    assert fell["to"] == "float32"
    assert "otherwise" in fell["reason"]


def test_results_name_the_arithmetic_that_they_came_from(make_worker, ct):
    worker, told = make_worker(engine="refuses", precision="bfloat16")

    (found,) = worker.ground(*ct, ["above 600"])
    (on_cpu,) = worker.ground(*ct, ["fits cpu/1"])

    assert found.computed_on == "cuda:7, bfloat16"
    assert on_cpu.computed_on == "cpu, 1 at once"
    assert told == ["smaller_batch", "cpu"]


def test_another_arithmetic_is_for_the_model_that_can_be_judged():
    with pytest.raises(ValidationError, match="medglip's alone"):
        ModelSettings(engine="sam3", precision="bfloat16")


def test_a_model_that_fits_nowhere_says_so_and_its_process_stays(make_worker, ct):
    worker, _ = make_worker()
    assert worker.identity.name == "stub"
    pid = worker.pid

    with pytest.raises(GroundingError, match=r"more memory than there is \(cpu, 1"):
        worker.ground(*ct, ["fits nowhere/1"])

    assert worker.pid == pid


def test_a_device_that_fails_is_tried_twice_in_new_processes_and_then_the_cpu(
    make_worker, ct
):
    worker, told = make_worker()
    assert worker.identity.name == "stub"
    pid = worker.pid

    (found,) = worker.ground(*ct, ["device-fails"])

    assert found.computed_on == "cpu, 1 at once"
    assert told == ["smaller_batch", "cpu"]
    assert worker.pid != pid


def test_a_caller_that_asks_once_at_a_time_gets_the_same_three_tries(make_worker, ct):
    worker, _ = make_worker(attempts=1)

    for _ in range(2):
        with pytest.raises(WorkerLostError, match="the device cuda:7 failed"):
            worker.ground(*ct, ["device-fails"])

    assert worker.ground(*ct, ["device-fails"])[0].computed_on == "cpu, 1 at once"


@pytest.mark.parametrize(
    "kind", ["nan", "infinite", "share", "box", "flat", "outside", "origin"]
)
def test_an_answer_that_is_none_is_refused(make_worker, ct, kind):
    worker, _ = make_worker("cpu")

    def ask():
        (answer,) = worker.ground(*ct, [f"answer {kind}"])
        check_answer(ct[0], answer)

    with pytest.raises(GroundingError):
        ask()


def test_another_checkpoint_is_not_taken_while_the_node_runs(make_worker, ct, tmp_path):
    worker, _ = make_worker("cpu")
    assert worker.identity.sha256 == "0" * 64
    (tmp_path / "checkpoint" / "sha256").write_text("1" * 64)
    worker.ground(*ct, ["above 600"])
    os.kill(worker.pid, 9)

    with pytest.raises(ModelLoadError, match="replaced while the node runs"):
        worker.ground(*ct, ["above 600"])

    assert not worker.is_ready


def test_only_the_pinned_model_is_loaded(make_worker):
    pinned, _ = make_worker("cpu", sha256="0" * 64)
    other, _ = make_worker("cpu", sha256="1" * 64)

    assert pinned.identity.name == "stub"
    with pytest.raises(ModelLoadError, match="not the one that model"):
        _ = other.identity


def test_pixels_are_handed_over_without_a_name(make_worker, ct, tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", "/nowhere")
    worker, _ = make_worker("cpu")
    seen = []

    worker.ground(
        *ct, ["above 600"], progress=lambda *_: seen.append(sorted(tmp_path.iterdir()))
    )

    assert seen == [[tmp_path / "checkpoint", tmp_path / "ct"]]
