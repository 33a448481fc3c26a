from __future__ import annotations

import errno
import threading
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import CollectorRegistry
from structlog.testing import capture_logs

from dicom_node.audit import Counters
from dicom_node.config import NodeSettings
from dicom_node.errors import (
    ModelLoadError,
    NodeError,
    ObjectError,
    OutOfResourcesError,
    WorkerLostError,
)
from dicom_node.identity import content_version
from dicom_node.records import ResultObject
from dicom_node.store import Store, VersionKey
from dicom_node.workflows import remove_unfinished
from dicom_node.workflows.names import folder_name
from dicom_node.workflows.processing import NO_MODEL, Processing
from tests.builders.stores import NOON, received
from tests.builders.study_processor import QuickProcessor


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store(f"sqlite:///{tmp_path / 'node.sqlite'}") as opened:
        opened.migrate()
        opened.record_instance(received())
        yield opened


@pytest.fixture
def key(store: Store) -> VersionKey:
    (study,) = store.collecting_studies()
    opened = store.open_version(study.study_id, now=NOON, version_of=content_version)
    assert opened is not None
    return opened


@pytest.fixture
def processor() -> QuickProcessor:
    return QuickProcessor()


@pytest.fixture
def stopping() -> threading.Event:
    return threading.Event()


@pytest.fixture
def counted() -> CollectorRegistry:
    return CollectorRegistry()


@pytest.fixture
def processing(
    tmp_path: Path,
    store: Store,
    processor: QuickProcessor,
    stopping: threading.Event,
    counted: CollectorRegistry,
) -> Processing:
    settings = NodeSettings.model_validate({"node": {"data_dir": tmp_path / "data"}})
    return Processing(
        settings,
        store,
        processor,
        counters=Counters(counted),
        clock=lambda: NOON + timedelta(seconds=60),
        is_stopping=stopping,
    )


def result_files(folder: Path) -> set[str]:
    return {path.name for path in folder.glob("data/results/*/*")}


def test_results_are_in_their_folder_whole_and_recorded(
    tmp_path: Path, store: Store, processing: Processing, key: VersionKey
) -> None:
    assert processing.process(key.version_id, 1, is_last=False)

    assert result_files(tmp_path) == {"1.dcm", "result.json"}
    assert list((tmp_path / "data" / "processing").iterdir()) == []
    (study,) = store.snapshot().studies
    assert (study.state, study.results) == ("done", 1)


def test_processing_twice_changes_nothing(
    tmp_path: Path,
    store: Store,
    processor: QuickProcessor,
    processing: Processing,
    key: VersionKey,
) -> None:
    processing.process(key.version_id, 1, is_last=False)
    before = store.snapshot()

    assert processing.process(key.version_id, 1, is_last=False)

    assert store.snapshot() == before
    assert len(processor.processed) == 1


