"""Callers that break the rules, on real loopback sockets."""

from __future__ import annotations

import socket
import struct
import threading
import time
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.builders.dicom_server import MemoryLedger, running_server
from tests.builders.process import wait_until
from tests.builders.raw_peer import (
    CT_IMAGE_STORAGE,
    EXPLICIT_LITTLE,
    RawPeer,
    associate_request,
    command_set,
    encode_data_set,
    item,
    make_instance,
    p_data,
)

VERIFICATION = "1.2.840.10008.1.1"
ABORT = 7


def _send_until_cut(peer: RawPeer, data: bytes, *, times: int) -> int:
    """Send the same again and again; return how often until the server hung up."""
    for count in range(times):
        try:
            peer.send(data)
        except (ConnectionError, TimeoutError):
            return count
    pytest.fail("the server took it all")


def _echo(port: int) -> int:
    with RawPeer(port) as peer:
        peer.associate(VERIFICATION)
        status = peer.echo()
        assert peer.release() == 6
    return status


@pytest.mark.parametrize("kind", [1, 4])
def test_a_giant_pdu_is_refused_by_its_header_alone(tmp_path: Path, kind: int) -> None:
    with running_server(tmp_path) as node, RawPeer(node.port) as peer:
        if kind == 4:
            peer.associate()
        peer.send(struct.pack(">BxL", kind, 0xFFFFFFF0))

        assert peer.read_pdu()[0] == ABORT
        assert peer.is_closed()


