from __future__ import annotations

import hashlib
import json
import tarfile
from pathlib import Path

import pytest

from tests.builders.records import make_record, make_region
from training.build.blocks import read_chunk
from training.build.shards import SampleSource, ShardTask, read_done, write_shard
from training.errors import DatasetError
from training.layout import index_of, iterate_shard, pixel_digest
from training.records import ImageRecord


def _task(folder: Path, samples: int = 3) -> ShardTask:
    chunks = folder / "block.bin"
    folder.mkdir(exist_ok=True)
    sources = []
    with chunks.open("wb") as stream:
        for number in range(samples):
            record = make_record(make_region("liver"), split=None, cluster=None)
            members = [
                ("json", record.to_json().encode()),
                ("png", bytes([number]) * (300 * number)),
                ("n0.png", b"beside"),
            ]
            head = {"key": f"k{number}", "members": [[e, len(c)] for e, c in members]}
            at = stream.tell()
            stream.write(json.dumps(head).encode() + b"\n")
            stream.writelines(content for _, content in members)
            length = stream.tell() - at
            sources.append(SampleSource(str(chunks), at, length, f"c{number}"))
    return ShardTask(
        name="shard-000000.tar",
        split="val",
        first=0,
        samples=tuple(sources),
        shards=str(folder / "shards"),
        work=str(folder / "work"),
    )


def test_a_shard_is_a_tar_that_others_can_read(tmp_path: Path) -> None:
    task = _task(tmp_path)

    write_shard(task)

    with tarfile.open(tmp_path / "shards" / task.name) as tar:
        members = {one.name: tar.extractfile(one) for one in tar.getmembers()}
        contents = {name: one.read() for name, one in members.items() if one}
        assert {one.mtime for one in tar.getmembers()} == {0}
    assert list(contents)[:3] == ["k0.json", "k0.png", "k0.n0.png"]
    assert contents["k2.png"] == bytes([2]) * 600
    record = ImageRecord.from_json(contents["k1.json"])
    assert (record.split, record.cluster) == ("val", "c1")


def test_the_index_leads_to_each_sample(tmp_path: Path) -> None:
    task = _task(tmp_path)

    write_shard(task)

    shard = tmp_path / "shards" / task.name
    whole = list(iterate_shard(shard))
    assert len(index_of(shard)) == 4
    assert [one["__key__"] for one in whole] == [b"k0", b"k1", b"k2"]
    assert list(iterate_shard(shard, start=2)) == whole[2:]
    with pytest.raises(DatasetError, match="no sample"):
        list(iterate_shard(shard, start=7))


def test_the_digest_of_a_shard_is_that_of_its_file(tmp_path: Path) -> None:
    task = _task(tmp_path)

    write_shard(task)

    done = read_done(task)
    content = (tmp_path / "shards" / task.name).read_bytes()
    assert done is not None
    assert done.sha256 == hashlib.sha256(content).hexdigest()
    assert done.bytes == len(content)
    assert len(content) % tarfile.RECORDSIZE == 0


def test_a_written_shard_is_not_written_again(tmp_path: Path) -> None:
    task = _task(tmp_path)
    write_shard(task)
    (tmp_path / "block.bin").unlink()

    write_shard(task)

    assert read_done(task) is not None


def test_a_shard_that_went_missing_is_written_again(tmp_path: Path) -> None:
    task = _task(tmp_path)
    write_shard(task)
    (tmp_path / "shards" / task.name).unlink()

    assert read_done(task) is None
    write_shard(task)
    assert read_done(task) is not None


def test_a_chunk_gives_its_members_back() -> None:
    chunk = b'{"key": "a", "members": [["x", 2], ["y", 0], ["z", 3]]}\n\n\nabc'

    assert read_chunk(chunk) == ("a", [("x", b"\n\n"), ("y", b""), ("z", b"abc")])


def test_digests_tell_shape_type_and_values_apart() -> None:
    import numpy as np

    arrays = [
        np.zeros((2, 3), np.uint8),
        np.zeros((3, 2), np.uint8),
        np.zeros((2, 3), np.uint16),
        np.ones((2, 3), np.uint8),
    ]

    assert len({pixel_digest(one) for one in arrays}) == 4
    big = np.arange(6, dtype=">u2").reshape(2, 3)
    assert pixel_digest(big) == pixel_digest(big.astype("<u2"))