def test_a_second_answer_by_the_same_model_names_the_first(
    tmp_path: Path,
    store: Store,
    processor: QuickProcessor,
    processing: Processing,
    key: VersionKey,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    named: list[list[str]] = []
    write = processor._write

    def note(ready: Any, folder: Path, number: int, before: Sequence[str]) -> Any:
        named.append(list(before))
        # One series fails the first time and not after: the UIDs are others.
        took = "all" if len(named) > 1 else "half"
        return write(ready, folder, number, [*before, took])

    monkeypatch.setattr(processor, "_write", note)
    for run in (1, 2, 3):
        assert processing.process(key.version_id, run, is_last=False)
        store.requeue_study("1.2.3", destinations={}, now=NOON)

    first, second = recorded(store)
    # Run 2 sees that it came out otherwise, and says so; run 3 is as run 2.
    assert named == [[], [], [first], [first]]
    assert result_files(tmp_path) == {"1.dcm", "result.json"}
    assert second != first


def recorded(store: Store) -> list[str]:
    with store._database.read() as connection:
        return [
            row[0]
            for row in connection.exec_driver_sql(
                "SELECT sop_instance_uid FROM results ORDER BY id"
            )
        ]


def test_what_a_crashed_try_left_is_replaced(
    tmp_path: Path, store: Store, processing: Processing, key: VersionKey
) -> None:
    processing.process(key.version_id, 1, is_last=False)
    (folder,) = (tmp_path / "data" / "results").iterdir()
    for name in ("results", "processing"):
        rubbish = tmp_path / "data" / name / folder.name / "half.dcm"
        rubbish.parent.mkdir(exist_ok=True)
        rubbish.write_bytes(b"half")
    # As if the crash came before the rows: the same run is in work.
    with store._database.write() as connection:
        connection.exec_driver_sql("UPDATE versions SET state = 'processing'")

    assert processing.process(key.version_id, 1, is_last=False)

    assert result_files(tmp_path) == {"1.dcm", "result.json"}
    assert list((tmp_path / "data" / "processing").iterdir()) == []


@pytest.mark.parametrize(
    "failure",
    [
        OutOfResourcesError(),
        OSError(errno.ENOSPC, "full"),
        ModelLoadError(),
        WorkerLostError(),
    ],
)
def test_trouble_of_this_machine_is_waited_for_and_then_told(
    store: Store,
    processor: QuickProcessor,
    processing: Processing,
    key: VersionKey,
    failure: Exception,
) -> None:
    processor.failure = failure

    waits = processing.process(key.version_id, 1, is_last=False)
    (waiting,) = store.snapshot().studies
    gives_up = processing.process(key.version_id, 1, is_last=True)

    (given_up,) = store.snapshot().studies
    assert (waits, waiting.state, gives_up) == (False, "processing", True)
    assert given_up.state == "failed"
    assert waiting.reason == given_up.reason is not None


def test_a_full_disk_is_told_without_its_path(
    store: Store,
    processor: QuickProcessor,
    processing: Processing,
    key: VersionKey,
) -> None:
    processor.failure = OSError(errno.ENOSPC, "full", "/data/Zyxwvut^Anna")

    processing.process(key.version_id, 1, is_last=False)

    (waiting,) = store.snapshot().studies
    assert waiting.reason is not None
    assert waiting.reason.endswith("the disk did not take it: No space left on device")


@pytest.mark.parametrize("failure", [ModelLoadError("gone"), ObjectError("gone")])
def test_only_what_failed_for_the_model_is_taken_up_again(
    store: Store,
    processor: QuickProcessor,
    processing: Processing,
    key: VersionKey,
    failure: NodeError,
) -> None:
    processor.failure = failure
    processing.process(key.version_id, 1, is_last=True)

    found = store.work.requeue_failed(reason_prefix=NO_MODEL, now=NOON)

    is_model = isinstance(failure, ModelLoadError)
    assert found == (("1.2.3",) if is_model else ())
    assert [one.run for one in store.work.unfinished_versions()] == [2] * is_model
    assert store.work.requeue_failed(reason_prefix=NO_MODEL, now=NOON) == ()


def test_a_file_that_is_gone_fails_the_study_at_once(
    store: Store, processor: QuickProcessor, processing: Processing, key: VersionKey
) -> None:
    processor.failure = FileNotFoundError(errno.ENOENT, "gone", "/secret/ZZCANARY")

    assert processing.process(key.version_id, 1, is_last=False)

    assert store.snapshot().studies[0].reason == "FileNotFoundError"


def test_what_fails_because_the_node_stops_is_not_the_studys_fault(
    store: Store,
    processor: QuickProcessor,
    processing: Processing,
    key: VersionKey,
    stopping: threading.Event,
) -> None:
    processor.failure = RuntimeError("its rooms were closed")
    stopping.set()

    with pytest.raises(RuntimeError):
        processing.process(key.version_id, 1, is_last=False)

    assert store.snapshot().studies[0].state == "processing"


def test_the_results_of_a_run_that_was_superseded_are_thrown_away_and_not_counted(
    tmp_path: Path,
    store: Store,
    processor: QuickProcessor,
    processing: Processing,
    key: VersionKey,
    counted: CollectorRegistry,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    make = processor.process

    def overtaken(*arguments: Any, **named: Any) -> Sequence[ResultObject]:
        objects = make(*arguments, **named)
        store.work.fail_version(key.version_id, run=1, reason="slow", now=NOON)
        store.requeue_study("1.2.3", destinations={}, now=NOON)
        return objects

    monkeypatch.setattr(processor, "process", overtaken)
    with capture_logs() as lines:
        assert processing.process(key.version_id, 1, is_last=False)

    assert result_files(tmp_path) == set()
    assert list((tmp_path / "data" / "results").iterdir()) == []
    assert [one["event"] for one in lines] == ["study_superseded"]
    name = "dicom_node_studies_processed_total"
    assert counted.get_sample_value(name, {"outcome": "done"}) is None
    assert counted.get_sample_value(name, {"outcome": "superseded"}) == 1


def test_what_an_interrupted_run_left_is_removed_and_results_stay(
    tmp_path: Path, processing: Processing, key: VersionKey, store: Store
) -> None:
    processing.process(key.version_id, key.run, is_last=False)
    data_dir = tmp_path / "data"
    (whole,) = (data_dir / "results").iterdir()
    before = folder_name(replace(key, run=0))
    for left in ("processing/interrupted", f"results/{before}.3"):
        (data_dir / left).mkdir()
        (data_dir / left / "1.dcm").write_bytes(b"x")

    removed = remove_unfinished(data_dir, store)

    assert removed == 2
    assert list((data_dir / "results").iterdir()) == [whole]
    assert list(whole.iterdir())
    assert list((data_dir / "processing").iterdir()) == []


def test_results_that_another_database_knows_are_set_aside_and_not_deleted(
    tmp_path: Path, processing: Processing, key: VersionKey
) -> None:
    processing.process(key.version_id, key.run, is_last=False)
    data_dir = tmp_path / "data"
    (whole,) = (data_dir / "results").iterdir()
    made = sorted(path.name for path in whole.iterdir())
    (data_dir / "quarantine" / "results" / whole.name).mkdir(parents=True)

    with Store(f"sqlite:///{tmp_path / 'other.sqlite'}") as other, capture_logs():
        other.migrate()
        removed = remove_unfinished(data_dir, other)
        told = [one.kind for one in other.snapshot().errors]

    assert removed == 0
    aside = data_dir / "quarantine" / "results" / f"{whole.name}.1"
    assert sorted(path.name for path in aside.iterdir()) == made
    assert told == ["file_quarantined"]
