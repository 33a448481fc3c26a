"""Whole builds of tiny datasets."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.builders.tiny_builds import SETTINGS, contents, sources
from tests.builders.tiny_dataset import READER
from training.build.execute import Execution
from training.build.pipeline import build
from training.layout import (
    RecordFile,
    iterate_shard,
    read_shards,
)
from training.readers import READERS
from training.records import ImageRecord


@pytest.fixture(autouse=True)
def tiny_reader(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(READERS, "tiny", READER)


@pytest.fixture
def built(tmp_path: Path) -> Path:
    build(
        sources(tmp_path / "data"), tmp_path / "out", settings=SETTINGS, progress=False
    )
    return tmp_path / "out"


def test_every_sample_of_a_shard_is_a_line_of_the_records(built: Path) -> None:
    records, shards = RecordFile(built), read_shards(built)

    for shard in shards:
        samples = list(iterate_shard(built / "shards" / shard.name))
        assert len(samples) == shard.samples
        for number, sample in enumerate(samples):
            line = records.line(shard.first + number)
            assert sample["json"] == line
            assert ImageRecord.from_json(line).split == shard.split
    assert sum(shard.samples for shard in shards) == len(records)


def test_several_processes_write_the_same_bytes(built: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"

    build(
        sources(tmp_path / "data"),
        other,
        settings=SETTINGS,
        execution=Execution(workers=2),
        progress=False,
    )

    assert contents(other) == contents(built)
