"""A worker goes on after errors that nobody expected, or says that it cannot."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest

from dicom_node.jobs import worker as worker_module
from dicom_node.jobs.worker import Worker


class BrokenLibrary:
    """Fails as a library does that has a fault; works when it is mended."""

    trouble = None

    def __init__(self) -> None:
        self.is_mended = False
        self.asked = threading.Semaphore(0)

    def fingerprint(self, _model: str | None) -> str:
        self.asked.release()
        if not self.is_mended:
            raise RuntimeError("ZZCANARY")
        return "f" * 64

    def stop(self) -> None:
        pass


class BrokenClaims:
    """Fails at each claim."""

    url = None

    def __init__(self) -> None:
        self.asked = threading.Semaphore(0)

    def claim(self, _fingerprints: Any) -> None:
        self.asked.release()
        raise RuntimeError("ZZCANARY")


class Listener:
    """Hears something all the time."""

    def __init__(self, *_: Any, **__: Any) -> None:
        pass

    def wait(self, _seconds: float) -> bool:
        return True

    def close(self) -> None:
        pass


def test_a_worker_survives_what_nobody_expected(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(worker_module, "_AGAIN_S", 0.01)
    monkeypatch.setattr(worker_module, "JobListener", Listener)
    claims, library = BrokenClaims(), BrokenLibrary()
    worker = Worker(
        claims,  # type: ignore[arg-type]
        None,  # type: ignore[arg-type]
        library,  # type: ignore[arg-type]
        models=(None,),
        lease_s=1,
        folder=tmp_path,
    )
    thread = threading.Thread(target=worker.run)
    thread.start()
    try:
        for _ in range(2):
            assert library.asked.acquire(timeout=20)
        assert worker.trouble == "RuntimeError"
        library.is_mended = True
        for _ in range(2):
            assert claims.asked.acquire(timeout=20)
        assert thread.is_alive()
    finally:
        worker.stop()
        thread.join()
    assert "ZZCANARY" not in capsys.readouterr().out
