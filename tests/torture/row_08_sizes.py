"""Claims and streams without end: how much memory they get, and how soon they end."""

from __future__ import annotations

import itertools
import socket
import struct
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from conformance.profile import ASSOCIATION_LIMITS
from dicom_node.scp.transport import BUFFER_BYTES
from tests.builders.raw_peer import (
    CT_IMAGE_STORAGE,
    EXPLICIT_LITTLE,
    RawPeer,
    associate_request,
    command_set,
    encode_data_set,
    make_instance,
    p_data,
)
from tests.torture.bystander import Bystander, echo
from tests.torture.nodes import WatchedNode, run_watched
from tests.torture.outcome import Figure, Outcome, Scale, Tell, at_most, seen
from tests.torture.peak import Peak
from tests.torture.settling import MEBIBYTE, freed

__all__ = ["run"]

_BUDGET = (
    ASSOCIATION_LIMITS.associate_bytes + ASSOCIATION_LIMITS.command_bytes + BUFFER_BYTES
)
"""What the node means to spend on an association: its largest request, its largest
command and one buffer."""

_CUT_S = 5.0
_PATIENCE_S = 60.0
_PDU_BYTES = 131_072
_AT_ONCE = {Scale.SHORT: 4, Scale.FULL: 25, Scale.SOAK: 50}
_LARGEST = {Scale.SHORT: 4 << 20, Scale.FULL: 64 << 20, Scale.SOAK: 64 << 20}
_PIPELINED = {Scale.SHORT: 256 << 10, Scale.FULL: 20 << 20, Scale.SOAK: 20 << 20}
_AHEAD_AT_ONCE = {Scale.SHORT: 2, Scale.FULL: 2, Scale.SOAK: 8}
_STORES = 25
_GIANT = 300 << 20


@dataclass(frozen=True, slots=True)
class _Attack:
    """What is sent until the node hangs up.

    ``allowed_bytes``: so many may pass before the node has reason to.
    """

    pieces: Callable[[], Iterable[bytes]]
    is_associated: bool = True
    allowed_bytes: int = 0


def run(scale: Scale, work: Path, tell: Tell) -> Outcome:
    """Send what has no end, by several callers at once."""
    largest = _LARGEST[scale]
    limits = f"max_instance_bytes = {largest}\nidle_timeout_s = 60.0\n"
    at_once = _AT_ONCE[scale]
    figures: list[Figure] = []
    with run_watched(work / "node", limits=limits) as node:
        _warm_up(node)
        with Bystander(lambda: echo(node.dicom_port), pause_s=0.3) as bystander:
            base = node.hold()
            for name, attack in _attacks(largest).items():
                tell(name)
                with Peak(node.pid) as peak:
                    cuts = _send_all(node, attack, at_once)
                figures += _judge(name, cuts, peak.grown_bytes / at_once)
            tell("stores sent ahead")
            with Peak(node.pid) as peak:
                ahead = _AHEAD_AT_ONCE[scale]
                statuses = _send_ahead(node, _PIPELINED[scale], ahead)
            name = f"{_STORES} stores sent ahead"
            figures += [
                at_most(
                    f"{name}: memory per association",
                    round(peak.grown_bytes / ahead / MEBIBYTE, 2),
                    round(1.5 * _BUDGET / MEBIBYTE, 2),
                    "MiB",
                ),
                at_most(f"{name}: not acknowledged", sum(map(bool, statuses)), 0),
            ]
            left = sum(1 for _ in (node.data_dir / "incoming").iterdir())
            figures.append(at_most("files left half written", left, 0))
        figures += [
            at_most("C-ECHO beside it not answered", len(bystander.failures), 0),
            seen("slowest C-ECHO beside it", round(bystander.slowest_s, 2), "s"),
        ]
        figures += freed(node.hold, base, timeout_s=10.0)
        figures.append(at_most("exits", 0 if node.is_alive() else 1, 0))
        figures.append(at_most("uncaught errors", node.unexpected().total(), 0))
    note = (
        f"{at_once} callers at once, {ahead} that send ahead; the budget of an "
        f"association is {_BUDGET / MEBIBYTE:.2f} MiB; endless data sets may reach "
        f"{largest / MEBIBYTE:g} MiB, stores sent ahead have "
        f"{_PIPELINED[scale] / MEBIBYTE:g} MiB each"
    )
    return Outcome(tuple(figures), notes=(note,))


