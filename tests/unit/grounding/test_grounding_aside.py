from __future__ import annotations

import threading
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from dicom_node import child_process
from dicom_node.child_process import _Patience
from dicom_node.config import Engine, ModelSettings
from dicom_node.errors import WorkerLostError
from dicom_node.grounding import GroundingWorker
from dicom_node.imaging import find_series
from tests.builders.dicom_series import make_ct_series, make_dx_image

STUB = Engine("tests.builders.stub_model:load", "tests.builders.stub_model:bundled")
LONG = ["above 600", *["sleep 0.1"] * 8]


class Turns:
    """Progress that remembers what it was told, and tells when work has begun."""

    def __init__(self) -> None:
        self.turns: list[bool] = []
        self.has_begun = threading.Event()

    def __call__(self, _done: int, _total: int, /) -> None:
        self.has_begun.set()

    def turn(self, has_turn: bool) -> None:
        self.turns.append(has_turn)


@pytest.fixture
def worker(monkeypatch, tmp_path):
    monkeypatch.setenv("PYTHONPATH", str(Path.cwd()))
    settings = ModelSettings(engine="stub", device="cpu", checkpoint=tmp_path)
    with GroundingWorker(settings, engines={"stub": STUB}) as started:
        yield started


@pytest.fixture
def large(tmp_path):
    made = make_ct_series(tmp_path / "ct", slices=12, rows=16, columns=20)
    (series,), _ = find_series(made.instances)
    return series, made.voxels.astype(np.float32)


@pytest.fixture
def small(tmp_path):
    (series,), _ = find_series(make_dx_image(tmp_path / "dx").instances)
    shape = (1, series.rows, series.columns)
    return series, np.arange(np.prod(shape), dtype=np.float32).reshape(shape)


def begin(worker, pool, large, prompts=LONG):
    told = Turns()
    future: Future = pool.submit(worker.ground, *large, prompts, progress=told)
    assert told.has_begun.wait(60)
    return future, told


def assert_equal(found, expected):
    for mine, theirs in zip(found, expected, strict=True):
        assert (mine.score, mine.boxes) == (theirs.score, theirs.boxes)
        np.testing.assert_array_equal(mine.mask, theirs.mask)


def test_a_small_series_passes_a_large_one_and_both_get_what_they_get_alone(
    worker, large, small
):
    alone = worker.ground(*small, ["above 9"])
    with ThreadPoolExecutor(1) as pool:
        under_way, told = begin(worker, pool, large)

        found = worker.ground(*small, ["above 9"])

        assert not under_way.done()
        assert_equal(found, alone)
        assert_equal(under_way.result(), worker.ground(*large, LONG))
    assert told.turns == [False, True]


def test_a_small_series_that_ends_the_process_harms_itself_alone(worker, large, small):
    with ThreadPoolExecutor(1) as pool:
        under_way, _ = begin(worker, pool, large)

        with pytest.raises(WorkerLostError):
            worker.ground(*small, ["die"])

        # Its next tries waited for the large one, which was begun anew.
        assert under_way.done()
        assert under_way.result()[0].is_present
    assert worker._losses[large[0].series_instance_uid] == 0


def test_who_finds_no_memory_beside_another_is_answered_behind_it(worker, large, small):
    with ThreadPoolExecutor(1) as pool:
        under_way, told = begin(worker, pool, large)

        (found,) = worker.ground(*small, ["alone"])

        assert found.computed_on == "cpu"  # with nothing less than usual
        under_way.result()
    assert told.turns == [False, True]


def test_a_stop_ends_both(worker, large, small):
    with ThreadPoolExecutor(2) as pool:
        under_way, _ = begin(worker, pool, large)
        told = Turns()
        passing = pool.submit(worker.ground, *small, LONG, progress=told)
        assert told.has_begun.wait(60)

        worker.stop()

        for one in (under_way, passing):
            with pytest.raises(WorkerLostError):
                one.result(timeout=60)
    assert worker.pid is None


def test_time_that_another_takes_does_not_count(monkeypatch):
    now = 0.0
    monkeypatch.setattr(child_process.time, "monotonic", lambda: now)
    patience = _Patience(10.0, has_turn=True)

    now = 4.0
    patience.note(has_turn=False)
    now = 13.0
    assert patience.left_s == pytest.approx(6.0)  # 10 s and 5 more to wait, 9 gone
    patience.note(has_turn=True)
    now = 15.0

    assert patience.left_s == pytest.approx(4.0)
