from __future__ import annotations

import io
import json
import logging
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import pydicom
import pytest
import structlog
from dbos import DBOS
from prometheus_client.parser import text_string_to_metric_families
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian
from rich.console import Console

from dicom_node.audit import configure_logging
from dicom_node.commands.status import read_status, requeue_study, status_tables
from dicom_node.config import (
    DestinationSettings,
    DicomPeer,
    NodeSettings,
    RetentionSettings,
)
from dicom_node.deliver import send_objects
from dicom_node.errors import ObjectError, SettingsError, StoreError
from dicom_node.service import NodeService
from dicom_node.store import Store
from dicom_node.store.outbox import Parcel
from dicom_node.store.parcels import OutboxStore
from dicom_node.workflows import Workflows
from tests.builders.archive import Archive
from tests.builders.postgres import postgres_cluster
from tests.builders.process import Program, free_port, wait_until
from tests.builders.study_processor import QuickProcessor

QUIET_S = 0.3
"""Also how long the tests let a study settle: the clock's rules have tests of their
own, here every study would wait a second for nothing."""


def make_settings(
    folder: Path, *destinations: DestinationSettings, **node: Any
) -> NodeSettings:
    return NodeSettings.model_validate(
        {
            "node": {
                "port": 0,
                "data_dir": folder / "data",
                "quiet_time_s": QUIET_S,
                **node,
            },
            "web": {"port": 0},
            "limits": {"min_free_bytes": 0},
            "destinations": [one.model_dump() for one in destinations],
        }
    )


@pytest.fixture(autouse=True)
def node_log() -> Iterator[io.StringIO]:
    """Write the node's log as `dicom-node serve` does, to where a test can read it."""
    root = logging.getLogger()
    before = list(root.handlers), root.level
    stream = io.StringIO()
    configure_logging(stream=stream, as_json=True)
    yield stream
    structlog.reset_defaults()
    root.handlers, root.level = before


@pytest.fixture(autouse=True, scope="module")
def short_waits() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("dicom_node.assembly._SETTLE", timedelta(seconds=QUIET_S))
        patch.setattr("dicom_node.service.work._STOP_GRACE_S", 1)
        patch.setattr("dicom_node.workflows.workflows.POLLING_S", 0.05)
        yield


@contextmanager
def running(
    settings: NodeSettings, processor: QuickProcessor | None = None
) -> Iterator[NodeService]:
    with NodeService(settings, processor=processor or QuickProcessor()) as node:
        yield node


def write_ct(
    folder: Path, number: int, *, study: str = "1.2.3", note: str = ""
) -> Path:
    ds = Dataset()
    ds.SOPClassUID = CTImageStorage
    ds.SOPInstanceUID = f"{study}.1.{number}"
    ds.StudyInstanceUID = study
    ds.SeriesInstanceUID = f"{study}.1"
    ds.Modality = "CT"
    ds.PatientName = "ZZCANARY^PATIENT"
    ds.PatientID = "ZZCANARY-ID"
    ds.SeriesDescription = note
    ds.file_meta = FileMetaDataset()
    ds.file_meta.MediaStorageSOPClassUID = CTImageStorage
    ds.file_meta.MediaStorageSOPInstanceUID = ds.SOPInstanceUID
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{study}-{number}{note}.dcm"
    ds.save_as(path, enforce_file_format=True)
    return path


def send(node: NodeService, *paths: Path) -> None:
    address = DicomPeer(
        name="node", ae_title="GROUNDING", host="127.0.0.1", port=node.port
    )
    outcomes = send_objects(paths, address, ae_title="PACS")
    assert all(one.is_delivered for one in outcomes), outcomes


def wait_for(is_true: Callable[[], bool], what: str, timeout_s: float = 30.0) -> None:
    wait_until(is_true, timeout_s=timeout_s, what=what, interval_s=0.05)


