"""Many associations in one moment: all that fit are served, the others told so."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

from tests.builders.raw_peer import (
    EXPLICIT_LITTLE,
    IMPLICIT_LITTLE,
    VERIFICATION,
    RawPeer,
    associate_request,
)
from tests.torture.bystander import echo
from tests.torture.fuzz_anchors import measure_anchors
from tests.torture.nodes import run_watched
from tests.torture.outcome import Figure, Outcome, Scale, Tell, at_most, seen
from tests.torture.settling import freed

__all__ = ["run"]

_LIMIT = 100
_PATIENCE_S = 20.0
_ACCEPTED, _REJECTED = 2, 3
_TRANSIENT = bytes((0, 2, 3, 2))
"""A-ASSOCIATE-RJ: transient, by the provider, local limit exceeded (PS3.8 9.3.4)."""

_CLASSES = [f"1.2.840.10008.5.1.4.1.1.{number}" for number in (1, 2, 4, 7, 20, 128)]
_SYNTAXES = [EXPLICIT_LITTLE, IMPLICIT_LITTLE, "1.2.840.10008.1.2.4.70"]
_CONTEXTS = [
    (2 * number + 1, abstract, _SYNTAXES)
    for number, abstract in enumerate([VERIFICATION, *_CLASSES])
]


def run(scale: Scale, work: Path, tell: Tell) -> Outcome:
    """Open 50 associations at once, then 200 where 100 are allowed."""
    figures: list[Figure] = []
    rounds = 1 if scale is Scale.SHORT else 5
    # A figure of time means little where others load the machine.
    limit_s = 20.0 if scale is Scale.SHORT else 2.0
    with run_watched(work / "node", limits=f"max_associations = {_LIMIT}\n") as node:
        base = node.hold()
        slowest = failed = 0.0
        for _ in range(rounds):
            tell("50 at once")
            with ExitStack() as stack:
                burst = _Burst(node.dicom_port, 50, stack)
                slowest = max(slowest, burst.slowest_s)
                failed += sum(kind != _ACCEPTED for kind, _ in burst.answers)
            freed(node.hold, base, timeout_s=10.0)
        figures += [
            at_most("50 at once: not set up", failed, 0),
            at_most("50 at once: all set up", round(slowest, 2), limit_s, "s"),
        ]
        for _ in range(rounds):
            tell("200 at once")
            with ExitStack() as stack:
                burst = _Burst(node.dicom_port, 200, stack)
                served = sum(kind == _ACCEPTED for kind, _ in burst.answers)
                told = burst.answers.count((_REJECTED, _TRANSIENT))
                figures += [
                    at_most("200 at once: served", served, _LIMIT),
                    at_most("200 at once: fewer served than fit", _LIMIT - served, 0),
                    at_most(
                        "200 at once: neither served nor told", 200 - served - told, 0
                    ),
                    seen("200 at once: all answered", round(burst.slowest_s, 2), "s"),
                    at_most(
                        "another address kept out", _is_kept_out(node.dicom_port), 0
                    ),
                ]
            figures += freed(node.hold, base, timeout_s=10.0)
        figures.append(at_most("exits", 0 if node.is_alive() else 1, 0))
        figures.append(at_most("uncaught errors", node.unexpected().total(), 0))
    anchors = {}
    if scale is not Scale.SHORT:
        anchors = measure_anchors(work / "anchors", _attack, tell=tell)
    return Outcome(tuple(dict.fromkeys(figures)), anchors)


class _Burst:
    """Callers that all connect in the same moment and stay."""

    def __init__(
        self, port: int, count: int, stack: ExitStack, *, called: str = "GROUNDING"
    ) -> None:
        self._port = port
        self._start = threading.Barrier(count)
        self._called = called
        with ThreadPoolExecutor(count) as pool:
            done = [pool.submit(self._call) for _ in range(count)]
            results = [one.result() for one in done]
        for peer, _, _ in results:
            if peer is not None:
                stack.enter_context(peer)
        self.answers = [answer for _, answer, _ in results]
        """Type and body of the PDU that each got; type 0: none."""
        self.answers = [
            (kind, body if kind == _REJECTED else b"") for kind, body in self.answers
        ]
        self.slowest_s = max(took_s for _, _, took_s in results)

    def _call(self) -> tuple[RawPeer | None, tuple[int, bytes], float]:
        self._start.wait()
        began = time.monotonic()
        peer, answer = None, (0, b"")
        try:
            peer = RawPeer(self._port, timeout_s=_PATIENCE_S)
            peer.send(associate_request(_CONTEXTS, called=self._called))
            answer = peer.read_pdu()
        except OSError:
            pass
        return peer, answer, time.monotonic() - began


def _is_kept_out(port: int) -> int:
    try:
        echo(port)
    except (OSError, AssertionError):
        return 1
    return 0


def _attack(port: int, called: str) -> tuple[Figure, ...]:
    with ExitStack() as stack:
        burst = _Burst(port, 50, stack, called=called)
        served = sum(kind == _ACCEPTED for kind, _ in burst.answers)
        return (
            seen("50 at once: not set up", 50 - served),
            seen("50 at once: all set up", round(burst.slowest_s, 2), "s"),
        )
