"""A peer that falls silent inside a PDU holds nobody who called it."""

from __future__ import annotations

import socket
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import (
    EncapsulatedPDFStorage,
    ExplicitVRLittleEndian,
    generate_uid,
)

from dicom_node.config import DicomPeer
from dicom_node.deliver import SendOutcome, Timeouts, echo, send_objects
from dicom_node.errors import AssociationRefusedError, StoreRefusedError
from dicom_node.scp.pdu import (
    answer_context,
    decode_associate_request,
    encode_associate_accept,
)

QUICK = Timeouts(connect_s=1.0, associate_s=1.0, response_s=0.5)
PATIENCE_S = 20.0


def _read(connection: socket.socket, count: int) -> bytes:
    data = b""
    while len(data) < count:
        piece = connection.recv(count - len(data))
        assert piece
        data += piece
    return data


def _read_pdu(connection: socket.socket) -> bytes:
    (length,) = struct.unpack(">2xL", _read(connection, 6))
    return _read(connection, length)


@contextmanager
def _peer(
    then: Callable[[socket.socket, threading.Event], None],
) -> Iterator[DicomPeer]:
    """Accept one association, then do as told until the block is over."""
    is_over = threading.Event()

    def serve() -> None:
        connection, _ = listener.accept()
        with connection:
            request = decode_associate_request(_read_pdu(connection))
            answers = [answer_context(one) for one in request.contexts]
            connection.sendall(
                encode_associate_accept(request, answers, max_pdu_bytes=16384, roles={})
            )
            then(connection, is_over)
            is_over.wait(PATIENCE_S)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield DicomPeer("x", "PEER", "127.0.0.1", listener.getsockname()[1])
        finally:
            is_over.set()
            thread.join()


def _ends(call: Callable[[], object]) -> bool:
    thread = threading.Thread(target=call, daemon=True)
    thread.start()
    thread.join(PATIENCE_S / 2)
    return not thread.is_alive()


def _stop_inside_a_pdu(connection: socket.socket, _: threading.Event) -> None:
    _read_pdu(connection)
    connection.sendall(b"\x04\x00\x00")


def _trickle_a_pdu(connection: socket.socket, is_over: threading.Event) -> None:
    _read_pdu(connection)
    connection.sendall(b"\x04\x00\x00\x00\xff\xff")
    try:
        while not is_over.wait(0.05):
            connection.sendall(b"\x00")
    except ConnectionError:
        return


@pytest.mark.parametrize("then", [_stop_inside_a_pdu, _trickle_a_pdu])
def test_an_answer_that_never_ends_is_not_waited_for(
    then: Callable[[socket.socket, threading.Event], None],
) -> None:
    with _peer(then) as peer:

        def call() -> None:
            with pytest.raises((AssociationRefusedError, StoreRefusedError)):
                echo(peer, ae_title="NODE", timeouts=QUICK)

        assert _ends(call)


def test_a_peer_that_takes_no_more_is_not_waited_for(tmp_path: Path) -> None:
    data_set = Dataset()
    data_set.SOPClassUID = EncapsulatedPDFStorage
    data_set.SOPInstanceUID = generate_uid()
    data_set.EncapsulatedDocument = bytes(32 << 20)
    data_set.file_meta = FileMetaDataset()
    data_set.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    path = tmp_path / "large.dcm"
    data_set.save_as(path, enforce_file_format=True)
    outcomes: list[SendOutcome] = []

    def call() -> None:
        outcomes.extend(send_objects([path], peer, ae_title="NODE", timeouts=QUICK))

    with _peer(lambda *_: None) as peer:
        assert _ends(call)
    assert [bool(one.reason) for one in outcomes] == [True]
