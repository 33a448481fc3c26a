from __future__ import annotations

import pickle

import pytest

from tests.builders.shard_folder import make_record, make_region, write_build
from training.errors import DatasetError
from training.layout import iterate_shard
from training.stream.store import ShardStore, shards_of

RECORDS = [make_record([make_region(f"liver {n}", (1, 1, 9, 9))]) for n in range(7)]


@pytest.fixture
def folder(tmp_path):
    return write_build(tmp_path / "b", RECORDS, shard_samples=3)


def test_every_sample_is_the_one_that_reading_in_order_gives(folder):
    store = ShardStore(folder, shards_of(folder, "train"))
    in_order = [
        sample
        for path in sorted((folder / "shards").glob("*.tar"))
        for sample in iterate_shard(path)
    ]

    backwards = [store.members(line) for line in reversed(range(7))]

    assert backwards[::-1] == in_order
    store.close()


def test_a_store_can_be_sent_to_another_process(folder):
    store = ShardStore(folder, shards_of(folder, "train"))
    store.members(0)

    copy = pickle.loads(pickle.dumps(store))

    assert copy.members(5) == store.members(5)
    store.close()
    copy.close()


def test_only_so_many_files_stay_open(folder, monkeypatch):
    monkeypatch.setattr("training.stream.store._OPEN_FILES", 1)
    store = ShardStore(folder, shards_of(folder, "train"))

    keys = [store.members(line)["__key__"] for line in (0, 3, 6, 0)]

    assert keys == [b"000000", b"000003", b"000006", b"000000"]
    assert len(store._open) == 1
    store.close()


def test_lines_of_no_shard_and_damaged_tars_are_refused(folder):
    shards = shards_of(folder, "train")
    store = ShardStore(folder, shards[1:])
    (folder / "shards" / shards[1].name).write_bytes(b"short")
    (folder / "shards" / shards[2].name).unlink()

    for line in (0, 3, 6, 7):
        with pytest.raises(DatasetError):
            store.members(line)
    store.close()


@pytest.mark.parametrize("at", [0, 124, 148, 156, 257])
def test_a_damaged_header_of_a_tar_is_a_damaged_data_set(folder, at):
    shards = shards_of(folder, "train")
    path = folder / "shards" / shards[0].name
    data = bytearray(path.read_bytes())
    data[at] ^= 0x7F
    path.write_bytes(data)
    store = ShardStore(folder, shards)

    with pytest.raises(DatasetError):
        store.members(0)
    store.close()


def test_a_split_without_samples_is_refused(folder):
    with pytest.raises(DatasetError, match="test"):
        shards_of(folder, "test")
