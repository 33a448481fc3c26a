"""The bundled model: a radiograph comes while a CT is under way."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from dicom_node.config import ModelSettings, NodeSettings
from dicom_node.grounding.worker import GroundingWorker
from dicom_node.records import Report, StudyReady
from dicom_node.stages import STAGES_JSON, read_stages
from dicom_node.workflows import PipelineProcessor
from dicom_node.workflows.workbench import OTHERS
from tests.builders.dicom_series import make_ct_series, make_dx_image

_WAIT_S = 60.0


class Meeting(GroundingWorker):
    """Lets a radiograph ask the model when it has begun with a CT."""

    meets = False

    def __init__(self, settings: ModelSettings) -> None:
        super().__init__(settings)
        self.is_there = threading.Event()
        self.has_begun = threading.Event()

    def ground(self, series: Any, pixels: Any, prompts: Any, **named: Any) -> Any:
        if not self.meets:
            return super().ground(series, pixels, prompts, **named)
        if series.modality == "DX":
            self.is_there.set()
            assert self.has_begun.wait(_WAIT_S)
            return super().ground(series, pixels, prompts, **named)
        assert self.is_there.wait(_WAIT_S)
        told = _Told(named.pop("progress"), self.has_begun)
        return super().ground(series, pixels, prompts, progress=told, **named)


class _Told:
    def __init__(self, progress: Any, has_begun: threading.Event) -> None:
        self._progress = progress
        self._has_begun = has_begun
        self.turn = progress.turn

    def __call__(self, done: int, total: int, /) -> None:
        self._has_begun.set()
        self._progress(done, total)


@pytest.fixture
def worker() -> Iterator[Meeting]:
    with Meeting(ModelSettings(device="cpu")) as made:
        yield made


def make_ready(folder: Path, made: Any) -> StudyReady:
    text = "FINDINGS: The heart is enlarged. Pleural effusion on the left."
    (folder / "out").mkdir()
    return StudyReady(
        made.study_instance_uid,
        "v1",
        made.instances,
        reports=(Report(text=text, source="file"),),
    )


def hashes(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != STAGES_JSON
    }


def test_a_radiograph_passes_a_ct_and_each_gets_the_bytes_that_it_gets_alone(
    tmp_path: Path, worker: Meeting
) -> None:
    settings = NodeSettings.model_validate({"node": {"data_dir": tmp_path / "data"}})
    processor = PipelineProcessor(settings, make_grounder=lambda _: worker)
    (tmp_path / "data").mkdir()
    folders = {name: tmp_path / name for name in ("ct", "dx")}
    ct = make_ct_series(folders["ct"] / "in", slices=48, rows=64, columns=64)
    dx = make_dx_image(folders["dx"] / "in", rows=256, columns=256)
    studies = {
        "ct": make_ready(folders["ct"], ct),
        "dx": make_ready(folders["dx"], dx),
    }
    ended: list[str] = []

    def process(name: str, out: str) -> dict[str, str]:
        folder = folders[name] / out
        folder.mkdir(exist_ok=True)
        processor.process(studies[name], out_dir=folder, predecessors=())
        ended.append(name)
        return hashes(folder)

    try:
        alone = {name: process(name, "alone") for name in studies}
        ended.clear()
        worker.meets = True
        with ThreadPoolExecutor(2) as pool:
            both = {name: pool.submit(process, name, "out") for name in studies}
            found = {name: one.result() for name, one in both.items()}
    finally:
        processor.stop()

    assert found == alone
    assert len(found["ct"]) > 2
    waits = [one.name for one in read_stages(folders["ct"] / "out")]
    assert waits.count(OTHERS) >= 1
    names = [one.name for one in read_stages(folders["ct"] / "alone")]
    assert OTHERS not in names
    assert ended == ["dx", "ct"]
