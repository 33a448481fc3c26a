from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from dicom_node.config import NodeSettings
from dicom_node.records import ResultObject, StudyReady
from dicom_node.service import NodeService
from tests.builders.process import wait_until
from tests.builders.study_processor import QuickProcessor
from tests.integration.test_service import send, wait_for, write_ct


class GatedProcessor(QuickProcessor):
    """Holds every study, or the one that is named, until the gate is open."""

    def __init__(self) -> None:
        super().__init__()
        self.gate = threading.Event()
        self.held = ""
        self.begun: list[str] = []

    def process(
        self, ready: StudyReady, *arguments: Any, **named: Any
    ) -> Sequence[ResultObject]:
        self.begun.append(ready.study_instance_uid)
        if self.held in {"", ready.study_instance_uid}:
            self.gate.wait(30.0)
        return super().process(ready, *arguments, **named)


@contextmanager
def busy_node(folder: Path, order: str) -> Iterator[tuple[NodeService, GatedProcessor]]:
    settings = NodeSettings.model_validate(
        {
            "node": {"port": 0, "data_dir": folder / "data", "quiet_time_s": 0.3},
            "web": {"enabled": False},
            "limits": {"min_free_bytes": 0},
            "schedule": {"order": order},
        }
    )
    processor = GatedProcessor()
    with NodeService(settings, processor=processor) as node:
        try:
            yield node, processor
        finally:
            processor.gate.set()


def bring(node: NodeService, folder: Path, uid: str, *, slices: int) -> None:
    """Send a study and wait until it has a version, which may be done by then."""
    send(node, *(write_ct(folder, number, study=uid) for number in range(slices)))
    wait_for(
        lambda: any(
            one.study_instance_uid == uid and one.versions
            for one in node.store.snapshot().studies
        ),
        "its version",
    )


@pytest.mark.parametrize("order", ["cost", "arrival"])
def test_a_small_study_overtakes_unless_who_comes_first_goes_first(
    tmp_path: Path, order: str
) -> None:
    with busy_node(tmp_path, order) as (node, processor):
        for uid, slices in (("1.1", 9), ("1.2", 24), ("1.3", 25), ("1.4", 9)):
            bring(node, tmp_path, uid, slices=slices)
        node.store.requeue_study("1.3", destinations={})
        wait_until(
            lambda: not any(one.is_forced for one in node.store.collecting_studies()),
            timeout_s=30.0,
            what="the request to be taken up",
        )
        processor.gate.set()
        wait_for(lambda: not node.store.work.unfinished_versions(), "all of it")

    done = list(dict.fromkeys(one.study_instance_uid for one in processor.processed))
    # What a person asks for goes first, whichever the order.
    rest = ["1.4", "1.2"] if order == "cost" else ["1.2", "1.4"]
    assert done == ["1.1", "1.3", *rest]


@pytest.mark.parametrize("order", ["cost", "arrival"])
def test_a_radiograph_passes_a_study_under_way_unless_who_comes_first_goes_first(
    tmp_path: Path, order: str
) -> None:
    with busy_node(tmp_path, order) as (node, processor):
        processor.held = "1.1"
        bring(node, tmp_path, "1.1", slices=9)
        wait_until(lambda: processor.begun == ["1.1"], timeout_s=30.0, what="its begin")
        bring(node, tmp_path, "1.2", slices=1)
        if order == "cost":
            wait_for(
                lambda: len(node.store.work.unfinished_versions()) == 1, "the small one"
            )
        processor.gate.set()
        wait_for(lambda: not node.store.work.unfinished_versions(), "all of it")

    done = [one.study_instance_uid for one in processor.processed]
    assert done == (["1.2", "1.1"] if order == "cost" else ["1.1", "1.2"])
