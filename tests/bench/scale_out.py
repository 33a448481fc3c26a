"""What more worker processes bring, and what it costs that a worker does it.

The node's side runs in this process and asks for eight studies at once, as it does from
its queue; the workers are processes of their own, on one PostgreSQL. How many of them
work is changed between runs by stopping the others while they are idle.
"""

from __future__ import annotations

import json
import os
import secrets
import signal
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from itertools import count
from pathlib import Path

import numpy as np
import psycopg
from prometheus_client import CollectorRegistry
from sqlalchemy import select

from dicom_node.audit import Counters
from dicom_node.config import NodeSettings, load_settings
from dicom_node.header import read_header
from dicom_node.instance_file import instance_sha256
from dicom_node.jobs import JobProcessor, open_area
from dicom_node.records import Report as StudyReport
from dicom_node.records import ReportStatus, StudyReady
from dicom_node.service.rooms import make_processor
from dicom_node.store import Store
from dicom_node.store.schema import jobs, versions
from dicom_node.workflows import StudyProcessor
from tests.bench.interleave import Measured, interleave
from tests.bench.report import Case, Goal, Report, Scale, Tell
from tests.builders.dicom_series import make_ct_series
from tests.builders.job_worker import QuickRunner, start_worker
from tests.builders.postgres import PostgresCluster, postgres_cluster
from tests.builders.process import Program, wait_until
from tests.builders.s3 import S3Server, s3_server
from tests.builders.stores import NOON, received

__all__ = ["run"]

_AT_ONCE = 8
_WAIT_S = 0.5
_NODE, _SHARED, _FOLDER, _S3 = (
    "in the node",
    "a worker, shared folder",
    "a worker, file://",
    "a worker, s3://",
)
_REPORT = "FINDINGS: The liver is enlarged. No pleural effusion."

_numbers = count(1)


@dataclass(frozen=True)
class _Site:
    """A node's side, and the workers that it has."""

    store: Store
    node: JobProcessor
    settings: NodeSettings
    workers: tuple[Program, ...]

    def make_study(self, *, slices: int, rows: int) -> StudyReady:
        """Write a study that was never seen, and open a version of it."""
        number = next(_numbers)
        uid = f"2.25.{secrets.randbits(64)}"
        noise = np.random.default_rng(number).integers(
            -900, 900, (slices, rows, rows), dtype=np.int16
        )
        series = make_ct_series(
            self.settings.node.data_dir.resolve() / "instances" / str(number),
            study_uid=uid,
            voxels=noise,
        )
        self.store.record_instance(
            received(number, study_instance_uid=uid, sop_instance_uid=f"{uid}.1")
        )
        study_id = self.store.study_id(uid)
        key = self.store.open_version(study_id, now=NOON, version_of=lambda _: uid)
        assert key is not None
        return StudyReady(
            uid,
            uid,
            tuple(
                replace(one, sha256=instance_sha256(one.path, read_header(one.path)))
                for one in series.instances
            ),
            reports=(StudyReport(_REPORT, "hl7:1", status=ReportStatus.FINAL),),
        )

    def process(self, ready: StudyReady) -> int:
        """Have a study processed; return how many objects it became."""
        folder = self.settings.node.data_dir / "processing" / ready.content_version
        folder.mkdir(parents=True)
        return len(self.node.process(ready, out_dir=folder, predecessors=()))

    def forget(self) -> None:
        """Let all studies be done with, so that the next run begins with nothing."""
        with self.store._database.write() as connection:
            connection.execute(versions.update().values(state="done"))
        self.node.tidy()

    def seconds(self, ready: StudyReady) -> dict[str, float]:
        """Return what the worker says of the last job for a study."""
        with self.store._database.read() as connection:
            result = connection.scalar(
                select(jobs.c.result).where(
                    jobs.c.content_version == ready.content_version
                )
            )
        return dict(result["seconds"])


def run(scale: Scale, work: Path, tell: Tell) -> Report:
    """Measure workers that wait, workers that think, and what a job costs."""
    is_full = scale is Scale.FULL
    with postgres_cluster() as cluster, s3_server(work / "s3.log") as files:
        cases = [
            _race(cluster, work / "wait", tell, is_full=is_full, studies=16, repeats=3),
            _cost(cluster, files, work / "cost", tell, is_full=is_full),
        ]
        if is_full:
            cases.insert(
                1,
                _race(
                    cluster, work / "model", tell, is_full=True, studies=6, repeats=3
                ),
            )
    return Report(
        cases=tuple(cases),
        notes=(
            f"This machine has {len(os.sched_getaffinity(0))} cores, shared by all of "
            "it: sender, database, node and workers. Work that only waits shows what "
            "the queue can do; work of the model is limited by the cores, which one "
            "worker's threads fill already.",
            "Each study is new, so that no image is in any cache; the images are "
            "brought within the clock. A running node brings them while a study waits "
            "for its turn.",
            "The object store is moto's server, a test double in Python on the same "
            "cores: its milliseconds are an upper bound.",
        ),
        versions={"psycopg": psycopg.__version__},
    )


