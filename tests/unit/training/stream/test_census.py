from __future__ import annotations

import pytest

from tests.builders.shard_folder import make_record, make_region, write_build
from training.errors import RecordError
from training.stream.census import take_census
from training.stream.store import shards_of

BOX = (1, 1, 9, 9)
RECORDS = [
    make_record([make_region("liver", BOX), make_region("liver", (9, 9, 12, 12))]),
    make_record([make_region("hepatic", BOX, label="liver"), make_region("cyst", BOX)]),
    make_record([make_region("cyst"), make_region("spleen", BOX, ignore=True)]),
    make_record([make_region("liver", BOX)], modality="CT"),
    make_record([make_region("liver", BOX)]),
]


@pytest.fixture
def folder(tmp_path):
    return write_build(
        tmp_path / "b", RECORDS, shard_samples=2, splits=("train", "val")
    )


def test_present_labels_are_counted_per_dataset_modality_and_split(folder):
    census = take_census(folder, shards_of(folder, "train"))

    groups = {name: census.group(i).tolist() for i, name in enumerate(census.names)}
    assert groups == {"made/DX/liver": [0, 1, 4], "made/DX/cyst": [1]}
    assert dict(zip(census.names, census.sizes, strict=True)) == {
        "made/DX/liver": 3,
        "made/DX/cyst": 1,
    }


def test_a_sample_without_a_present_region_has_a_group_of_its_own(folder):
    census = take_census(folder, shards_of(folder, "val"))

    groups = {name: census.group(i).tolist() for i, name in enumerate(census.names)}
    assert groups == {"made/CT/liver": [3], "made/DX/": [2]}


def test_a_census_is_taken_once(folder, monkeypatch):
    first = take_census(folder, shards_of(folder, "train"))
    monkeypatch.setattr("training.stream.census._count", None)

    again = take_census(folder, shards_of(folder, "train"))

    assert again.names == first.names
    assert again.lines.tolist() == first.lines.tolist()


def test_a_build_that_cannot_be_written_to_is_counted_all_the_same(folder):
    nowhere = folder / "records.jsonl"  # no folder, so nothing can be kept in it

    census = take_census(folder, shards_of(folder, "train"), cache=nowhere)

    assert census.sizes == (1, 3)


def test_a_line_that_is_no_record_is_named(folder):
    path = folder / "records.jsonl"
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join([lines[0], b"{}\n", *lines[2:]]))

    with pytest.raises(RecordError, match="line 1"):
        take_census(folder, shards_of(folder, "train"))
