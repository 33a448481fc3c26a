"""What a C-STORE is answered with, and what is on disk when it is."""

from __future__ import annotations

import errno
import hashlib
import mmap
import os
from pathlib import Path
from typing import Any

import pydicom
import pytest
import structlog

from conformance.profile import Status
from dicom_node.errors import StoreError
from dicom_node.header import read_header
from dicom_node.instance_file import instance_sha256
from dicom_node.records import ReceivedInstance
from dicom_node.spool import Spool
from dicom_node.store import InstanceOutcome
from tests.builders.dicom_server import MemoryLedger, running_server
from tests.builders.process import wait_until
from tests.builders.raw_peer import (
    RawPeer,
    command_set,
    encode_data_set,
    make_instance,
    p_data,
)

CANARY = "ZZCANARY"


def test_the_bytes_are_kept_as_they_came(tmp_path: Path) -> None:
    ds = make_instance()
    ds.add_new(0x00091001, "UN", os.urandom(200_001) + b"\0")
    data = encode_data_set(ds)
    with running_server(tmp_path) as node, RawPeer(node.port) as peer:
        peer.associate()
        # Fragments of odd sizes: the bytes do not depend on how they were cut.
        peer.send(p_data(command_set(1, sop_instance="1.2.3.4"), is_command=True))
        for at in range(0, len(data), 7001):
            piece = data[at : at + 7001]
            peer.send(p_data(piece, is_last=at + 7001 >= len(data)))
        assert peer.response().status == Status.SUCCESS

        (path,) = node.files()
        header = read_header(path)
        ((instance, outcome),) = node.seen

    assert path.read_bytes()[header.data_set_offset :] == data
    assert outcome is InstanceOutcome.NEW
    assert instance.path == path.relative_to(tmp_path)
    assert instance.sha256 == instance_sha256(path, header) == path.stem
    assert instance.size_bytes == path.stat().st_size
    assert instance.calling_ae_title == "PACS"
    assert instance.peer_address == "127.0.0.1"
    assert instance.received_at.tzinfo is not None
    assert pydicom.dcmread(path).file_meta.MediaStorageSOPInstanceUID == "1.2.3.4"


def test_an_instance_is_durable_when_it_is_acknowledged(tmp_path: Path) -> None:
    seen: list[bool] = []

    def look(instance: ReceivedInstance) -> None:
        # When the ledger is asked, the file is whole already.
        path = tmp_path / instance.path
        digest = instance_sha256(path, read_header(path))
        seen.append(digest == instance.sha256)

    with (
        running_server(tmp_path, ledger=MemoryLedger(before=look)) as node,
        RawPeer(node.port) as peer,
    ):
        peer.associate()
        assert peer.store(make_instance()).status == Status.SUCCESS

    assert seen == [True]


def test_a_duplicate_changes_nothing_and_other_bytes_are_kept_beside(
    tmp_path: Path,
) -> None:
    with running_server(tmp_path) as node, RawPeer(node.port) as peer:
        peer.associate()
        for name in ("a", "a", "b", "b"):
            answer = peer.store(make_instance(PatientID=name))
            assert answer.status == Status.SUCCESS

        assert [str(one) for one in node.ledger.outcomes] == [
            "new",
            "duplicate",
            "conflict",
            "duplicate",
        ]
        assert len(node.files()) == 2
        assert node.server.statistics.instances == {
            "new": 1,
            "duplicate": 2,
            "conflict": 1,
        }


def test_two_callers_with_the_same_instance_at_once_make_one_file(
    tmp_path: Path,
) -> None:
    with (
        running_server(tmp_path) as node,
        RawPeer(node.port) as one,
        RawPeer(node.port) as other,
    ):
        for peer in (one, other):
            peer.associate()
        for peer in (one, other):
            peer.request(encode_data_set(make_instance()))
        assert [peer.response().status for peer in (one, other)] == [0, 0]

        assert len(node.files()) == 1
        assert node.parts() == []


def _deep(depth: int) -> bytes:
    item = bytes.fromhex("4000 30A7 5351 0000 FFFFFFFF FEFF 00E0 FFFFFFFF")
    end = bytes.fromhex("FEFF 0DE0 00000000 FEFF DDE0 00000000")
    return item * depth + end * depth