def _race(
    cluster: PostgresCluster,
    work: Path,
    tell: Tell,
    *,
    is_full: bool,
    studies: int,
    repeats: int,
) -> Case:
    has_model = work.name == "model"
    sizes = {"slices": 8, "rows": 128} if has_model else {"slices": 1, "rows": 16}
    counts = (1, 2, 4) if is_full else (1, 2)
    studies = studies if is_full else 4
    with _site(
        work,
        cluster.new_database(),
        workers=max(counts),
        delay_s=None if has_model else _WAIT_S,
    ) as site:

        def contender(working: int) -> Callable[[], Measured]:
            def process() -> Measured:
                asked = [site.make_study(**sizes) for _ in range(studies)]
                for number, one in enumerate(site.workers):
                    number_of = signal.SIGCONT if number < working else signal.SIGSTOP
                    one.process.send_signal(number_of)
                began = time.perf_counter()
                with ThreadPoolExecutor(_AT_ONCE) as pool:
                    made = list(pool.map(site.process, asked))
                seconds = time.perf_counter() - began
                assert all(made)
                site.forget()
                return seconds, {"studies/min": 60 * studies / seconds}

            return process

        contenders = {_named(one): contender(one) for one in counts}
        contenders[_named(counts[-1])]()  # pools, lazy imports, the models' first run
        title = (
            f"{studies} CT of 8 slices, the model on the CPU"
            if has_model
            else f"{studies} studies that each take {_WAIT_S:g} s and no CPU"
        )
        goals = (Goal("4 workers", "1 worker", 3.0),)
        if has_model or not is_full:
            goals = ()
        return interleave(
            title,
            contenders,
            base="1 worker",
            repeats=repeats if is_full else 1,
            tell=tell,
            goals=goals,
        )


def _cost(
    cluster: PostgresCluster,
    files: S3Server,
    work: Path,
    tell: Tell,
    *,
    is_full: bool,
) -> Case:
    slices, rows = (30, 512) if is_full else (2, 16)
    places = {_SHARED: "", _FOLDER: f"file://{work}/files", _S3: files.url}
    if not is_full:
        del places[_FOLDER]
    with ExitStack() as stack:
        sites = {
            name: stack.enter_context(
                _site(
                    work / str(number),
                    cluster.new_database(),
                    workers=1,
                    delay_s=0.0,
                    files_url=url,
                    environment=files.environment,
                )
            )
            for number, (name, url) in enumerate(places.items())
        }

        def local() -> Measured:
            site = sites[_SHARED]
            ready = site.make_study(slices=slices, rows=rows)
            folder = work / f"local-{next(_numbers)}"
            folder.mkdir()
            began = time.perf_counter()
            made = QuickRunner(objects=2).process(
                ready, out_dir=folder, predecessors=()
            )
            seconds = time.perf_counter() - began
            assert len(made) == 2
            site.forget()
            return seconds, {}

        def by_worker(site: _Site) -> Callable[[], Measured]:
            def process() -> Measured:
                ready = site.make_study(slices=slices, rows=rows)
                began = time.perf_counter()
                site.node._area.offer(ready.instances)
                offered = time.perf_counter() - began
                assert site.process(ready) == 2
                seconds = time.perf_counter() - began
                told = site.seconds(ready)
                site.forget()
                return seconds, {
                    "upload ms": 1e3 * offered,
                    "fetch ms": 1e3 * told["fetch"],
                    "process ms": 1e3 * told["process"],
                    "leave ms": 1e3 * told["leave"],
                }

            return process

        contenders: dict[str, Callable[[], Measured]] = {_NODE: local}
        contenders |= {name: by_worker(site) for name, site in sites.items()}
        for one in contenders.values():
            one()
        return interleave(
            f"what a job costs: {slices} images of {rows} x {rows} that are only read",
            contenders,
            base=_NODE,
            repeats=7 if is_full else 1,
            tell=tell,
        )


def _named(workers: int) -> str:
    return "1 worker" if workers == 1 else f"{workers} workers"


@contextmanager
def _site(
    folder: Path,
    url: str,
    *,
    workers: int,
    delay_s: float | None,
    files_url: str = "",
    environment: dict[str, str] | None = None,
) -> Iterator[_Site]:
    """Run a node's side and workers; with the model where there is no delay."""
    config = _write_settings(folder / "node.toml", folder / "data", url, files_url)
    settings = load_settings(config, {})
    own = [config] * workers
    if files_url:
        own = [
            _write_settings(folder / f"{n}.toml", folder / str(n), url, files_url)
            for n in range(workers)
        ]
    local: StudyProcessor = (
        make_processor(settings, Counters(CollectorRegistry()))
        if delay_s is None
        else QuickRunner()
    )
    with ExitStack() as stack:
        for name, value in (environment or {}).items():
            os.environ[name] = value
        store = stack.enter_context(Store(url))
        store.migrate()
        running = tuple(
            stack.enter_context(
                _start(one, folder / f"worker-{n}.log", delay_s, environment or {})
            )
            for n, one in enumerate(own)
        )
        area = open_area(settings.workers, data_dir=settings.node.data_dir)
        node = JobProcessor(settings, store, area=area, local=local)
        node.start()
        stack.callback(node.stop)
        stack.callback(_let_go, running)
        wait_until(
            lambda: len(store.jobs.workers()) == workers and node.trouble is None,
            timeout_s=300,
            what=lambda: "\n".join(one.tail() for one in running),
        )
        yield _Site(store, node, settings, running)


def _let_go(workers: Sequence[Program]) -> None:
    for one in workers:
        one.process.send_signal(signal.SIGCONT)


def _start(
    config: Path, log_path: Path, delay_s: float | None, environment: dict[str, str]
) -> Program:
    if delay_s is not None:
        return start_worker(config, log_path, delay_s=delay_s, environment=environment)
    return Program(
        [sys.executable, "-m", "dicom_node", "work", "--config", config],
        log_path=log_path,
        cwd=Path(__file__).parents[2],
    )


def _write_settings(path: Path, data_dir: Path, url: str, files_url: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(
        f"[node]\ndatabase_url = {json.dumps(url)}\n"
        f"data_dir = {json.dumps(str(data_dir))}\n"
        '[model]\ndevice = "cpu"\n'
        f"[workers]\nenabled = true\nfiles_url = {json.dumps(files_url)}\n",
        encoding="utf-8",
    )
    return path