def metrics(node: NodeService) -> dict[tuple[str, tuple[str, ...]], float]:
    text = httpx.get(f"http://127.0.0.1:{node.web_port}/metrics").text
    return {
        (sample.name, tuple(sorted(sample.labels.values()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def test_a_study_goes_in_and_its_results_come_back(tmp_path: Path) -> None:
    processor = QuickProcessor(objects=2)
    with (
        Archive() as pacs,
        running(make_settings(tmp_path, pacs.destination), processor) as node,
    ):
        send(node, *(write_ct(tmp_path, number) for number in range(3)))
        wait_for(lambda: len(pacs.arrivals) == 2, "both results")
        wait_for(
            lambda: node.store.counts().deliveries == {("pacs", "delivered"): 2},
            "the rows of both",
        )
        time.sleep(2 * QUIET_S)

        assert {study for study, _, _ in pacs.arrivals} == {"1.2.3"}
        assert len(set(pacs.uids)) == len(pacs.uids) == 2
        assert [len(one.instances) for one in processor.processed] == [3]
        assert not list((tmp_path / "data" / "processing").iterdir())
        numbers = metrics(node)
    assert numbers["dicom_node_studies", ("done",)] == 1
    assert numbers["dicom_node_instances_received_total", ("new",)] == 3
    assert numbers["dicom_node_deliveries", ("delivered", "pacs")] == 2
    assert numbers["dicom_node_deliveries", ("dead", "pacs")] == 0
    assert numbers["dicom_node_associations_total", ("accepted",)] == 1
    assert numbers["dicom_node_queue_depth", ()] == 0
    assert numbers["dicom_node_model_loaded", ()] == 1
    assert numbers["dicom_node_disk_free_bytes", ()] > 0


def test_a_late_image_makes_a_version_and_a_result_that_comes_back_does_not(
    tmp_path: Path,
) -> None:
    own = Dataset()
    own.ManufacturerModelName = "dicom-grounding-node"
    purpose = Dataset()
    purpose.CodeValue, purpose.CodingSchemeDesignator = "109102", "DCM"
    purpose.CodeMeaning = "Processing Equipment"
    own.PurposeOfReferenceCodeSequence = [purpose]
    result = write_ct(tmp_path, 9)
    ds = pydicom.dcmread(result)
    ds.ContributingEquipmentSequence = [own]
    ds.save_as(result)
    processor = QuickProcessor()
    with (
        Archive() as pacs,
        running(make_settings(tmp_path, pacs.destination), processor) as node,
    ):
        send(node, write_ct(tmp_path, 1))
        wait_for(lambda: len(pacs.arrivals) == 1, "the first result")
        send(node, write_ct(tmp_path, 1), write_ct(tmp_path, 2))
        wait_for(lambda: len(pacs.arrivals) == 2, "the second result")
        send(node, result)
        time.sleep(4 * QUIET_S)

        first, second = processor.processed
        assert node.store.snapshot().studies[0].instances == 3
    assert second.predecessor_version == first.content_version
    assert [len(one.instances) for one in (first, second)] == [1, 2]


@pytest.mark.peers
def test_the_node_keeps_everything_in_postgresql_when_it_is_given_one(
    tmp_path: Path,
) -> None:
    with postgres_cluster() as cluster, Archive() as pacs:
        settings = make_settings(
            tmp_path, pacs.destination, database_url=cluster.new_database()
        )
        slow = QuickProcessor(delay_s=600)
        with running(settings, slow) as node:
            send(node, write_ct(tmp_path, 1))
            wait_for(lambda: len(slow.processed) == 1, "the processor")
        with running(settings) as node:
            wait_for(lambda: len(pacs.arrivals) == 1, "the result")
            wait_for(
                lambda: node.store.counts().deliveries == {("pacs", "delivered"): 1},
                "its row",
            )

    assert not list((tmp_path / "data").glob("*.sqlite*"))


def test_a_request_from_another_process_is_taken_up_at_once(tmp_path: Path) -> None:
    processor = QuickProcessor()
    settings = make_settings(tmp_path, quiet_time_s=3600)
    with pytest.raises(StoreError, match="no node here"):
        requeue_study(settings, "1.2.3")
    with running(settings, processor) as node:
        send(node, write_ct(tmp_path, 1))
        said = requeue_study(settings, "1.2.3")
        wait_for(lambda: len(processor.processed) == 1, "the study")
    later = requeue_study(settings, "1.2.3")
    with running(settings, processor):
        wait_for(lambda: len(processor.processed) == 2, "the second run")

    assert said.startswith("1.2.3: it is processed now")
    assert later.startswith("1.2.3: it is processed again")


def test_work_that_a_stop_cuts_short_is_no_error_and_is_done_at_the_next_start(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dicom_node.service.work._STOP_GRACE_S", 0)
    monkeypatch.setattr(logging.getLogger("dbos"), "propagate", True)
    settings = make_settings(tmp_path)
    slow, quick = QuickProcessor(delay_s=600), QuickProcessor()
    with structlog.testing.capture_logs() as events:
        with running(settings, slow) as node:
            send(node, write_ct(tmp_path, 1))
            wait_for(lambda: len(slow.processed) == 1, "the processor")
        wait_for(
            lambda: [one for one in events if one["event"] == "work_interrupted"],
            "its end",
        )
    with running(settings, quick):
        wait_for(lambda: len(quick.processed) == 1, "the study")

    assert [one for one in caplog.records if one.levelno >= logging.ERROR] == []
    assert [one for one in events if one["log_level"] in {"error", "critical"}] == []


def test_work_that_ended_long_ago_is_forgotten_and_not_done_again(
    tmp_path: Path,
) -> None:
    dead = DestinationSettings(
        name="dead", ae_title="DEAD", host="127.0.0.1", port=free_port()
    )
    settings = make_settings(tmp_path, dead)
    keeping = RetentionSettings(events_days=1.0)
    forgetting = RetentionSettings(events_days=1e-9)
    processor = QuickProcessor()

    def states() -> Counter[str]:
        return Counter(str(one.status) for one in DBOS.list_workflows())

    with running(settings.model_copy(update={"retention": keeping}), processor) as node:
        send(node, write_ct(tmp_path, 1))
        wait_for(lambda: states() == {"SUCCESS": 2, "DELAYED": 1}, "a second try")
        node._work.workflows.forget()
        assert states() == {"SUCCESS": 2, "DELAYED": 1}
    with running(settings.model_copy(update={"retention": forgetting})) as node:
        wait_for(lambda: states()["DELAYED"] == 1, "another try")
        node._work.workflows.forget()
        left = states()
        node._work.workflows.resume(only_overdue=True)
        again = states()

    assert left["SUCCESS"] == 0
    assert left["DELAYED"] == again.total() == 1
    assert len(processor.processed) == 1


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_the_node_in_order(
    tmp_path: Path, number: signal.Signals
) -> None:
    port = free_port()
    config = tmp_path / "node.toml"
    config.write_text(
        f"[node]\nport = {port}\ndata_dir = {json.dumps(str(tmp_path / 'data'))}\n"
        "[web]\nenabled = false\n[limits]\nmin_free_bytes = 0\n"
    )
    program = Program(
        [sys.executable, "-m", "tests.builders.quick_node", str(config)],
        log_path=tmp_path / "node.log",
        cwd=Path(__file__).parents[2],
    )
    with program:
        program.wait_for_port(port)
        program.process.send_signal(number)

        assert program.process.wait(30) == 0
    events = [
        json.loads(line)["event"]
        for line in (tmp_path / "node.log").read_text().splitlines()
    ]
    assert events[-1] == "node_stopped"


def test_a_dead_destination_delays_no_other_and_the_status_tells_of_it(
    tmp_path: Path,
) -> None:
    dead = DestinationSettings(
        name="dead", ae_title="DEAD", host="127.0.0.1", port=free_port()
    )
    with Archive() as pacs:
        settings = make_settings(tmp_path, dead, pacs.destination)
        with running(settings) as node:
            for number in range(6):
                send(node, write_ct(tmp_path, 1, study=f"1.2.{number}"))
            wait_for(
                lambda: node.store.counts().deliveries.get(("pacs", "delivered")) == 6,
                "six results",
            )
            wait_for(
                lambda: all(
                    one.last_comment == "it cannot be reached"
                    for study in node.store.snapshot().studies
                    for one in study.deliveries
                    if one.destination == "dead"
                ),
                "six failures",
            )
            counts = node.store.counts().deliveries
            status = read_status(settings)

    assert counts == {("pacs", "delivered"): 6, ("dead", "pending"): 6}
    document = json.loads(json.dumps(status.as_json()))
    console = Console(width=200, file=io.StringIO(), record=True)
    for table in status_tables(status):
        console.print(table)
    shown = console.export_text()
    assert [
        (study["state"], study["instances"], study["results"])
        for study in document["studies"]
    ] == [("done", 1, 1)] * 6
    assert document["destinations"] == [
        {"name": "dead", "delivered": 0, "stored": 0, "pending": 6, "dead": 0},
        {"name": "pacs", "delivered": 6, "stored": 0, "pending": 0, "dead": 0},
    ]
    assert "1.2.3" in shown
    assert "dead: 0 delivered, 0 stored, 1 waiting, 0 given up, of all" in shown
    assert "(it cannot be reached)" in shown
    assert "ZZCANARY" not in shown


def test_what_a_destination_lacks_is_sent_when_it_returns_and_nothing_else(
    tmp_path: Path,
) -> None:
    first_of_two: list[str] = []

    def answer(uid: str) -> int:
        if not first_of_two:
            first_of_two.append(uid)
        return 0x0000 if uid in first_of_two else 0xA700

    with (
        Archive(answer=answer) as pacs,
        running(
            make_settings(tmp_path, pacs.destination), QuickProcessor(objects=2)
        ) as node,
    ):
        send(node, write_ct(tmp_path, 1))
        wait_for(
            lambda: (
                node.store.counts().deliveries
                == {("pacs", "delivered"): 1, ("pacs", "pending"): 1}
            ),
            "one of two",
        )
        pacs.answer = lambda _uid: 0x0000
        wait_for(lambda: len(pacs.arrivals) == 2, "the other")

        assert Counter(pacs.uids).most_common()[0][1] == 1


def test_a_success_wakes_what_waits_for_the_same_destination(tmp_path: Path) -> None:
    pacs = Archive()
    settings = make_settings(tmp_path, pacs.destination)
    with running(settings) as node:
        for number in range(4):
            send(node, write_ct(tmp_path, 1, study=f"1.2.{number}"))
        wait_for(
            lambda: (
                sum(
                    one.last_comment is not None
                    for study in node.store.snapshot().studies
                    for one in study.deliveries
                )
                == 4
            ),
            "four failures",
        )
        with pacs:
            requeue_study(settings, "1.2.0")
            wait_for(lambda: len(pacs.arrivals) == 4, "all four", timeout_s=4.0)


def test_work_that_a_stop_interrupts_goes_on_at_the_next_start(tmp_path: Path) -> None:
    slow, quick = QuickProcessor(delay_s=600), QuickProcessor()
    with Archive() as pacs:
        settings = make_settings(tmp_path, pacs.destination)
        with running(settings, slow) as node:
            send(node, write_ct(tmp_path, 1))
            wait_for(lambda: len(slow.processed) == 1, "the processor")
        with running(settings, quick) as node:
            wait_for(lambda: len(pacs.arrivals) == 1, "the result")

            assert node.store.snapshot().studies[0].reason is None


def test_a_failed_study_says_why_without_patient_data_and_can_run_again(
    tmp_path: Path, node_log: io.StringIO, capfd: pytest.CaptureFixture[str]
) -> None:
    processor = QuickProcessor()
    processor.failure = ValueError("ZZCANARY^PATIENT")
    pacs = Archive()
    settings = make_settings(tmp_path, pacs.destination)
    with pacs, running(settings, processor) as node:
        send(node, write_ct(tmp_path, 1))
        wait_for(lambda: node.store.snapshot().studies[0].state == "failed", "failure")
        failed = node.store.snapshot()
        processor.failure = ObjectError("no pixels")
        requeue_study(settings, "1.2.3")
        wait_for(
            lambda: node.store.snapshot().studies[0].reason == "no pixels", "reason"
        )
        processor.failure = None
        requeue_study(settings, "1.2.3")
        wait_for(lambda: len(pacs.arrivals) == 1, "the result")

        health = httpx.get(f"http://127.0.0.1:{node.web_port}/health").text
        told = f"{node.store.snapshot()}{health}{metrics(node)}"
    captured = capfd.readouterr()
    log = [json.loads(line) for line in node_log.getvalue().splitlines()]
    assert failed.studies[0].reason == "ValueError"
    assert failed.errors[0].kind == "study_failed"
    assert [one["exception"] for one in log if one["event"] == "study_failed"] == [
        "ValueError",
        "ObjectError",
    ]
    for text in (told, captured.out, captured.err, node_log.getvalue()):
        assert "ZZCANARY" not in text


def test_a_new_model_supersedes_on_request_and_the_same_one_sends_nothing(
    tmp_path: Path,
) -> None:
    with Archive() as pacs:
        settings = make_settings(tmp_path, pacs.destination)
        with running(settings) as node:
            send(node, write_ct(tmp_path, 1))
            wait_for(
                lambda: node.store.counts().deliveries == {("pacs", "delivered"): 1},
                "the result",
            )
            requeue_study(settings, "1.2.3")
            wait_for(
                lambda: (
                    node.store.snapshot().studies[0].state == "done"
                    and not node.store.collecting_studies()
                ),
                "the second run",
            )
            again = list(pacs.uids)
        with running(settings, QuickProcessor("quick-2")) as node:
            requeue_study(settings, "1.2.3")
            wait_for(lambda: len(pacs.arrivals) == 2, "the new model's result")

    assert len(again) == 1
    assert len(set(pacs.uids)) == 2


def test_a_destination_that_is_renamed_gets_the_results_on_request(
    tmp_path: Path,
) -> None:
    gone = DestinationSettings(
        name="gone", ae_title="GONE", host="127.0.0.1", port=free_port()
    )
    with Archive() as pacs:
        with running(make_settings(tmp_path, gone)) as node:
            send(node, write_ct(tmp_path, 1))
            wait_for(lambda: bool(node.store.counts().deliveries), "its results")
        settings = make_settings(tmp_path, pacs.destination)
        with running(settings) as node:
            wait_for(
                lambda: node.store.counts().deliveries == {("gone", "dead"): 1},
                "the end of the old name",
            )
            said = requeue_study(settings, "1.2.3")
            wait_for(lambda: len(pacs.arrivals) == 1, "the result")

    assert said.startswith("1.2.3: its results are sent now")


def test_a_file_without_a_row_is_indexed_and_a_leftover_deleted(
    tmp_path: Path,
) -> None:
    settings = make_settings(tmp_path)
    data = tmp_path / "data"
    with running(settings) as node:
        send(node, write_ct(tmp_path, 1))
        (file,) = node.store.recorded_files()
    # The crash between the rename and the commit: the whole database is from before.
    for path in [*data.glob("node.sqlite*"), *data.glob("dbos.sqlite*")]:
        path.unlink()
    (data / "incoming" / "x.part").write_bytes(b"half")
    processor = QuickProcessor()
    with running(settings, processor) as node:
        wait_for(lambda: len(processor.processed) == 1, "the study")

        assert [one.path for one in node.store.recorded_files()] == [file.path]
    assert not list((data / "incoming").iterdir())


def test_a_row_without_its_file_makes_the_node_unready(tmp_path: Path) -> None:
    settings = make_settings(tmp_path)
    with running(settings) as node:
        send(node, write_ct(tmp_path, 1))
        (file,) = node.store.recorded_files()
    (tmp_path / "data" / file.path).unlink()

    with running(settings) as node:
        url = f"http://127.0.0.1:{node.web_port}/health/ready"
        wait_for(lambda: httpx.get(url).status_code == 503, "unreadiness")
        reasons = httpx.get(url).json()["reasons"]
        live = httpx.get(f"http://127.0.0.1:{node.web_port}/health/live")

        assert reasons == {"files": "1 instance has lost its file"}
        assert live.status_code == 200
        assert node.store.snapshot().errors[0].kind == "file_missing"


def test_an_error_that_nobody_foresaw_ends_no_background_loop(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, node_log: io.StringIO
) -> None:
    rounds: list[str] = []

    def fail(*_: object, **__: object) -> None:
        rounds.append("")
        raise ValueError("ZZCANARY")

    monkeypatch.setattr("dicom_node.service.upkeep.reconcile", fail)
    monkeypatch.setattr("dicom_node.service.upkeep._HOUSEKEEPING_S", 0.05)
    monkeypatch.setattr(
        Workflows,
        "resume",
        lambda *_, only_overdue=False: fail() if only_overdue else {},
    )
    processor = QuickProcessor()
    with running(make_settings(tmp_path), processor) as node:
        send(node, write_ct(tmp_path, 1))
        wait_for(lambda: len(processor.processed) == 1, "the study")
        wait_for(lambda: len(rounds) > 4, "housekeeping to go on")

        assert "worker" not in node.examine().problems
    assert "background_failed" in node_log.getvalue()
    assert "ZZCANARY" not in node_log.getvalue()


def test_two_nodes_do_not_share_a_data_folder(tmp_path: Path) -> None:
    settings = make_settings(tmp_path)

    with running(settings), pytest.raises(SettingsError, match="another node"):
        NodeService(settings, processor=QuickProcessor()).start()


@pytest.mark.parametrize("is_late", [False, True])
def test_a_start_that_fails_leaves_nothing_behind(
    tmp_path: Path,
    node_log: io.StringIO,
    monkeypatch: pytest.MonkeyPatch,
    is_late: bool,
) -> None:
    settings = make_settings(tmp_path, port=free_port())
    if is_late:  # somebody takes the port in the moment after the look
        monkeypatch.setattr("dicom_node.service.node.check_ports", lambda _: None)
    there = {thread.name for thread in threading.enumerate()}
    with socket.create_server(("127.0.0.1", 0)) as other:
        taken = settings.web.model_copy(update={"port": other.getsockname()[1]})
        with pytest.raises(SettingsError, match="cannot listen"):
            NodeService(
                settings.model_copy(update={"web": taken}), processor=QuickProcessor()
            ).start()

    left = {thread.name for thread in threading.enumerate()} - there
    # The workflow engine's own threads have no name, and end with their next look.
    assert not {name for name in left if not name.startswith("Thread-")}
    told = node_log.getvalue()
    assert "stop_failed" not in told
    assert ('"event": "listening"' in told) == is_late
    # Folder, database and port are free for the next.
    processor = QuickProcessor()
    with running(settings, processor) as node:
        send(node, write_ct(tmp_path, 1))
        wait_for(lambda: len(processor.processed) == 1, "the study")


def test_a_start_that_fails_behind_the_workflows_lets_the_next_one_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_: OutboxStore) -> tuple[Parcel, ...]:
        raise StoreError("the database is away")

    settings = make_settings(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(OutboxStore, "pending_parcels", fail)
        with pytest.raises(StoreError, match="away"):
            NodeService(settings, processor=QuickProcessor()).start()

    assert not [one.name for one in threading.enumerate() if "dbos" in one.name]
    processor = QuickProcessor()
    with running(settings, processor) as node:
        send(node, write_ct(tmp_path, 1))
        wait_for(lambda: len(processor.processed) == 1, "the study")


def test_a_database_serves_the_node_that_it_belongs_to_and_no_other(
    tmp_path: Path,
) -> None:
    url = f"sqlite:///{tmp_path / 'shared.sqlite'}"
    first = make_settings(tmp_path / "first", database_url=url)
    second = make_settings(tmp_path / "second", database_url=url)
    with running(first):
        pass
    for _ in range(2):
        with pytest.raises(SettingsError, match=r"node\.database_url: this database"):
            NodeService(second, processor=QuickProcessor()).start()
    # A data folder that is restored elsewhere is the same node.
    shutil.copytree(tmp_path / "first", tmp_path / "restored")
    with running(make_settings(tmp_path / "restored", database_url=url)) as node:
        assert node.port


@pytest.mark.parametrize("damage", [b"", b"not a name", b"\xff"])
def test_a_damaged_name_of_the_node_is_told(tmp_path: Path, damage: bytes) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "node-id").write_bytes(damage)

    with pytest.raises(SettingsError, match="node-id"):
        NodeService(make_settings(tmp_path), processor=QuickProcessor()).start()


_LOADED_LATER = (
    *("torch", "transformers", "highdicom", "reportlab", "SimpleITK", "scipy"),
    *("fhir.resources", "rule_engine", "fastapi", "uvicorn", "dicom_node.web.app"),
    *("psycopg", "sqlalchemy.dialects.postgresql", "cryptography", "dbos"),
    "pynetdicom",
)
"""What makes results, judges rules or shows pages. (Pillow is loaded by pydicom.)"""


def test_the_receiver_listens_before_it_loads_what_it_does_not_use(
    tmp_path: Path,
) -> None:
    # With its database made, as at every start but the first.
    settings = make_settings(tmp_path)
    with Store(settings.database_url) as store:
        store.migrate()
    code = f"""
import json, os, sys
from dicom_node.scp import DicomServer
from dicom_node.config import NodeSettings
from dicom_node.service import NodeService

listen = DicomServer.start

def listen_and_tell(self):
    listen(self)
    late = [one for one in (*{_LOADED_LATER!r}, "alembic") if one in sys.modules]
    print(json.dumps({{"port": self.port, "loaded": late}}), flush=True)
    os._exit(0)

DicomServer.start = listen_and_tell
NodeService(NodeSettings.model_validate_json({settings.model_dump_json()!r})).start()
"""

    told = subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True
    )

    answer = json.loads(told.stdout.splitlines()[-1])
    assert answer["port"] > 0
    assert answer["loaded"] == []


def test_a_node_at_rest_has_not_loaded_what_makes_results() -> None:
    names = ("highdicom", "pydicom.sr", "scipy", "reportlab", "pynetdicom", "httpx")
    code = f"""
import sys
import dicom_node.service.node, dicom_node.service.web_door, dicom_node.grounding.worker
from dicom_node.workflows import PipelineProcessor
from dicom_node.config import NodeSettings
early = [one for one in {names!r} if one in sys.modules]
PipelineProcessor(NodeSettings()).expect()
import threading
for one in threading.enumerate():
    if one is not threading.current_thread():
        one.join()
print(early, [one for one in {names!r} if one not in sys.modules])
"""

    told = subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True
    )

    assert told.stdout == "[] []\n"