@pytest.mark.parametrize(
    ("data", "sop_instance", "status"),
    [
        (b"rubbish that is no data set", "1.2.3.4", Status.CANNOT_UNDERSTAND),
        (encode_data_set(make_instance())[:-3], "1.2.3.4", Status.CANNOT_UNDERSTAND),
        (
            encode_data_set(make_instance()) + _deep(65),
            "1.2.3.4",
            Status.CANNOT_UNDERSTAND,
        ),
        (encode_data_set(make_instance()) + _deep(64), "1.2.3.4", Status.SUCCESS),
        (encode_data_set(make_instance()), "../../x", Status.CANNOT_UNDERSTAND),
        (encode_data_set(make_instance()), "/etc/passwd", Status.CANNOT_UNDERSTAND),
        (encode_data_set(make_instance()), "1.2.\n3", Status.CANNOT_UNDERSTAND),
        (encode_data_set(make_instance()), "1.2\x003", Status.CANNOT_UNDERSTAND),
        (encode_data_set(make_instance()), "", Status.CANNOT_UNDERSTAND),
        (encode_data_set(make_instance()), "1.2.3.5", Status.DATA_SET_MISMATCH),
        (
            encode_data_set(make_instance(SOPClassUID="1.2.840.10008.5.1.4.1.1.4")),
            "1.2.3.4",
            Status.DATA_SET_MISMATCH,
        ),
        (
            encode_data_set(make_instance(SOPInstanceUID="", SOPClassUID=None)),
            "1.2.3.4",
            Status.SUCCESS,
        ),
        (
            encode_data_set(make_instance(StudyInstanceUID="", SeriesInstanceUID="")),
            "1.2.3.4",
            Status.SUCCESS,
        ),
        (b"", "1.2.3.4", Status.CANNOT_UNDERSTAND),
    ],
)
def test_each_kind_of_instance_has_its_status(
    tmp_path: Path, data: bytes, sop_instance: str, status: Status
) -> None:
    with running_server(tmp_path) as node, RawPeer(node.port) as peer:
        peer.associate()
        peer.request(data, sop_instance=sop_instance)
        answer = peer.response()

        assert answer.status == status
        assert bool(answer.comment) is (status != Status.SUCCESS)
        assert len(answer.comment) <= 64
        assert CANARY not in answer.comment
        assert peer.store(make_instance("1.2.9")).status == Status.SUCCESS
        assert node.parts() == []
        assert len(node.files()) == len(node.ledger.instances)
        if status != Status.SUCCESS:
            assert node.server.statistics.instances_refused == {status: 1}
            assert 0x1000 not in answer.elements or sop_instance.startswith("1.2.3.")


def test_no_name_on_disk_comes_from_a_caller(tmp_path: Path) -> None:
    with running_server(tmp_path / "data") as node, RawPeer(node.port) as peer:
        peer.associate()
        peer.request(encode_data_set(make_instance()), sop_instance="../../../x")
        peer.response()
        peer.store(make_instance("1.2.3.99"))

    names = {path.name for path in tmp_path.rglob("*")}
    assert not any("1.2.3" in name or name == "x" for name in names)


@pytest.mark.parametrize("call", ["write", "fsync"])
@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT, errno.EIO])
def test_a_full_or_failing_disk_is_out_of_resources_until_it_recovers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str, code: int
) -> None:
    def fail(*_: object) -> None:
        raise OSError(code, os.strerror(code), f"/data/{CANARY}")

    with running_server(tmp_path) as node, RawPeer(node.port) as peer:
        peer.associate()
        with monkeypatch.context() as patch:
            patch.setattr(os, call, fail)
            for _ in range(2):
                answer = peer.store(make_instance())
                assert answer.status == Status.OUT_OF_RESOURCES
                assert os.strerror(code) in answer.comment
                assert CANARY not in answer.comment

        assert node.files() == node.parts() == []
        assert peer.store(make_instance()).status == Status.SUCCESS


def test_less_disk_than_reserved_is_out_of_resources(tmp_path: Path) -> None:
    with (
        running_server(tmp_path, min_free_bytes=1 << 60) as node,
        RawPeer(node.port) as peer,
    ):
        peer.associate()
        assert peer.store(make_instance()).status == Status.OUT_OF_RESOURCES


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (StoreError(), Status.OUT_OF_RESOURCES),
        (MemoryError(), Status.OUT_OF_RESOURCES),
        (RecursionError(CANARY), Status.PROCESSING_FAILURE),
        (ValueError(CANARY), Status.PROCESSING_FAILURE),
    ],
)
def test_a_failing_ledger_is_never_a_success(
    tmp_path: Path, error: Exception, status: Status
) -> None:
    def fail(_: ReceivedInstance) -> None:
        if not is_healed:
            raise error

    is_healed: list[bool] = []
    with (
        running_server(tmp_path, ledger=MemoryLedger(before=fail)) as node,
        RawPeer(node.port) as peer,
    ):
        peer.associate()
        answer = peer.store(make_instance())
        assert answer.status == status
        assert CANARY not in answer.comment
        assert node.seen == []

        # The file that nobody vouches for is the same when it comes again.
        is_healed.append(True)
        assert peer.store(make_instance()).status == Status.SUCCESS
        assert len(node.files()) == 1


