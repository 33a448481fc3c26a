"""The place for files is swept beside the studies that begin."""

from __future__ import annotations

import threading
from types import SimpleNamespace
from typing import Any, cast

import pytest

from dicom_node.config import NodeSettings
from dicom_node.jobs import processor as module
from dicom_node.jobs.processor import JobProcessor

COUNT = 2 * module._REMOVED_AT_ONCE + 1


class Area:
    """Lists when it may; a study that begins meanwhile needs the last of the files."""

    def __init__(self) -> None:
        self.is_listing, self.may_list = threading.Event(), threading.Event()
        self.left = [f"k{number}" for number in range(COUNT)]

    def key_of(self, instance: str) -> str:
        return instance

    def listed(self) -> list[str]:
        self.is_listing.set()
        assert self.may_list.wait(60)
        return list(self.left)

    def unneeded(self, listed: Any, _jobs: Any, *, keys: Any) -> list[str]:
        return [one for one in listed if one not in keys]

    def remove(self, listed: list[str]) -> None:
        self.left = [one for one in self.left if one not in listed]


def test_a_sweep_keeps_no_study_waiting_and_takes_none_of_its_files(
    tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    listener = SimpleNamespace(wait=lambda _s: False, close=lambda: None)
    monkeypatch.setattr(
        module, "JobListener", SimpleNamespace(of=lambda *_a, **_k: listener)
    )
    area = Area()
    store = SimpleNamespace(
        check_claim=lambda: None,
        jobs=SimpleNamespace(requests=tuple, forget=tuple),
    )
    processor = JobProcessor(
        NodeSettings.model_validate({"node": {"data_dir": str(tmp_path)}}),
        cast("Any", store),
        area=cast("Any", area),
        local=cast("Any", SimpleNamespace(trouble=None)),
    )
    swept: list[int] = []
    thread = threading.Thread(target=lambda: swept.append(processor.sweep()))
    thread.start()
    assert area.is_listing.wait(60)
    with processor._holding(cast("Any", [f"k{COUNT - 1}"])):  # it begins at once
        area.may_list.set()
        thread.join(60)

    assert swept == [COUNT - 1]
    assert area.left == [f"k{COUNT - 1}"]
