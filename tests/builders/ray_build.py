"""Build tiny datasets on a Ray cluster of two workers: a program of its own.

Ray leaves threads, sockets and child processes behind in the process that starts it;
they must not be those of a test run.
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

import ray

from tests.builders.tiny_builds import SETTINGS, sources
from tests.builders.tiny_dataset import READER
from training.build.execute import Execution, run_stage
from training.build.pipeline import build
from training.readers import READERS


def meet(folder: Path) -> None:
    """Leave a note of this process, and wait for that of another one."""
    (folder / str(os.getpid())).touch()
    end = time.monotonic() + 120
    while len(list(folder.iterdir())) < 2 and time.monotonic() < end:
        time.sleep(0.05)


def main(data: Path, out: Path, meeting: Path) -> None:
    """Run a stage that needs two processes, then a whole build."""
    READERS["tiny"] = READER
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    ray.init(
        address="local",
        _node_ip_address="127.0.0.1",
        num_cpus=2,
        object_store_memory=80_000_000,
        include_dashboard=False,
        log_to_driver=False,
    )
    on_ray = Execution(ray=True)
    run_stage(meet, [meeting] * 6, execution=on_ray, title="meet", progress=False)
    build(sources(data), out, settings=SETTINGS, execution=on_ray, progress=False)
    ray.shutdown()


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