def test_something_else_than_dicom_is_aborted(tmp_path: Path) -> None:
    with running_server(tmp_path) as node, RawPeer(node.port) as peer:
        peer.send(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")

        kind, body = peer.read_pdu()

        assert (kind, body[2], body[3]) == (ABORT, 2, 1)


def test_half_headers_and_silence_keep_nobody_out(tmp_path: Path) -> None:
    with (
        running_server(tmp_path, pdu_timeout_s=4.0, max_associations=4) as node,
        ExitStack() as stack,
    ):
        peers = [stack.enter_context(RawPeer(node.port)) for _ in range(60)]
        for number, peer in enumerate(peers):
            peer.send((b"", b"\x01", b"\x01\0\0")[number % 3])

        assert _echo(node.port) == 0

        for peer in peers:
            assert peer.is_closed()
        wait_until(
            lambda: node.server.statistics.open_connections == 0,
            timeout_s=20,
            what="connections to be let go",
        )


def test_bytes_that_trickle_are_cut_at_the_deadline_of_the_pdu(tmp_path: Path) -> None:
    request = associate_request([(1, CT_IMAGE_STORAGE, [EXPLICIT_LITTLE])])
    with (
        running_server(tmp_path, pdu_timeout_s=0.6) as node,
        RawPeer(node.port) as peer,
    ):
        for byte in request:
            try:
                peer.send(bytes((byte,)))
            except ConnectionError:
                break
            time.sleep(0.05)
        else:
            pytest.fail("the server took it all")


def test_more_silent_connections_than_allowed_cut_the_oldest(tmp_path: Path) -> None:
    with (
        running_server(tmp_path, max_associations=4, pdu_timeout_s=30) as node,
        ExitStack() as stack,
    ):
        peers = [stack.enter_context(RawPeer(node.port)) for _ in range(300)]

        assert _echo(node.port) == 0
        assert peers[0].is_closed()
        wait_until(
            lambda: node.server.statistics.open_connections <= 4 + 256,
            timeout_s=20,
            what="the oldest to be gone",
        )


def test_one_address_that_takes_every_connection_loses_its_own(tmp_path: Path) -> None:
    with (
        running_server(tmp_path, max_associations=4, pdu_timeout_s=30) as node,
        ExitStack() as stack,
        RawPeer(node.port, source="127.0.0.2", timeout_s=20) as early,
    ):
        wait_until(
            lambda: node.server.statistics.open_connections == 1,
            timeout_s=20,
            what="the first to be let in",
        )
        for _ in range(300):
            stack.enter_context(RawPeer(node.port))
        wait_until(
            lambda: node.server.statistics.open_connections <= 4 + 256,
            timeout_s=20,
            what="the oldest of the many to be gone",
        )

        early.associate(VERIFICATION)

        assert early.echo() == 0


def test_who_is_in_the_middle_of_an_instance_yields_to_nobody(tmp_path: Path) -> None:
    with running_server(tmp_path, max_associations=4) as node, ExitStack() as stack:
        many = [stack.enter_context(RawPeer(node.port)) for _ in range(4)]
        for peer in many:
            peer.associate()
            peer.send(p_data(command_set(1, sop_instance="1.2"), is_command=True))
            for _ in range(16):
                peer.send(p_data(bytes(60_000), is_last=False))
        wait_until(
            lambda: node.server.statistics.bytes_received > 4 * 16 * 60_000,
            timeout_s=20,
            what="four to be busy",
        )
        other = stack.enter_context(RawPeer(node.port, source="127.0.0.2"))
        other.send(associate_request([(1, VERIFICATION, [EXPLICIT_LITTLE])]))

        assert other.read_pdu() == (3, bytes((0, 2, 3, 2)))
        assert node.server.statistics.open_associations == 4


@pytest.mark.parametrize("is_busy", [False, True])
def test_one_address_that_takes_every_association_yields_to_others(
    tmp_path: Path, is_busy: bool
) -> None:
    with running_server(tmp_path, max_associations=4) as node, ExitStack() as stack:
        many = [stack.enter_context(RawPeer(node.port)) for _ in range(4)]
        for peer in many:
            peer.associate()
            if is_busy:
                peer.send(p_data(command_set(1, sop_instance="1.2"), is_command=True))
                peer.send(p_data(bytes(100), is_last=False))
        if is_busy:
            wait_until(
                lambda: len(node.parts()) == 4, timeout_s=20, what="four to be busy"
            )
            time.sleep(1.0)  # And to bring next to nothing.
        others = [
            stack.enter_context(RawPeer(node.port, source="127.0.0.2"))
            for _ in range(3)
        ]

        for peer in others[:2]:
            peer.associate(VERIFICATION)
            assert peer.echo() == 0
        others[2].send(associate_request([(1, VERIFICATION, [EXPLICIT_LITTLE])]))

        # Both hold two now: nobody is cut only to change places.
        assert others[2].read_pdu() == (3, bytes((0, 2, 3, 2)))
        assert [peer.is_closed() for peer in many[:2]] == [True, True]
        assert node.server.statistics.open_associations == 4


def test_an_endless_instance_is_cut_and_leaves_nothing(tmp_path: Path) -> None:
    with running_server(tmp_path, max_instance_bytes=1 << 20) as node:
        with RawPeer(node.port) as peer:
            peer.associate()
            peer.send(p_data(command_set(1, sop_instance="1.2"), is_command=True))
            fragment = p_data(bytes(16000), is_last=False)

            sent = _send_until_cut(peer, fragment, times=4000) * len(fragment)

        # What is on the way in the kernel's buffers counts as sent.
        assert sent < 32 << 20
        wait_until(lambda: not node.parts(), timeout_s=20, what="the part to go")
        assert node.server.statistics.bytes_received < 4 << 20


def test_empty_fragments_without_end_are_cut(tmp_path: Path) -> None:
    with (
        running_server(tmp_path, max_instance_bytes=1 << 16) as node,
        RawPeer(node.port) as peer,
    ):
        peer.associate()
        peer.send(p_data(command_set(1, sop_instance="1.2"), is_command=True))

        _send_until_cut(peer, p_data(b"", is_last=False), times=100_000)


@pytest.mark.parametrize(
    ("contexts", "why"),
    [
        ([(2 * n % 256 | 1, "1.2", ["1.2"]) for n in range(5000)], "5,000 contexts"),
        ([(n, "1.2", ["1.2"]) for n in (1, 1)], "the same id twice"),
        ([(2, "1.2", ["1.2"])], "an even id"),
        ([(1, "1.2", ["1.2.3"] * 65)], "too many transfer syntaxes"),
        ([], "no context"),
    ],
)
def test_requests_beyond_the_limits_are_aborted(
    tmp_path: Path, contexts: list[tuple[int, str, list[str]]], why: str
) -> None:
    with running_server(tmp_path) as node, RawPeer(node.port) as peer:
        peer.send(associate_request(contexts))

        kind, body = peer.read_pdu()

        assert (kind, body[2]) == (ABORT, 2), why


@pytest.mark.parametrize("cut", [0, 10, 67, 80, 100, 120])
def test_a_request_cut_short_inside_is_aborted(tmp_path: Path, cut: int) -> None:
    body = associate_request([(1, CT_IMAGE_STORAGE, [EXPLICIT_LITTLE])])[6:][:cut]
    with running_server(tmp_path) as node, RawPeer(node.port) as peer:
        peer.send(struct.pack(">BxL", 1, len(body)) + body)

        assert peer.read_pdu()[0] == ABORT


def test_the_largest_request_allowed_is_answered(tmp_path: Path) -> None:
    syntaxes = [f"1.2.840.10008.1.2.4.{n}" for n in range(64)]
    contexts = [(2 * n + 1, CT_IMAGE_STORAGE, syntaxes) for n in range(128)]
    with running_server(tmp_path) as node, RawPeer(node.port) as peer:
        peer.send(associate_request(contexts))

        assert peer.read_pdu()[0] == 2


def test_user_items_of_any_kind_are_passed_over(tmp_path: Path) -> None:
    odd = item(0x58, bytes(300)) + item(0x53, b"\0\0\0\0") + item(0x99, b"?")
    with running_server(tmp_path) as node, RawPeer(node.port) as peer:
        peer.associate(VERIFICATION, user_items=odd)

        assert peer.echo() == 0


@pytest.mark.parametrize(
    "data",
    [
        p_data(b"\x01\x02\x03", is_command=True),
        p_data(bytes(200), is_command=True),
        p_data(b"\x01", is_command=False),
        p_data(b"\x01", is_command=True, context_id=3),
        p_data(command_set(0x8001, has_data_set=False), is_command=True),
        struct.pack(">BxL", 4, 0),
        struct.pack(">BxLLBB", 4, 6, 100, 1, 3),
        struct.pack(">BxLLBB", 4, 6, 1, 1, 3),
        struct.pack(">BxL", 4, 3) + b"abc",
        b"\x02\0\0\0\0\x04abcd",
        b"\x99\0\0\0\0\x04abcd",
        p_data(bytes(70_000), is_command=True, is_last=False),
        p_data(command_set(1, sop_instance="1.2"), is_command=True)
        + p_data(command_set(1, sop_instance="1.2"), is_command=True),
        p_data(command_set(1, sop_instance="1.2"), is_command=True)
        + b"\x05\0\0\0\0\x04\0\0\0\0",
    ],
)
def test_what_breaks_the_protocol_aborts_this_association_alone(
    tmp_path: Path, data: bytes
) -> None:
    with running_server(tmp_path) as node:
        with RawPeer(node.port) as bystander, RawPeer(node.port) as peer:
            bystander.associate(VERIFICATION)
            peer.associate()
            peer.send(data)

            assert peer.read_pdu()[0] == ABORT
            assert peer.is_closed()
            assert bystander.echo() == 0

        wait_until(
            lambda: node.server.statistics.open_associations == 0,
            timeout_s=20,
            what="the associations to end",
        )
        assert node.parts() == []
        assert node.server.statistics.associations_aborted >= 1


def test_a_pdu_beyond_the_negotiated_length_is_refused(tmp_path: Path) -> None:
    with (
        running_server(tmp_path, max_pdu_bytes=8192) as node,
        RawPeer(node.port) as peer,
    ):
        peer.associate()
        peer.send(p_data(command_set(1, sop_instance="1.2"), is_command=True))
        peer.send(p_data(bytes(9000), pdu_bytes=16384, is_last=False))

        assert peer.read_pdu()[0] == ABORT


def test_an_association_dropped_in_a_data_set_leaves_nothing(tmp_path: Path) -> None:
    with running_server(tmp_path) as node:
        for is_reset in (False, True):
            peer = RawPeer(node.port)
            peer.associate()
            peer.send(p_data(command_set(1, sop_instance="1.2"), is_command=True))
            peer.send(p_data(bytes(100_000), is_last=False))
            wait_until(lambda: bool(node.parts()), timeout_s=20, what="a part")
            if is_reset:
                peer.socket.setsockopt(
                    socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0)
                )
            peer.socket.close()

            wait_until(lambda: not node.parts(), timeout_s=20, what="the part to go")

        assert node.files() == []
        wait_until(lambda: len(node.released) == 2, timeout_s=20, what="two releases")


