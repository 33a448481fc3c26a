"""The thread that hears of jobs goes on, and its end is told."""

from __future__ import annotations

import threading
from pathlib import Path
from types import SimpleNamespace

import pytest

from dicom_node.config import NodeSettings
from dicom_node.jobs import JobProcessor, processor
from tests.builders.process import wait_until


class Listener:
    """Hears nothing, and fails the first time."""

    def __init__(self) -> None:
        self.waits = 0

    def wait(self, seconds: float) -> bool:
        self.waits += 1
        if self.waits == 1:
            raise MemoryError
        threading.Event().wait(seconds)
        return False

    def close(self) -> None:
        pass


def test_who_hears_of_jobs_goes_on_after_an_error_and_its_end_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    listener = Listener()
    monkeypatch.setattr(processor, "_HEAR_S", 0.02)
    monkeypatch.setattr(
        processor, "JobListener", SimpleNamespace(of=lambda *_a, **_k: listener)
    )
    jobs = SimpleNamespace(requests=list, forget=tuple)
    local = SimpleNamespace(
        start=lambda: None, stop=lambda: None, dead_threads=lambda: ["warm-up"]
    )
    one = JobProcessor(
        NodeSettings.model_validate({"node": {"data_dir": tmp_path}}),
        SimpleNamespace(jobs=jobs, check_claim=lambda: None),  # type: ignore[arg-type]
        area=SimpleNamespace(  # type: ignore[arg-type]
            listed=list, unneeded=lambda *_a, **_k: [], forget=lambda *_a, **_k: None
        ),
        local=local,  # type: ignore[arg-type]
    )
    assert one.dead_threads() == ["warm-up"]

    one.start()
    try:
        wait_until(lambda: listener.waits > 2, timeout_s=30, what="another look")
        assert one.dead_threads() == ["warm-up"]
    finally:
        one.stop()

    assert one.dead_threads() == ["warm-up", "jobs"]
