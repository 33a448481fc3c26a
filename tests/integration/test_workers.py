"""Studies are processed by workers as they would be here, whoever of them is lost."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian
from sqlalchemy import text

from dicom_node.config import DicomPeer, load_settings
from dicom_node.deliver import send_objects
from dicom_node.jobs import JobProcessor
from dicom_node.service import NodeService
from dicom_node.store import Store
from tests.builders.hosts import GATEWAY, separate_hosts
from tests.builders.job_worker import start_worker
from tests.builders.postgres import PostgresCluster, postgres_cluster
from tests.builders.process import Program, free_port, wait_until
from tests.builders.s3 import s3_server
from tests.builders.study_processor import QuickProcessor

pytestmark = pytest.mark.peers

LEASE_S = 1.0


@pytest.fixture(scope="module")
def cluster() -> Iterator[PostgresCluster]:
    with postgres_cluster() as running:
        yield running


@pytest.fixture(autouse=True, scope="module")
def short_waits() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("dicom_node.assembly._SETTLE", timedelta(seconds=0.2))
        patch.setattr("dicom_node.service.work._STOP_GRACE_S", 0)
        patch.setattr("dicom_node.workflows.workflows.POLLING_S", 0.05)
        yield


def write_settings(folder: Path, url: str, *, files_url: str = "") -> Path:
    """Write the settings of a node, or of a worker with a data folder of its own."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "node.toml"
    path.write_text(
        "[node]\n"
        f"port = 0\nquiet_time_s = 0.2\ndatabase_url = {json.dumps(url)}\n"
        f"data_dir = {json.dumps(str(folder / 'data'))}\n"
        "[web]\nport = 0\n[limits]\nmin_free_bytes = 0\n"
        f"[workers]\nenabled = true\nlease_s = {LEASE_S}\n"
        f"files_url = {json.dumps(files_url)}\n"
    )
    return path


@contextmanager
def running(config: Path) -> Iterator[NodeService]:
    with NodeService(load_settings(config, {}), processor=QuickProcessor()) as node:
        yield node


def send(node: NodeService, folder: Path, *studies: int) -> None:
    send_studies("127.0.0.1", node.port, folder, *studies)


def send_studies(host: str, port: int, folder: Path, *studies: int) -> None:
    paths = []
    for study in studies:
        ds = Dataset()
        ds.SOPClassUID = CTImageStorage
        ds.SOPInstanceUID = f"1.2.{study}.1"
        ds.StudyInstanceUID = f"1.2.{study}"
        ds.SeriesInstanceUID = f"1.2.{study}.2"
        ds.Modality = "CT"
        ds.PatientName = "ZZCANARY^PATIENT"
        ds.file_meta = FileMetaDataset()
        ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        paths.append(folder / f"{study}.dcm")
        ds.save_as(paths[-1], enforce_file_format=True)
    peer = DicomPeer(name="node", ae_title="GROUNDING", host=host, port=port)
    outcomes = send_objects(paths, peer, ae_title="PACS")
    assert all(one.is_delivered for one in outcomes), outcomes


def wait_for_done(node: NodeService, count: int, *workers: Program) -> None:
    wait_until(
        lambda: node.store.counts().studies.get("done", 0) == count,
        timeout_s=60,
        what=lambda: "\n".join(
            [str(node.store.counts()), *(one.tail() for one in workers)]
        ),
        interval_s=0.05,
    )


def job_rows(node: NodeService) -> list[Any]:
    with node.store._database.read() as connection:
        return list(connection.execute(text("SELECT * FROM jobs ORDER BY created_at")))


def wait_for_runner(node: NodeService, *workers: Program) -> Any:
    wait_until(
        lambda: any(one.state == "running" for one in job_rows(node)),
        timeout_s=60,
        what=lambda: "\n".join(["a job to run", *(one.tail() for one in workers)]),
        interval_s=0.02,
    )
    return next(one for one in job_rows(node) if one.state == "running")


def worker_of(row: Any) -> str:
    """Return the process id of who does a job."""
    return str(row.worker).rpartition(":")[2]