def test_a_silent_association_is_ended_and_a_busy_one_is_not(tmp_path: Path) -> None:
    slow = MemoryLedger(before=lambda _: time.sleep(0.8))
    with (
        running_server(tmp_path, idle_timeout_s=0.5, ledger=slow) as node,
        RawPeer(node.port) as peer,
    ):
        peer.associate()

        # Storing takes longer than the timeout, and the wait begins anew after it.
        assert peer.store(make_instance("1.2.1")).status == 0
        time.sleep(0.3)
        assert peer.store(make_instance("1.2.2")).status == 0

        assert peer.read_pdu()[0] == ABORT


def test_requests_sent_ahead_wait_and_are_answered_in_order(tmp_path: Path) -> None:
    gate = threading.Event()
    ledger = MemoryLedger(before=lambda _: gate.wait(5) and None)
    with running_server(tmp_path, ledger=ledger) as node:
        with RawPeer(node.port) as peer:
            peer.associate()
            for number in range(1, 6):
                uid = f"1.2.{number}"
                data = encode_data_set(make_instance(uid))
                peer.request(data, sop_instance=uid, message_id=number)
            time.sleep(0.2)
            assert len(node.parts()) <= 1
            gate.set()

            answers = [peer.response() for _ in range(5)]

        assert [answer.status for answer in answers] == [0] * 5
        ids = [int.from_bytes(answer.elements[0x0120], "little") for answer in answers]
        assert ids == [1, 2, 3, 4, 5]