def _attacks(largest: int) -> Mapping[str, _Attack]:
    store = p_data(command_set(1, sop_instance="1.2.3.4"), is_command=True)
    piece = p_data(bytes(_PDU_BYTES - 6), is_last=False, pdu_bytes=_PDU_BYTES)
    block = bytes(1 << 20)
    fragment = p_data(bytes(1000), is_command=True, is_last=False)
    many = [(2 * n % 256 | 1, CT_IMAGE_STORAGE, [EXPLICIT_LITTLE]) for n in range(5000)]
    deep = [(2 * n + 1, CT_IMAGE_STORAGE, [EXPLICIT_LITTLE] * 1000) for n in range(100)]
    deep_but_small = deep[:15]

    def after(head: bytes, then: bytes, times: int) -> Callable[[], Iterator[bytes]]:
        return lambda: itertools.chain([head], itertools.repeat(then, times))

    return {
        "giant A-ASSOCIATE": _Attack(
            after(struct.pack(">BxL", 1, 0xFFFFFFF0), block, 300), is_associated=False
        ),
        "5,000 contexts": _Attack(
            lambda: [associate_request(many)], is_associated=False
        ),
        "100 contexts of 1,000 syntaxes": _Attack(
            lambda: [associate_request(deep)], is_associated=False
        ),
        "15 contexts of 1,000 syntaxes": _Attack(
            lambda: [associate_request(deep_but_small)], is_associated=False
        ),
        "one fragment of 300 MiB": _Attack(
            after(
                store + struct.pack(">BxLLBB", 4, _GIANT + 6, _GIANT + 2, 1, 0),
                block,
                _GIANT >> 20,
            )
        ),
        "endless command": _Attack(after(b"", fragment, 100_000)),
        "endless data set": _Attack(
            after(store, piece, 100_000), allowed_bytes=largest
        ),
    }


def _warm_up(node: WatchedNode) -> None:
    """Let it load what a first instance and a first refusal need."""
    for number in range(3):
        with RawPeer(node.dicom_port) as peer:
            peer.associate()
            assert peer.store(make_instance(f"1.2.9.{number}")).status == 0
            peer.send(p_data(b"?", is_command=True))
            assert peer.read_pdu()[0] == 7
    # Its connections to the database come with the first who write at once.
    _send_ahead(node, 1 << 16, 16)
    time.sleep(0.5)


def _send_all(node: WatchedNode, attack: _Attack, count: int) -> list[float]:
    with ThreadPoolExecutor(count) as pool:
        done = [pool.submit(_send, node.dicom_port, attack) for _ in range(count)]
        return [one.result() for one in done]


def _send(port: int, attack: _Attack) -> float:
    """Return how long the node went on after it had reason to end; inf: it did."""
    with RawPeer(port, timeout_s=_PATIENCE_S) as peer:
        if attack.is_associated:
            peer.associate(max_pdu=_PDU_BYTES)
        sent = 0
        began = time.monotonic()
        try:
            for piece in attack.pieces():
                peer.send(piece)
                sent += len(piece)
                if sent <= attack.allowed_bytes:
                    began = time.monotonic()
            closed = peer.is_closed()
        except ConnectionError:
            closed = True
        except TimeoutError:
            closed = False
        return time.monotonic() - began if closed else float("inf")


def _judge(name: str, cuts: list[float], grown: float) -> tuple[Figure, ...]:
    return (
        at_most(
            f"{name}: memory per association",
            round(grown / MEBIBYTE, 2),
            round(1.5 * _BUDGET / MEBIBYTE, 2),
            "MiB",
        ),
        at_most(f"{name}: ended within", round(max(cuts), 2), _CUT_S, "s"),
    )


def _send_ahead(node: WatchedNode, size: int, count: int) -> list[int]:
    """Send stores without waiting for any answer; return all statuses."""
    with ThreadPoolExecutor(count) as pool:
        callers = [
            pool.submit(_send_stores, node.dicom_port, size, f"1.2.8.{number}")
            for number in range(count)
        ]
        return [status for one in callers for status in one.result()]


def _send_stores(port: int, size: int, root: str) -> list[int]:
    pixels = b"\xe0\x7f\x10\x00OW\0\0" + struct.pack("<L", size)
    with RawPeer(port, timeout_s=240.0) as peer:
        peer.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
        peer.associate(max_pdu=_PDU_BYTES)
        for number in range(1, _STORES + 1):
            uid = f"{root}.{number}"
            head = encode_data_set(make_instance(uid, StudyInstanceUID=root))
            command = command_set(1, sop_instance=uid, message_id=number)
            peer.send(p_data(command, is_command=True))
            peer.send(p_data(head + pixels, is_last=False))
            for start in range(0, size, 1 << 20):
                length = min(1 << 20, size - start)
                is_last = start + length == size
                peer.send(p_data(bytes(length), is_last=is_last, pdu_bytes=_PDU_BYTES))
        return [peer.response().status for _ in range(_STORES)]
