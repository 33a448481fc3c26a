"""The per-image stages of a build on a Ray cluster of two workers."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import ray

from tests.builders.tiny_builds import SETTINGS, contents, sources
from tests.builders.tiny_dataset import READER
from training.build.execute import Execution, run_stage
from training.build.pipeline import build
from training.readers import READERS

pytestmark = [
    pytest.mark.slow,
    # Ray leaves sockets and warns of its own environment.
    pytest.mark.filterwarnings("ignore"),
]


@pytest.fixture(scope="module")
def cluster() -> Iterator[None]:
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    ray.init(
        address="local",
        _node_ip_address="127.0.0.1",
        num_cpus=2,
        object_store_memory=80_000_000,
        include_dashboard=False,
        log_to_driver=False,
        configure_logging=False,
    )
    yield
    ray.shutdown()


def _meet(folder: Path) -> None:
    """Leave a note of this process, and wait for that of another one."""
    (folder / str(os.getpid())).touch()
    end = time.monotonic() + 120
    while len(list(folder.iterdir())) < 2 and time.monotonic() < end:
        time.sleep(0.05)


@pytest.mark.usefixtures("cluster")
def test_stages_run_in_the_processes_of_the_cluster(tmp_path: Path) -> None:
    run_stage(
        _meet,
        [tmp_path] * 6,
        execution=Execution(ray=True),
        title="meet",
        progress=False,
    )

    processes = {path.name for path in tmp_path.iterdir()}
    assert len(processes) >= 2
    assert str(os.getpid()) not in processes


@pytest.mark.usefixtures("cluster")
def test_two_workers_on_ray_write_the_same_bytes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(READERS, "tiny", READER)
    data = sources(tmp_path / "data")
    build(data, tmp_path / "one", settings=SETTINGS, progress=False)

    build(
        data,
        tmp_path / "ray",
        settings=SETTINGS,
        execution=Execution(ray=True),
        progress=False,
    )

    assert contents(tmp_path / "ray") == contents(tmp_path / "one")
