from __future__ import annotations

import tracemalloc
from collections.abc import Iterator, Sequence
from io import BytesIO
from pathlib import Path

import pydicom
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydicom.dataset import Dataset

from conformance.profile import Status
from dicom_node.errors import RetrieveError
from dicom_node.receive import InstanceReceiver
from dicom_node.retrieve.parts import take_files
from dicom_node.retrieve.storing import Arrivals
from dicom_node.spool import Spool
from tests.builders.dicom_server import MemoryLedger
from tests.builders.qr_archive import instance

BOUNDARY = "edge-of-a-part"
KIND = f'multipart/related; type="application/dicom"; boundary="{BOUNDARY}"'


def file_of(ds: Dataset) -> bytes:
    data = BytesIO()
    ds.save_as(data, enforce_file_format=True)
    return data.getvalue()


def body_of(files: Sequence[bytes]) -> bytes:
    head = b"\r\nContent-Type: application/dicom\r\n\r\n"
    edge = b"\r\n--" + BOUNDARY.encode()
    return b"".join(edge + head + one for one in files) + edge + b"--\r\n"


def make_arrivals(
    folder: Path, wanted: Sequence[Dataset], *, max_bytes: int = 1 << 20
) -> tuple[Arrivals, MemoryLedger]:
    ledger = MemoryLedger()
    receiver = InstanceReceiver(Spool(folder, min_free_bytes=0), ledger)
    arrivals = Arrivals(
        receiver, ae_title="ARCHIVE", address="127.0.0.1", max_bytes=max_bytes
    )
    arrivals.expect([one.SOPInstanceUID for one in wanted])
    return arrivals, ledger


@given(cuts=st.lists(st.integers(min_value=1, max_value=2000), max_size=40))
@settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
def test_files_are_kept_whole_however_the_answer_is_cut(
    tmp_path: Path, cuts: list[int]
) -> None:
    sent = [instance(number=number) for number in (1, 2)]
    sent[0].EncapsulatedDocument = b"\r\n--" + BOUNDARY.encode()[:-1] + b"\r\n-"
    arrivals, ledger = make_arrivals(tmp_path, sent)
    body = body_of([file_of(one) for one in sent])
    blocks, start = [], 0
    for cut in cuts:
        blocks.append(body[start : start + cut])
        start += cut
    blocks.append(body[start:])

    take_files(KIND, blocks, arrivals=arrivals)

    assert arrivals.kept == {one.SOPInstanceUID for one in sent}
    kept = {one.sop_instance_uid: one for one in ledger.instances}
    for one in sent:
        read = pydicom.dcmread(tmp_path / kept[one.SOPInstanceUID].path)
        assert read == one


def test_one_file_may_come_without_parts(tmp_path: Path) -> None:
    sent = instance()
    arrivals, _ = make_arrivals(tmp_path, [sent])

    take_files("application/dicom", [file_of(sent)], arrivals=arrivals)

    assert arrivals.kept == {sent.SOPInstanceUID}


def test_what_was_not_asked_for_or_is_no_file_is_not_kept(tmp_path: Path) -> None:
    asked, other = instance(number=1), instance(number=2)
    arrivals, ledger = make_arrivals(tmp_path, [asked])
    files = [file_of(other), b"<html>", b"", file_of(asked)]

    take_files(KIND, [body_of(files)], arrivals=arrivals)

    assert [one.sop_instance_uid for one in ledger.instances] == ["1.2.3.1.1"]
    assert arrivals.refusals == [Status.CANNOT_UNDERSTAND] * 3
    assert not list((tmp_path / "incoming").iterdir())


def test_what_is_larger_than_allowed_is_not_kept(tmp_path: Path) -> None:
    sent = instance()
    sent.EncapsulatedDocument = bytes(5000)
    arrivals, ledger = make_arrivals(tmp_path, [sent], max_bytes=4000)

    take_files(KIND, [body_of([file_of(sent)])], arrivals=arrivals)

    assert ledger.instances == []
    assert arrivals.refusals == [Status.OUT_OF_RESOURCES]
    assert not list((tmp_path / "incoming").iterdir())


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        ("text/html", b"<html>sign in</html>"),
        ("", b""),
        (KIND, b"this is no part at all"),
        (KIND, body_of([file_of(instance())])[:-40]),
        ("multipart/related", body_of([file_of(instance())])),
    ],
)
def test_an_answer_that_is_none_or_ends_early_is_an_error(
    tmp_path: Path, kind: str, body: bytes
) -> None:
    arrivals, ledger = make_arrivals(tmp_path, [instance()])

    with pytest.raises(RetrieveError):
        take_files(kind, [body], arrivals=arrivals)

    assert ledger.instances == []
    assert not list((tmp_path / "incoming").iterdir())


def test_a_part_that_is_no_dicom_file_is_not_kept_in_memory(tmp_path: Path) -> None:
    wanted = instance()
    arrivals, _ = make_arrivals(tmp_path, [wanted])
    head = f"--{BOUNDARY}\r\n\r\n".encode()

    def blocks() -> Iterator[bytes]:
        yield head
        for _ in range(400):
            yield b"not DICOM" * 8192
        yield f"\r\n--{BOUNDARY}--\r\n".encode()

    tracemalloc.start()
    take_files(KIND, blocks(), arrivals=arrivals)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert peak < 4 << 20  # of 29 MB
    assert arrivals.refusals == [Status.CANNOT_UNDERSTAND]
