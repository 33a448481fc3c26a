"""What a thread hashes beside the reception is what was received."""

from __future__ import annotations

import hashlib
import threading
from pathlib import Path

import pytest

from conformance.profile import Status
from dicom_node import receive
from dicom_node.hash_ahead import HashAhead
from dicom_node.receive import InstanceReceiver, StoreAnswer, StoreRequest
from dicom_node.spool import Spool
from dicom_node.store import Store
from tests.builders.raw_peer import (
    CT_IMAGE_STORAGE,
    EXPLICIT_LITTLE,
    encode_data_set,
    make_instance,
)

MIB = 1 << 20


def _hashers() -> int:
    return sum(one.name == "hash" for one in threading.enumerate())


@pytest.mark.parametrize("size", [10, MIB, MIB + 1, 3 * MIB + 7])
@pytest.mark.parametrize("offset", [0, 10])
def test_the_hash_of_a_file_that_grows_is_that_of_its_bytes(
    tmp_path: Path, size: int, offset: int
) -> None:
    data = bytes(range(251)) * (size // 251 + 1)
    path = tmp_path / "part"
    with path.open("wb", buffering=0) as file:
        file.write(data[:offset])
        ahead = HashAhead(path, hashlib.sha256(data[:offset]), offset=offset)
        for start in range(offset, size, 100_000):
            file.write(data[start : min(start + 100_000, size)])
            ahead.advance(file.tell())

        digest = ahead.finish(size)

    assert digest.digest() == hashlib.sha256(data[:size]).digest()
    assert not _hashers()


def test_a_file_that_is_shorter_than_told_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "part"
    path.write_bytes(b"half")
    ahead = HashAhead(path, hashlib.sha256(), offset=0)

    with pytest.raises(OSError, match="Input/output"):
        ahead.finish(8)
    assert not _hashers()


def test_a_thread_that_ends_early_gives_no_hash_of_a_part(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> int:
        raise MemoryError

    path = tmp_path / "part"
    path.write_bytes(bytes(3 * MIB))
    monkeypatch.setattr("dicom_node.hash_ahead.os.preadv", fail)
    ahead = HashAhead(path, hashlib.sha256(), offset=0)

    with pytest.raises(MemoryError):
        ahead.finish(3 * MIB)
    assert not _hashers()


def _receive(tmp_path: Path, *, is_whole: bool = True) -> StoreAnswer | None:
    data = encode_data_set(make_instance("1.2.3.9", ImageComments="x" * 9_000))
    with Store(f"sqlite:///{tmp_path / 'node.sqlite'}") as store:
        store.migrate()
        reception = InstanceReceiver(Spool(tmp_path, min_free_bytes=0), store).begin(
            StoreRequest(
                CT_IMAGE_STORAGE, "1.2.3.9", EXPLICIT_LITTLE, "PACS", "127.0.0.1"
            )
        )
        for start in range(0, len(data), 1000):
            reception.write(memoryview(data)[start : start + 1000])
        if is_whole:
            return reception.finish()
        reception.abandon()
        return None


def test_a_large_instance_has_the_hash_of_a_small_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    inline = _receive(tmp_path / "inline")
    monkeypatch.setattr(receive, "_LARGE_BYTES", 2000)

    beside = _receive(tmp_path / "beside")

    assert inline is not None
    assert beside is not None
    assert inline.instance is not None
    assert beside.instance is not None
    assert beside.instance.sha256 == inline.instance.sha256
    assert beside.instance.size_bytes == inline.instance.size_bytes
    assert not _hashers()


def test_an_abandoned_large_instance_leaves_neither_thread_nor_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(receive, "_LARGE_BYTES", 2000)

    _receive(tmp_path, is_whole=False)

    assert not _hashers()
    assert not list((tmp_path / "incoming").iterdir())


def test_a_large_instance_for_which_no_thread_is_left_is_kept_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> HashAhead:
        raise RuntimeError("can't start new thread")

    inline = _receive(tmp_path / "inline")
    monkeypatch.setattr(receive, "_LARGE_BYTES", 2000)
    monkeypatch.setattr(receive, "HashAhead", fail)

    alone = _receive(tmp_path / "alone")

    assert inline is not None
    assert alone is not None
    assert inline.instance is not None
    assert alone.instance is not None
    assert alone.instance.sha256 == inline.instance.sha256


def test_an_instance_whose_hash_failed_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> int:
        raise MemoryError

    monkeypatch.setattr(receive, "_LARGE_BYTES", 2000)
    monkeypatch.setattr("dicom_node.hash_ahead.os.preadv", fail)

    answer = _receive(tmp_path)

    assert answer is not None
    assert answer.status == Status.OUT_OF_RESOURCES
    assert answer.instance is None