def test_a_busy_disk_slows_the_sender_down(tmp_path: Path) -> None:
    gate = threading.Event()
    ledger = MemoryLedger(before=lambda _: gate.wait(5) and None)
    with running_server(tmp_path, ledger=ledger) as node, RawPeer(node.port) as peer:
        peer.associate()
        peer.request(encode_data_set(make_instance("1.2")), sop_instance="1.2")
        peer.socket.settimeout(0.5)

        with pytest.raises(TimeoutError):
            peer.send(bytes(64 << 20))
        assert node.server.statistics.bytes_received < 1 << 20

        gate.set()


def test_a_caller_that_never_reads_is_cut(tmp_path: Path) -> None:
    with running_server(tmp_path, pdu_timeout_s=0.5) as node:
        with RawPeer(node.port) as peer:
            peer.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            peer.associate(VERIFICATION)
            echo = p_data(
                command_set(0x30, sop_class=VERIFICATION, has_data_set=False),
                is_command=True,
            )

            _send_until_cut(peer, echo * 100, times=2000)

        assert _echo(node.port) == 0


@pytest.mark.parametrize("field", [0x0001, 0x0020, 0x0010, 0x0021, 0x0100, 0x0130])
def test_operations_of_other_services_are_refused_by_status(
    tmp_path: Path, field: int
) -> None:
    with running_server(tmp_path) as node, RawPeer(node.port) as peer:
        peer.associate(VERIFICATION)
        peer.request(b"\0" * 8, field=field, sop_class=VERIFICATION, sop_instance="")

        answer = peer.response()

        assert answer.status == 0x0211
        assert answer.elements[0x0100] == struct.pack("<H", field | 0x8000)
        assert peer.release() == 6


def test_a_cancel_is_passed_over(tmp_path: Path) -> None:
    with running_server(tmp_path) as node, RawPeer(node.port) as peer:
        peer.associate(VERIFICATION)
        cancel = command_set(0x0FFF, sop_class=VERIFICATION, has_data_set=False)
        peer.send(p_data(cancel, is_command=True))

        assert peer.echo() == 0


def test_answers_fit_into_the_smallest_pdu_that_a_caller_takes(tmp_path: Path) -> None:
    with running_server(tmp_path) as node, RawPeer(node.port) as peer:
        peer.associate(VERIFICATION, max_pdu=16)

        assert peer.echo() == 0
