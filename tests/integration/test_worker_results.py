"""What a worker makes is what the node would have made, byte by byte."""

from __future__ import annotations

import errno
import re
import shutil
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import httpx
import pytest

from dicom_node.config import NodeSettings
from dicom_node.errors import (
    FileAreaError,
    JobFailedError,
    ObjectError,
    WorkerLostError,
)
from dicom_node.header import read_header
from dicom_node.instance_file import instance_sha256
from dicom_node.jobs import JobProcessor, Worker, open_area
from dicom_node.jobs.worker_door import WorkerDoor
from dicom_node.records import (
    ObjectReference,
    PriorStudy,
    Report,
    ReportStatus,
    ResultObject,
    StudyReady,
)
from dicom_node.stages import STAGES_JSON
from dicom_node.store import Store
from dicom_node.store.job_claims import JobClaims
from dicom_node.store.jobs import Job
from dicom_node.workflows import PipelineProcessor
from tests.builders.corner_grounder import BrightestBox
from tests.builders.dicom_series import make_ct_series
from tests.builders.postgres import PostgresCluster, postgres_cluster
from tests.builders.process import wait_until
from tests.builders.s3 import S3Server, s3_server
from tests.builders.stores import NOON, received
from tests.builders.study_processor import QuickProcessor

pytestmark = pytest.mark.peers

BEFORE = (ObjectReference("1.2.840.10008.5.1.4.1.1.66.4", "2.25.1", "2.25.2", "1.2"),)


@pytest.fixture(scope="module")
def cluster() -> Iterator[PostgresCluster]:
    with postgres_cluster() as running:
        yield running


