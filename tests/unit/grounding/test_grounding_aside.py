from __future__ import annotations

import threading
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from dicom_node.child import process as child_process
from dicom_node.child.process import _Patience
from dicom_node.config import Engine, ModelSettings
from dicom_node.errors import WorkerLostError
from dicom_node.grounding.worker import GroundingWorker
from dicom_node.imaging import find_series
from tests.builders.dicom_series import make_ct_series, make_dx_image
from tests.builders.process import wait_until

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
    assert told.turns == [True, False, True]


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
    assert told.turns == [True, False, True]


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


@pytest.fixture
def saving(monkeypatch):
    """Hold a large series on its way to the process until `go` is set."""
    held, go = threading.Event(), threading.Event()
    save = np.save

    def slow_save(file, pixels):
        if len(pixels) > 8:
            held.set()
            assert go.wait(60)
        save(file, pixels)

    monkeypatch.setattr("dicom_node.grounding.worker.np.save", slow_save)
    return held, go


def test_who_was_not_begun_is_not_blamed_for_the_one_that_passed_it(
    monkeypatch, tmp_path, large, small, saving
):
    monkeypatch.setenv("PYTHONPATH", str(Path.cwd()))
    settings = ModelSettings(engine="stub", device="cpu", checkpoint=tmp_path)
    held, go = saving
    with (
        GroundingWorker(settings, engines={"stub": STUB}, attempts=1) as worker,
        ThreadPoolExecutor(2) as pool,
    ):
        worker.load()
        first = pool.submit(worker.ground, *large, ["above 600"])
        assert held.wait(60)
        lost = pool.submit(worker.ground, *small, ["sleep 0.5", "die"])
        wait_until(lambda: worker._turns._aside.locked(), timeout_s=60, what="a pass")
        go.set()

        (found,) = first.result(60)
        assert isinstance(lost.exception(60), WorkerLostError)

    assert found.is_present
    assert not worker._losses[large[0].series_instance_uid]


def test_who_was_not_begun_is_not_timed_out_for_the_one_that_passed_it(
    monkeypatch, tmp_path, large, small, saving
):
    monkeypatch.setenv("PYTHONPATH", str(Path.cwd()))
    settings = ModelSettings(
        engine="stub", device="cpu", checkpoint=tmp_path, timeout_s=2
    )
    held, go = saving
    with (
        GroundingWorker(settings, engines={"stub": STUB}, attempts=1) as worker,
        ThreadPoolExecutor(2) as pool,
    ):
        worker.load()
        first = pool.submit(worker.ground, *large, ["sleep 1"])
        assert held.wait(60)
        aside = pool.submit(worker.ground, *small, ["sleep 1.4"])
        wait_until(lambda: worker._turns._aside.locked(), timeout_s=60, what="a pass")
        go.set()

        assert len(aside.result(60)) == len(first.result(60)) == 1


def test_a_stop_does_not_wait_for_what_is_still_on_its_way(worker, large, saving):
    held, go = saving
    worker.load()
    with ThreadPoolExecutor(2) as pool:
        under_way = pool.submit(worker.ground, *large, ["sleep 300"])
        assert held.wait(60)
        stopping = pool.submit(worker.stop)
        wait_until(lambda: worker._is_stopping, timeout_s=60, what="the stop")
        go.set()

        stopping.result(60)
        with pytest.raises(WorkerLostError, match="stopping"):
            under_way.result(60)
    assert worker.pid is None