def test_a_failing_callback_takes_nothing_back(tmp_path: Path) -> None:
    def fail(*_: Any) -> None:
        raise RuntimeError(CANARY)

    with running_server(tmp_path) as node:
        node.server.receiver._on_instance = fail
        node.server._on_release = fail
        with RawPeer(node.port) as peer:
            peer.associate()
            assert peer.store(make_instance()).status == Status.SUCCESS
            assert peer.release() == 6
        with RawPeer(node.port) as peer:
            peer.associate()


def test_the_end_of_an_association_names_its_studies(tmp_path: Path) -> None:
    with running_server(tmp_path) as node:
        for ends_well in (True, False):
            with RawPeer(node.port) as peer:
                peer.associate()
                for number, study in enumerate(("1.1", "1.1", "1.2")):
                    ds = make_instance(f"1.2.{number}", StudyInstanceUID=study)
                    assert peer.store(ds).status == Status.SUCCESS
                if ends_well:
                    peer.release()
        wait_until(lambda: len(node.released) == 2, timeout_s=2, what="two ends")

    assert node.released == [frozenset({"1.1", "1.2"})] * 2


@pytest.mark.parametrize(
    ("options", "status"),
    [
        ({"sop_class": "1.2.840.10008.5.1.4.1.1.4"}, Status.SOP_CLASS_NOT_SUPPORTED),
        ({"field": 0x0020}, Status.UNRECOGNIZED_OPERATION),
        ({"field": 0x0030}, Status.UNRECOGNIZED_OPERATION),
        ({"data_set": None}, Status.MISTYPED_ARGUMENT),
    ],
)
def test_requests_that_do_not_fit_their_context_have_their_status(
    tmp_path: Path, options: dict[str, Any], status: Status
) -> None:
    with running_server(tmp_path) as node, RawPeer(node.port) as peer:
        peer.associate()
        data_set = options.pop("data_set", encode_data_set(make_instance()))
        peer.request(data_set, **options)

        assert peer.response().status == status
        assert peer.store(make_instance()).status == Status.SUCCESS


def test_logs_hold_no_patient_data(tmp_path: Path) -> None:
    with (
        structlog.testing.capture_logs() as logs,
        running_server(tmp_path) as node,
        RawPeer(node.port) as peer,
    ):
        peer.associate()
        peer.store(make_instance(PatientID=CANARY))
        peer.store(make_instance(PatientID=CANARY * 2))
        peer.request(encode_data_set(make_instance())[:-3])
        peer.response()
        peer.request(encode_data_set(make_instance()), sop_instance=f"1.{CANARY}")
        peer.response()
        peer.send(b"\x04" + CANARY.encode())

    assert {one["event"] for one in logs} >= {"instance_received", "instance_refused"}
    assert CANARY not in repr(logs)


def test_the_hash_tells_apart_instances_whose_data_sets_do_not_name_them(
    tmp_path: Path,
) -> None:
    data = encode_data_set(make_instance(SOPInstanceUID=""))
    with running_server(tmp_path) as node, RawPeer(node.port) as peer:
        peer.associate()
        for uid in ("1.2.1", "1.2.2"):
            peer.request(data, sop_instance=uid)
            assert peer.response().status == Status.SUCCESS

        uids = [read_header(path).sop_instance_uid for path in node.files()]

    assert sorted(uids) == ["1.2.1", "1.2.2"]
    assert hashlib.sha256(data).hexdigest() not in {one.stem for one in node.files()}


def test_most_of_an_image_is_on_its_way_to_the_disk_before_it_is_synced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[tuple[str, int, int]] = []
    advise, sync = os.posix_fadvise, os.fsync

    def advised(descriptor: int, start: int, count: int, advice: int) -> None:
        calls.append(("begin", start, count))
        advise(descriptor, start, count, advice)

    def synced(descriptor: int) -> None:
        calls.append(("sync", 0, os.fstat(descriptor).st_size))
        sync(descriptor)

    spool = Spool(tmp_path, min_free_bytes=0)
    spool.open().abort()  # the folder of spare files is synced for it
    spool.make_folder((tmp_path / spool.final_path("ab" * 32)).parent)
    monkeypatch.setattr(os, "posix_fadvise", advised)
    monkeypatch.setattr(os, "fsync", synced)
    for size in (1 << 20, 20_000):
        writer = spool.open()
        writer.write(bytes(132) + bytes(size - 132))
        writer.begin_to_sync()
        writer.commit("ab" * 32)
        writer.keep()

    begun = ("begin", mmap.PAGESIZE, (1 << 20) - mmap.PAGESIZE)
    files = [one for one in calls if one[2] >= 20_000]
    assert files == [begun, ("sync", 0, 1 << 20), ("sync", 0, 20_000)]