@pytest.fixture(scope="module")
def store_of_files(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    with (
        s3_server(tmp_path_factory.mktemp("s3") / "s3.log") as running,
        pytest.MonkeyPatch.context() as patch,
    ):
        for name, value in running.environment.items():
            patch.setenv(name, value)
        yield running


@pytest.fixture(params=["shared", "folder", "s3"])
def files_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "s3":
        running: S3Server = request.getfixturevalue("store_of_files")
        return running.url
    return "" if request.param == "shared" else f"file://{tmp_path}/files"


def make_settings(folder: Path, url: str, files_url: str) -> NodeSettings:
    return NodeSettings.model_validate(
        {
            "node": {"data_dir": folder, "database_url": url},
            "workers": {"enabled": True, "files_url": files_url, "lease_s": 5},
            "destinations": [
                {"name": "a", "kind": "folder", "folder": folder, "profile": one}
                for one in ("ohif",)
            ],
        }
    )


@contextmanager
def working(
    settings: NodeSettings, runner: PipelineProcessor | QuickProcessor, folder: Path
) -> Iterator[Worker]:
    """Have a worker in a thread, with a folder of its own."""
    folder.mkdir()
    claims = JobClaims(settings.database_url, "thread", lease_s=5)
    worker = Worker(
        claims,
        open_area(
            settings.workers,
            data_dir=settings.node.data_dir,
            cache_dir=folder / "images",
        ),
        runner,  # type: ignore[arg-type] - a QuickProcessor is made to fit by a test
        models=(None,),
        lease_s=5,
        folder=folder,
    )
    thread = threading.Thread(target=worker.run)
    thread.start()
    try:
        yield worker
    finally:
        worker.stop()
        thread.join()
        claims.close()


def tree(folder: Path) -> dict[str, bytes]:
    return {
        one.relative_to(folder).as_posix(): one.read_bytes()
        for one in folder.rglob("*")
        if one.is_file() and one.name != STAGES_JSON
    }


@dataclass(frozen=True)
class Expected:
    """A study, and what the node itself makes of it."""

    data_dir: Path
    ready: StudyReady
    fingerprint: str
    objects: tuple[ResultObject, ...]
    files: dict[str, bytes]


def make_pipeline(settings: NodeSettings) -> PipelineProcessor:
    return PipelineProcessor(settings, make_grounder=lambda _model: BrightestBox())


@pytest.fixture(scope="module")
def expected(tmp_path_factory: pytest.TempPathFactory) -> Expected:
    folder = tmp_path_factory.mktemp("local")
    data_dir = folder / "data"
    series = make_ct_series(data_dir / "spool", slices=4, rows=24, columns=20)
    document = make_ct_series(data_dir / "prior", slices=1).instances[0]
    ready = StudyReady(
        series.study_instance_uid,
        "v1",
        tuple(
            replace(one, sha256=instance_sha256(one.path, read_header(one.path)))
            for one in series.instances
        ),
        reports=(
            Report(
                "FINDINGS: The liver is enlarged. No pleural effusion.",
                "hl7:1",
                status=ReportStatus.FINAL,
                lasting_name="ORU^1",
            ),
        ),
        # Its image is not a report, so nobody reads it and nothing brings it.
        priors=(PriorStudy("1.2.9", "20250101", (), (document,)),),
    )
    processor = make_pipeline(make_settings(data_dir, "postgresql://x/y", ""))
    (folder / "out").mkdir()
    try:
        made = processor.process(ready, out_dir=folder / "out", predecessors=BEFORE)
        fingerprint = processor.fingerprint()
    finally:
        processor.stop()
    return Expected(data_dir, ready, fingerprint, tuple(made), tree(folder / "out"))


@contextmanager
def asking(
    settings: NodeSettings, local: PipelineProcessor | QuickProcessor, *, study: str
) -> Iterator[tuple[JobProcessor, Store]]:
    """Have a node's processor, and version ``v1`` of a study that waits for it."""
    with Store(settings.database_url) as store:
        store.migrate()
        store.record_instance(received(study_instance_uid=study))
        assert store.open_version(1, now=NOON, version_of=lambda _: "v1")
        area = open_area(settings.workers, data_dir=settings.node.data_dir)
        processor = JobProcessor(settings, store, area=area, local=local)
        processor.start()
        try:
            yield processor, store
        finally:
            processor.stop()


def test_a_worker_makes_the_same_bytes_wherever_the_files_are(
    tmp_path: Path,
    cluster: PostgresCluster,
    expected: Expected,
    files_url: str,
    request: pytest.FixtureRequest,
) -> None:
    url = cluster.new_database()
    settings = make_settings(expected.data_dir, url, files_url)
    out_dir = tmp_path / "out"
    out_dir.mkdir()
    apart = settings.node.model_copy(update={"data_dir": tmp_path / "own"})
    runner = make_pipeline(settings.model_copy(update={"node": apart}))
    local = make_pipeline(settings)
    uid = expected.ready.study_instance_uid
    with (
        asking(settings, local, study=uid) as (node, store),
        working(settings, runner, tmp_path / "worker") as worker,
    ):
        assert node.fingerprint() == expected.fingerprint
        made = node.process(expected.ready, out_dir=out_dir, predecessors=BEFORE)
        made_again = node.process(expected.ready, out_dir=out_dir, predecessors=BEFORE)
        cached = [one.name for one in (tmp_path / "worker").glob("images/*")]
        left = list((tmp_path / "worker").iterdir())
        store.work.fail_version(1, run=1, reason="", now=NOON)
        node.tidy()

    assert tree(out_dir) == expected.files
    for ours in (made, made_again):
        assert [replace(one, path=one.path.name) for one in ours] == [  # type: ignore[arg-type]
            replace(one, path=one.path.name)  # type: ignore[arg-type]
            for one in expected.objects
        ]
    assert worker.done["done"] == 1
    if files_url:
        images = sorted(one.sha256 for one in expected.ready.instances)
        assert sorted(cached) == images
        assert [one.name for one in left] == ["images"]
    # Nothing is left, and nothing was ever named after a patient, a study or a file.
    assert not [*(expected.data_dir / "jobs").glob("*")]
    if files_url.startswith("file"):
        assert not [one for one in (tmp_path / "files").rglob("*") if one.is_file()]
    if files_url.startswith("s3"):
        running: S3Server = request.getfixturevalue("store_of_files")
        assert running.keys() == []
        asked = running.log_path.read_text()
        assert f"/node/images/{images[0][:2]}/{images[0]}" in asked
        assert expected.ready.study_instance_uid not in asked
        assert not re.search(r"\.(dcm|json)", asked)


class Runner(QuickProcessor):
    """Does what the test says, study after study."""

    def __init__(self) -> None:
        super().__init__()
        self.failures: list[Exception | None] = []
        self.asked: list[bool | None] = []

    def process(self, ready: StudyReady, **asked: Any) -> Sequence[ResultObject]:
        del asked["profiles"]
        self.asked.append(asked.pop("may_retry"))
        self.failure = self.failures.pop(0) if self.failures else None
        return super().process(ready, **asked)


def test_what_fails_with_a_worker_fails_here_in_the_same_way(
    tmp_path: Path, cluster: PostgresCluster, expected: Expected
) -> None:
    settings = make_settings(
        expected.data_dir, cluster.new_database(), f"file://{tmp_path}/files"
    )
    runner = Runner()
    ready = expected.ready
    first, uid = ready.instances[0], ready.study_instance_uid
    out_dir = tmp_path / "out"
    out_dir.mkdir()

    def process() -> Sequence[ResultObject]:
        return node.process(ready, out_dir=out_dir, predecessors=())

    with (
        asking(settings, QuickProcessor(), study=uid) as (
            node,
            store,
        ),
        working(settings, runner, tmp_path / "worker"),
    ):
        runner.failures = [
            ObjectError("an object breaks a rule"),
            KeyError("ZZCANARY"),
            OSError(errno.ENOSPC, "no room"),
            *[WorkerLostError("the model was lost")] * 2,
        ]
        with pytest.raises(ObjectError, match="breaks a rule"):
            process()
        with pytest.raises(JobFailedError, match=r"^KeyError$"):
            process()
        with pytest.raises(OSError, match="on a worker") as full:
            process()
        for _ in range(2):
            with pytest.raises(WorkerLostError):
                process()
        # A model that was lost twice is not asked to be tried again.
        assert process()
        assert runner.asked == [True] * 5 + [False]
        # What is in the place for files is not what it was: it is brought anew.
        (kept,) = (tmp_path / "files").rglob(first.sha256)
        shutil.rmtree(tmp_path / "worker" / "images")
        (tmp_path / "worker" / "images").mkdir()
        kept.write_bytes(bytes(kept.stat().st_size))
        runner.failures = []
        ready = replace(ready, content_version="v2", reports=())
        there = set((tmp_path / "files" / "images").rglob("*/*"))
        with pytest.raises(FileAreaError, match="not an instance"):
            process()
        left = set((tmp_path / "files" / "images").rglob("*/*"))
        assert there - left == {kept}
        assert len(process()) == 1
        # So are results, of a version that is still waited for.
        ready = expected.ready
        assert len(process()) == 1
        for one in (tmp_path / "files" / "results").rglob("*"):
            if one.is_file():
                one.write_bytes(b"?")
        assert len(process()) == 1
        assert len(runner.processed) == 9
        store.work.fail_version(1, run=1, reason="", now=NOON)
        left = [one.name for one in (tmp_path / "files").rglob("*") if one.is_file()]
        assert len(left) > len(ready.instances)
        node.tidy()
        assert node.sweep() == 0
        left = [one.name for one in (tmp_path / "files").rglob("*") if one.is_file()]
        assert left == []
        counts = store.jobs.counts()

    assert full.value.errno == errno.ENOSPC
    assert counts["failed"] == counts["open"] == counts["running"] == 0


def test_a_worker_without_the_nodes_model_leaves_its_jobs_and_both_say_so(
    tmp_path: Path, cluster: PostgresCluster, expected: Expected
) -> None:
    settings = make_settings(expected.data_dir, cluster.new_database(), "")
    local = QuickProcessor("quick-2")
    with asking(settings, local, study="1.2.3") as (node, store):
        assert node.trouble == "no worker is connected (dicom-node work)"
        with working(settings, Runner(), tmp_path / "worker") as worker:
            job = Job("1" * 64, "quick-2", "1.2.3", "v1", {})
            store.jobs.open(job)
            wait_until(
                lambda: worker.trouble is not None and "another" in worker.trouble,
                timeout_s=20,
                what="the worker's word",
            )
            node._looked = (-60.0, None)
            assert node.trouble == "all workers have another version, model or settings"
            local.name = "quick-1"
            node._looked = (-60.0, None)
            assert node.trouble is None
            with WorkerDoor(worker, ("127.0.0.1", 0)) as door:
                at = f"http://127.0.0.1:{door.port}"
                ready = httpx.get(f"{at}/health/ready")
                alive = httpx.get(f"{at}/health/live")
                numbers = httpx.get(f"{at}/metrics").text
                nothing = httpx.get(f"{at}/jobs")
        metrics = {one.name: one for one in node.collect()}

    answers = (ready, alive, nothing)
    assert [one.status_code for one in answers] == [503, 200, 404]
    assert ready.json()["reasons"] == {
        "worker": "jobs wait that need another version, model or settings"
    }
    assert 'dicom_node_worker_jobs_total{outcome="done"} 0.0' in numbers
    states = metrics["dicom_node_jobs"].samples
    assert {one.labels["state"]: one.value for one in states}["open"] == 1
