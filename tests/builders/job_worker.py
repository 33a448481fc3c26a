"""Run a real worker, but with a processor that is quick: `job_worker.py SETTINGS`.

``QUICK_DELAY_S`` says how long a study takes, ``QUICK_LISTEN`` a port for its health.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from dicom_node.config import load_settings
from dicom_node.jobs import run_worker
from dicom_node.records import ObjectReference, ResultObject, StudyReady
from tests.builders.process import Program
from tests.builders.study_processor import QuickProcessor

__all__ = ["QuickRunner", "start_worker"]


class QuickRunner(QuickProcessor):
    """A `QuickProcessor` that takes what a job says beside the study."""

    def process(
        self,
        ready: StudyReady,
        *,
        out_dir: Path,
        predecessors: tuple[ObjectReference, ...],
        model: str | None = None,
        profiles: Sequence[str] | None = None,
        may_retry: bool | None = None,
    ) -> Sequence[ResultObject]:
        for one in ready.instances:
            one.path.read_bytes()
        return super().process(
            ready, out_dir=out_dir, predecessors=predecessors, model=model
        )


def start_worker(
    config: Path,
    log_path: Path,
    *,
    delay_s: float = 0.0,
    prefix: Sequence[str] = (),
    environment: Mapping[str, str] | None = None,
) -> Program:
    """Start a worker; `prefix` is a program that starts it."""
    return Program(
        [*prefix, sys.executable, "-m", "tests.builders.job_worker", config],
        log_path=log_path,
        environment={
            "QUICK_DELAY_S": str(delay_s),
            "TMPDIR": str(log_path.parent),
            **(environment or {}),
        },
        cwd=Path(__file__).parents[2],
    )


if __name__ == "__main__":
    port = os.environ.get("QUICK_LISTEN")
    run_worker(
        load_settings(Path(sys.argv[1]), {}),
        listen=None if port is None else ("127.0.0.1", int(port)),
        runner=QuickRunner(
            os.environ.get("QUICK_FINGERPRINT", "quick-1"),
            delay_s=float(os.environ.get("QUICK_DELAY_S", "0")),
            objects=2,
        ),
    )
