from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from itertools import product
from pathlib import Path

import numpy as np
import pytest

from dicom_node.config import Engine, ModelSettings
from dicom_node.errors import (
    GroundingError,
    ModelLoadError,
    SettingsError,
    WorkerLostError,
)
from dicom_node.grounding.grounder import ModelIdentity, boxes_around
from dicom_node.grounding.worker import GroundingWorker
from dicom_node.imaging import find_series
from dicom_node.records import BoundingBox
from tests.builders.dicom_series import make_ct_series, make_dx_image

STUB = Engine("tests.builders.stub_model:load", "tests.builders.stub_model:bundled")
BROKEN = Engine("tests.builders.no_such_module:load", STUB.bundled)
DYING = Engine("tests.builders.stub_model:die_once_per_file", STUB.bundled)
ENGINES = {"stub": STUB, "broken": BROKEN, "dies": DYING}
PLANES = [
    *(((s, 0, 0), (0, t, 0)) for s, t in product((1.0, -1.0), repeat=2)),
    ((1, 0, 0), (0, 0, -1)),
    ((0, 1, 0), (0, 0, -1)),
    ((0, 0, 1), (-1, 0, 0)),
]


@pytest.fixture
def make_worker(monkeypatch, tmp_path):
    monkeypatch.setenv("PYTHONPATH", str(Path.cwd()))
    checkpoint = tmp_path / "checkpoint"
    checkpoint.mkdir()
    workers = []

    def make(**values):
        chosen = {"engine": "stub", "device": "cpu", "checkpoint": checkpoint, **values}
        worker = GroundingWorker(ModelSettings(**chosen), engines=ENGINES)
        workers.append(worker)
        return worker

    yield make
    for worker in workers:
        worker.stop()


@pytest.fixture
def ct(tmp_path):
    made = make_ct_series(tmp_path / "ct", slices=6, rows=16, columns=20)
    (series,), _ = find_series(made.instances)
    return series, made.voxels.astype(np.float32)


def test_the_model_tells_who_it_is(make_worker):
    worker = make_worker(device="cuda:7")

    assert worker.identity == ModelIdentity("stub", "cuda:7", "0" * 64)
    assert worker.is_ready


def test_the_bundled_checkpoint_is_used_when_none_is_named(make_worker):
    assert make_worker(checkpoint=None).identity.name == "stub"


def test_a_name_that_is_no_engine_is_refused_with_those_that_are():
    with pytest.raises(SettingsError, match=r"'gpt' is none of: grounded-gen"):
        GroundingWorker(ModelSettings(engine="gpt"))


@pytest.mark.parametrize(
    "values", [{"checkpoint": Path("/nowhere")}, {"engine": "broken"}]
)
def test_a_model_that_cannot_be_loaded_says_why(make_worker, values):
    worker = make_worker(**values)

    with pytest.raises(ModelLoadError, match=r"/nowhere is no folder|no_such_module"):
        _ = worker.identity
    assert not worker.is_ready


def test_a_process_that_is_lost_while_it_loads_is_replaced_once(make_worker, tmp_path):
    worker = make_worker(engine="dies", checkpoint=tmp_path)
    for name in ("first", "second"):
        (tmp_path / name).touch()

    with pytest.raises(ModelLoadError, match="SIGKILL"):
        _ = worker.identity
    (tmp_path / "third").touch()

    assert worker.identity.name == "stub"


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("plane", PLANES)
def test_findings_lie_in_the_grid_of_the_series(
    shared_worker, tmp_path, plane, reverse
):
    made = make_ct_series(
        tmp_path, slices=6, rows=9, columns=11, orientation=plane, reverse=reverse
    )
    (series,), _ = find_series(made.instances)
    truth = made.voxels > 250

    pixels = made.voxels.astype(np.float32)

    (found,) = shared_worker.ground(series, pixels, ["above 250"])
    (asked,) = shared_worker.ground(
        series, pixels, ["above 250"], with_probabilities=True
    )

    assert found.is_present
    assert found.probability is None
    restored = np.zeros_like(truth)
    block = tuple(
        slice(start, start + size)
        for start, size in zip(found.mask_origin, found.mask.shape, strict=True)
    )
    restored[block] = found.mask
    np.testing.assert_array_equal(restored, truth)
    boxes = boxes_around(truth, (0, 0, 0), score=0.75)
    assert found.boxes == boxes
    assert np.array_equal(asked.probability, made.voxels[block] % 256)
    assert (asked.mask_origin, asked.boxes) == (found.mask_origin, found.boxes)


@pytest.fixture(scope="module")
def shared_worker():
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(Path.cwd()))
        settings = ModelSettings(engine="stub", device="cpu")
        with GroundingWorker(settings, engines=ENGINES) as worker:
            assert worker.identity.name == "stub"
            yield worker


def test_nothing_found_is_an_empty_mask(shared_worker, ct):
    (found,) = shared_worker.ground(*ct, ["above 9999"])

    assert not found.is_present
    assert (found.mask.size, found.boxes, found.score) == (0, (), 0.1)