@pytest.mark.slow
def test_a_worker_that_is_killed_paused_or_ended_costs_no_study_and_none_is_done_twice(
    tmp_path: Path, cluster: PostgresCluster
) -> None:
    config = write_settings(tmp_path, cluster.new_database())
    logs = [tmp_path / f"worker-{number}.log" for number in range(3)]
    with ExitStack() as stack:

        def start(log: Path) -> Program:
            return stack.enter_context(start_worker(config, log, delay_s=0.6))

        with running(config) as node:
            assert node.examine().problems["model"].endswith("(dicom-node work)")
            workers = {str(one.process.pid): one for one in map(start, logs[:2])}
            send(node, tmp_path, 0, 1)
            # One is killed in mid-job: another does it.
            killed = workers.pop(worker_of(wait_for_runner(node, *workers.values())))
            killed.process.kill()
            wait_for_done(node, 2, *workers.values())
            # One is stopped, and goes on when another has done its job.
            (other,) = workers.values()
            send(node, tmp_path, 2)
            assert worker_of(wait_for_runner(node, other)) == str(other.process.pid)
            os.kill(other.process.pid, signal.SIGSTOP)
            third = start(logs[2])
            wait_for_done(node, 3, third)
            os.kill(other.process.pid, signal.SIGCONT)
            wait_until(
                lambda: "job_lost" in other.tail(), timeout_s=30, what=other.tail
            )
            # One is told to end: it gives its job back, and another has it at once.
            workers = {str(one.process.pid): one for one in (other, third)}
            send(node, tmp_path, 3)
            ending = workers.pop(worker_of(wait_for_runner(node, *workers.values())))
            assert ending.stop() == 0
            (left,) = workers.values()
            again = wait_for_runner(node, left)
            assert (worker_of(again), again.losses) == (str(left.process.pid), 0)
        # The node ends meanwhile, and takes up what the job has become.
        with running(config) as node:
            wait_for_done(node, 4, left)
            assert node.store.jobs.workers() == ("quick-1",)
            with node.store._database.read() as connection:
                made = connection.execute(
                    text("SELECT version_id, count(*) FROM results GROUP BY version_id")
                ).all()
            processor = node._work.processor
            assert isinstance(processor, JobProcessor)
            processor.tidy()
            assert job_rows(node) == []

    assert sorted(made) == [(1, 2), (2, 2), (3, 2), (4, 2)]
    assert not list((tmp_path / "data" / "jobs").glob("*"))
    told = "".join(one.read_text() for one in logs)
    assert told.count('"event": "job_done"') == 4
    assert "ZZCANARY" not in told


@pytest.mark.slow
def test_a_worker_on_another_host_shares_database_and_object_store_and_nothing_else(
    tmp_path: Path,
) -> None:
    places = [tmp_path / one for one in ("node", "worker-1", "worker-2")]
    for one in places:
        one.mkdir()
    with (
        separate_hosts() as hosts,
        postgres_cluster(address=GATEWAY, network=f"{GATEWAY}/24") as cluster,
        s3_server(tmp_path / "s3.log", host=GATEWAY) as files,
        ExitStack() as stack,
    ):
        here = cluster.new_database()
        there = here.replace("127.0.0.1", GATEWAY)
        starts = [
            hosts.add(hidden=[one for one in places if one != own]) for own in places
        ]
        port = free_port()
        config = write_settings(places[0], there, files_url=files.url)
        text_of = config.read_text().replace(
            "port = 0", f'host = "0.0.0.0"\nport = {port}', 1
        )
        config.write_text(
            f'{text_of}[[callers]]\nae_title = "PACS"\naddress = "{GATEWAY}"\n'
        )
        node = stack.enter_context(
            Program(
                [*starts[0], sys.executable, "-m", "tests.builders.quick_node", config],
                log_path=tmp_path / "node.log",
                environment=files.environment,
            )
        )
        node.wait_for_port(port, host=hosts.addresses[0])
        workers = [
            stack.enter_context(
                start_worker(
                    write_settings(place, there, files_url=files.url),
                    tmp_path / f"{place.name}.log",
                    delay_s=0.3,
                    prefix=start,
                    environment=files.environment,
                )
            )
            for place, start in zip(places[1:], starts[1:], strict=True)
        ]
        with Store(here) as store:
            wait_until(
                lambda: len(store.jobs.workers()) == 2,
                timeout_s=60,
                what=lambda: "\n".join(one.tail() for one in workers),
            )
            send_studies(hosts.addresses[0], port, tmp_path, *range(4))
            wait_until(
                lambda: store.counts().studies.get("done", 0) == 4,
                timeout_s=60,
                what=lambda: "\n".join(one.tail() for one in (node, *workers)),
            )
        reaches = f"import socket; socket.create_connection(('{{}}', {port}), 2)"
        tried = [
            subprocess.run(
                [*starts[1], sys.executable, "-c", reaches.format(address)],
                capture_output=True,
                check=False,
            ).returncode
            for address in hosts.addresses[:1]
        ]
        seen = subprocess.run(
            [*starts[1], "ls", places[0]], capture_output=True, check=True
        ).stdout
        assert [one.stop() for one in (*workers, node)] == [0, 0, 0]

    assert tried == [1]
    assert seen == b""
    assert len(list((places[0] / "data" / "results").rglob("*.dcm"))) == 8
    did = [one.log_path.read_text().count('"event": "job_done"') for one in workers]
    assert sum(did) == 4
    assert min(did) > 0
    told = "".join(one.read_text() for one in tmp_path.glob("*.log"))
    assert "ZZCANARY" not in told
