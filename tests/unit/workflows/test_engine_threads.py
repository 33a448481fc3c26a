"""The threads of the engine: one that ends is told, and one that finds work rings."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from types import SimpleNamespace

import pytest
from prometheus_client import CollectorRegistry

from dicom_node.audit import Counters
from dicom_node.config import NodeSettings
from dicom_node.service.health import worker_trouble
from dicom_node.store import Store
from dicom_node.workflows import Workflows, watching
from dicom_node.workflows.engine import newest, queue_of
from dicom_node.workflows.submitting import PROCESS_QUEUE, hurry, submit
from tests.builders.process import wait_until
from tests.builders.study_processor import QuickProcessor


@pytest.fixture(scope="module")
def workflows(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workflows]:
    data_dir = tmp_path_factory.mktemp("data")
    settings = NodeSettings.model_validate(
        {
            "node": {"data_dir": str(data_dir)},
            "destinations": [
                {"name": name, "kind": "folder", "folder": str(data_dir / name)}
                for name in ("archive", "other")
            ],
        }
    )
    for one in settings.destinations:
        assert one.folder is not None
        one.folder.mkdir()
    store = Store(settings.database_url)
    store.migrate()
    made = Workflows(
        settings, store, QuickProcessor(), counters=Counters(CollectorRegistry())
    )
    assert made.dead_threads() == ["workflows"]
    made.launch()
    try:
        yield made
    finally:
        made.stop(grace_s=0)
        store.close()
    assert made.dead_threads() == ["workflows"]


def test_work_whose_time_comes_is_begun_though_nothing_else_happens(
    workflows: Workflows, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watching, "IDLE_S", 600.0)
    monkeypatch.setattr(watching, "_ALERT_S", 0.2)
    watching.ring()

    submit(
        "late",
        queue_of("archive"),
        workflows._registered.commit,
        1,
        "archive",
        "late",
        delay_s=1.5,
    )
    time.sleep(0.5)  # the queue is left alone
    assert newest("late").status == "DELAYED"  # type: ignore[union-attr]

    wait_until(
        lambda: newest("late").status == "SUCCESS",  # type: ignore[union-attr]
        timeout_s=30,
        what="the work",
    )


def test_work_that_is_brought_forward_is_begun_though_nobody_looks(
    workflows: Workflows, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watching, "IDLE_S", 600.0)
    monkeypatch.setattr(watching, "_ALERT_S", 0.5)
    submit(
        "hurried",
        queue_of("archive"),
        workflows._registered.commit,
        1,
        "archive",
        "hurried",
        delay_s=900.0,
    )

    hurry("hurried")

    wait_until(
        lambda: newest("hurried").status == "SUCCESS",  # type: ignore[union-attr]
        timeout_s=30,
        what="the work",
    )


def test_the_engine_keeps_no_thread_that_looks_for_what_the_node_does_not_use(
    workflows: Workflows,
) -> None:
    unused = ("(queue_thread)", "(dynamic_scheduler_loop)", "_dbos_internal_queue")

    wait_until(
        lambda: not [one for one in threading.enumerate() if one.name.endswith(unused)],
        timeout_s=30,
        what="their end",
    )


@pytest.mark.parametrize("queue", [queue_of("other"), PROCESS_QUEUE])
def test_a_queue_from_which_nobody_takes_work_is_told(
    workflows: Workflows, queue: str
) -> None:
    watch = workflows._watch
    assert watch is not None
    name = f"queue-{queue}"
    assert name not in workflows.dead_threads()

    watch._pauses[queue].set()

    wait_until(
        lambda: name in workflows.dead_threads(), timeout_s=30, what="the thread's end"
    )
    upkeep = SimpleNamespace(dead_threads=lambda: ["assembly"])
    trouble = worker_trouble(upkeep, workflows)  # type: ignore[arg-type]
    assert trouble is not None
    assert trouble.startswith("not running: assembly, ")
    assert name in trouble


def test_the_end_of_a_thread_of_the_processor_is_told(
    workflows: Workflows, monkeypatch: pytest.MonkeyPatch
) -> None:
    processor = SimpleNamespace(dead_threads=lambda: ["warm-up"])

    monkeypatch.setattr(workflows, "_processor", processor)

    assert "warm-up" in workflows.dead_threads()


def test_the_end_of_the_thread_that_lets_delayed_work_begin_is_told(
    workflows: Workflows,
) -> None:
    watch = workflows._watch
    assert watch is not None
    name = "dbos-background-jobs"
    assert name not in workflows.dead_threads()

    watch._engine._background_jobs_stop_event.set()

    wait_until(
        lambda: name in workflows.dead_threads(), timeout_s=30, what="the thread's end"
    )
