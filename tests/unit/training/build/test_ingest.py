from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.builders.tiny_dataset import READER, TinyDataset, make_spec, texture
from training.build.blocks import block_files, process_block
from training.build.ingest import Source, fingerprint, ingest
from training.build.settings import BuildSettings
from training.build.table import SampleTable
from training.errors import ConfigError, DatasetError
from training.readers import READERS
from training.registry import load_registry


@pytest.fixture
def source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Source:
    monkeypatch.setitem(READERS, "tiny", READER)
    data = TinyDataset(tmp_path / "data")
    for number in range(5):
        data.add(f"a{number}", texture(number), patient_id=f"p{number}")
    return Source(make_spec("tiny"), data.root)


def _ingest(source: Source, folder: Path, block: int = 2) -> tuple:
    settings = BuildSettings(block=block)
    return ingest(source, folder, settings=settings, progress=False).tasks


@pytest.mark.parametrize(("block", "blocks"), [(1, 5), (2, 3), (5, 1), (9, 1)])
def test_blocks_hold_every_image_once(
    source: Source, tmp_path: Path, block: int, blocks: int
) -> None:
    tasks = _ingest(source, tmp_path / "work", block)

    for task in tasks[::-1]:
        process_block(task)

    table = SampleTable(tasks)
    assert len(tasks) == blocks
    assert len(table) == 5
    assert len(set(table.rows["patient"].tolist())) == 5
    assert table.counts("tiny")["images"] == 5
    assert table.samples_of("tiny") == list(range(5))
    for sample in range(5):
        assert table.thumbnail(sample).shape == (32, 32)
        assert table.chunks(sample).exists()


def test_a_block_depends_on_nothing_before_it(source: Source, tmp_path: Path) -> None:
    there = _ingest(source, tmp_path / "there")
    back = _ingest(source, tmp_path / "back")

    for task in there:
        process_block(task)
    for task in back[::-1]:
        process_block(task)

    for one, other in zip(there, back, strict=True):
        pairs = zip(
            block_files(Path(one.folder), one.number),
            block_files(Path(other.folder), other.number),
            strict=True,
        )
        assert all(a.read_bytes() == b.read_bytes() for a, b in pairs)


def test_names_sizes_and_times_are_what_a_folder_is_known_by(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    file = tmp_path / "sub" / "a"
    file.write_bytes(b"one")
    os.utime(file, ns=(1, 1))
    before = fingerprint(tmp_path)

    os.utime(file, ns=(2, 1))
    assert fingerprint(tmp_path) == before
    os.utime(file, ns=(2, 2))
    assert fingerprint(tmp_path) != before
    os.utime(file, ns=(1, 1))
    assert fingerprint(tmp_path) == before
    file.rename(tmp_path / "sub" / "b")
    assert fingerprint(tmp_path) != before


def test_other_settings_or_files_are_other_work(source: Source, tmp_path: Path) -> None:
    first = _ingest(source, tmp_path)[0].folder

    assert _ingest(source, tmp_path)[0].folder == first
    assert _ingest(source, tmp_path, 3)[0].folder != first
    (source.root / "new").touch()
    assert _ingest(source, tmp_path)[0].folder != first


def test_an_unknown_reader_is_named(source: Source, tmp_path: Path) -> None:
    wrong = Source(make_spec("tiny", reader="nope"), source.root)

    with pytest.raises(ConfigError, match="'nope'"):
        _ingest(wrong, tmp_path)


def test_what_a_reader_cannot_read_is_said_with_its_dataset_and_folder(
    tmp_path: Path,
) -> None:
    folder = tmp_path / "Task03_Liver"
    folder.mkdir()
    source = Source(load_registry()["msd-liver"], folder)

    with pytest.raises(DatasetError) as caught:
        _ingest(source, tmp_path / "work")

    assert "dataset.json" in str(caught.value)
    assert f"(reading msd-liver in {folder})" in str(caught.value)