def test_answers_come_in_the_order_of_the_prompts_with_progress(shared_worker, ct):
    told = []

    found = shared_worker.ground(
        *ct,
        ["above 600", "above 9999", "above 0"],
        progress=lambda *step: told.append(step),
    )

    assert [one.prompt for one in found] == ["above 600", "above 9999", "above 0"]
    assert [one.is_present for one in found] == [True, False, True]
    assert told == [(1, 3), (2, 3), (3, 3)]


def test_no_prompts_need_no_model(make_worker, ct):
    worker = make_worker()

    assert worker.ground(*ct, []) == ()
    assert not worker.is_ready


def test_the_model_is_told_what_the_series_is(make_worker, tmp_path, ct):
    worker = make_worker()
    made = make_dx_image(tmp_path)
    (radiograph,), _ = find_series(made.instances)
    described = tmp_path / "checkpoint" / "described"

    worker.ground(*ct, ["describe"])
    volume = described.read_text()
    worker.ground(radiograph, made.voxels.astype(np.float32), ["describe"])
    image = described.read_text()

    assert volume == "CT ABDOMEN True (5.0, 0.8, 0.7) (6, 16, 20) float32"
    assert image == "DX CHEST False (1.0, 0.15, 0.15) (1, 64, 48) float32"


def test_pixels_of_another_size_are_refused(shared_worker, ct):
    series, pixels = ct

    with pytest.raises(GroundingError, match="shape"):
        shared_worker.ground(series, pixels[1:], ["above 600"])


def test_a_worker_that_dies_once_is_replaced_and_the_request_answered(make_worker, ct):
    worker = make_worker()
    worker.identity  # noqa: B018 - loads
    pid = worker.pid

    (found,) = worker.ground(*ct, ["die-once"])

    assert not found.is_present
    assert worker.pid != pid


def test_a_worker_that_dies_over_and_over_is_given_up(make_worker, ct):
    worker = make_worker()

    with pytest.raises(WorkerLostError, match="SIGKILL"):
        worker.ground(*ct, ["die"])

    assert worker.ground(*ct, ["above 600"])[0].is_present


def test_an_idle_worker_that_was_killed_is_replaced(make_worker, ct):
    worker = make_worker()
    assert worker.identity.name == "stub"
    os.kill(worker.pid, signal.SIGKILL)

    assert worker.ground(*ct, ["above 600"])[0].is_present


def test_grounding_that_takes_too_long_is_given_up(make_worker, ct):
    worker = make_worker(timeout_s=0.2)

    with pytest.raises(GroundingError, match=r"more than 0\.2 s"):
        worker.ground(*ct, ["sleep 60"])


def test_a_model_that_needs_too_much_memory_fails_and_the_worker_stays(make_worker, ct):
    worker = make_worker(memory_limit_mb=1024)
    assert worker.identity.name == "stub"
    pid = worker.pid

    with pytest.raises(GroundingError, match="more memory than there is"):
        worker.ground(*ct, ["allocate 2000"])

    assert worker.pid == pid
    assert worker.ground(*ct, ["above 600"])[0].is_present


def test_what_the_model_says_when_it_fails_stays_in_its_process(shared_worker, ct):
    with pytest.raises(GroundingError) as failed:
        shared_worker.ground(*ct, ["fail Doe^Jane"])

    assert "Doe" not in str(failed.value)
    assert "RuntimeError (stub_model.py:" in str(failed.value)


def test_requests_of_many_threads_are_answered_one_at_a_time(shared_worker, ct):
    found = {}

    def ask(threshold):
        found[threshold] = shared_worker.ground(*ct, [f"above {threshold}"])[0]

    threads = [threading.Thread(target=ask, args=(level,)) for level in (0, 250, 600)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    sizes = [int(found[level].mask.sum()) for level in (0, 250, 600)]
    assert sizes == [int((ct[1] > level).sum()) for level in (0, 250, 600)]


def test_stopping_ends_a_request_at_once(make_worker, ct):
    worker = make_worker()
    assert worker.identity.name == "stub"
    timer = threading.Timer(0.3, worker.stop)
    timer.start()
    begun = time.monotonic()

    with pytest.raises(WorkerLostError):
        worker.ground(*ct, ["sleep 60"])

    timer.join()
    assert time.monotonic() - begun < 20
    assert worker.pid is None


def test_boxes_surround_each_piece_on_each_frame():
    mask = np.zeros((2, 4, 6), bool)
    mask[0, 0, 0] = mask[0, 2:4, 3:6] = mask[1, 1, 1] = True

    boxes = boxes_around(mask, (5, 10, 20), score=0.5)

    assert boxes == (
        BoundingBox(5, (20, 10, 21, 11), 0.5),
        BoundingBox(5, (23, 12, 26, 14), 0.5),
        BoundingBox(6, (21, 11, 22, 12), 0.5),
    )


def test_the_parent_imports_neither_torch_nor_the_model():
    script = (
        "import sys, dicom_node.grounding.worker\n"
        "import dicom_node.imaging, dicom_node.regions\n"
        "print(sorted({'torch', 'model', 'transformers'} & set(sys.modules)))"
    )

    answer = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )

    assert answer.stdout.strip() == "[]"
