from __future__ import annotations

import errno
import threading
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry

from dicom_node.audit import Counters
from dicom_node.config import NodeSettings
from dicom_node.errors import OutOfResourcesError
from dicom_node.identity import content_version
from dicom_node.store import Store, VersionKey
from dicom_node.workflows.processing import Processing
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
def processing(
    tmp_path: Path, store: Store, processor: QuickProcessor, stopping: threading.Event
) -> Processing:
    settings = NodeSettings.model_validate({"node": {"data_dir": tmp_path / "data"}})
    return Processing(
        settings,
        store,
        processor,
        counters=Counters(CollectorRegistry()),
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
    "failure", [OutOfResourcesError(), OSError(errno.ENOSPC, "full")]
)
def test_a_full_disk_is_waited_for_and_then_told(
    store: Store,
    processor: QuickProcessor,
    processing: Processing,
    key: VersionKey,
    failure: Exception,
) -> None:
    processor.failure = failure

    waits = processing.process(key.version_id, 1, is_last=False)
    state = store.snapshot().studies[0].state
    gives_up = processing.process(key.version_id, 1, is_last=True)

    assert (waits, state, gives_up) == (False, "processing", True)
    assert store.snapshot().studies[0].state == "failed"


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
