"""Broken PDUs, to the decoders, to whole acceptors and to a running node."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

from dicom_node.errors import ProtocolViolationError
from dicom_node.scp.dimse import decode_command
from dicom_node.scp.pdu import decode_associate_request
from tests.torture.bystander import Bystander, echo
from tests.torture.fuzz_anchors import measure_anchors
from tests.torture.in_process import InProcessHost, silence
from tests.torture.nodes import run_watched
from tests.torture.outcome import Figure, Outcome, Scale, Tell, at_least, at_most, seen
from tests.torture.pdu_fuzz import make_command, make_request_body, make_script
from tests.torture.pdu_sender import send_scripts
from tests.torture.resources import Resources
from tests.torture.settling import MEBIBYTE, freed, settle

__all__ = ["run"]

_IN_PROCESS = {Scale.SHORT: 6_000, Scale.FULL: 1_000_000, Scale.SOAK: 10_000_000}
_OVER_SOCKETS = {Scale.SHORT: 400, Scale.FULL: 100_000, Scale.SOAK: 1_000_000}
_WARM_UP = {Scale.SHORT: 100, Scale.FULL: 2_000, Scale.SOAK: 2_000}
_ANCHORS = 5_000
_LIMITS = """
pdu_timeout_s = 3.0
idle_timeout_s = 3.0
"""


def run(scale: Scale, work: Path, tell: Tell) -> Outcome:
    """Send broken PDUs from fixed seeds."""
    tell("in process")
    with closing(InProcessHost()) as host:
        figures = list(_in_process(host, _IN_PROCESS[scale]))
    tell("over sockets")
    with run_watched(work / "node", limits=_LIMITS) as node:
        steady = node.hold()
        # The first associations load code and fill caches.
        send_scripts(node.dicom_port, range(10**9, 10**9 + _WARM_UP[scale]))
        settle(node.hold, steady, timeout_s=10.0)
        base = Resources(node.hold().rss_bytes, steady.threads, steady.descriptors)
        with Bystander(lambda: echo(node.dicom_port), pause_s=0.5) as bystander:
            count = send_scripts(
                node.dicom_port, range(_OVER_SOCKETS[scale]), tell=tell
            )
        figures += freed(node.hold, base, timeout_s=10.0)
        grown = (node.hold().rss_bytes - base.rss_bytes) / MEBIBYTE
        unexpected = node.unexpected()
        figures += [
            at_least("connections with broken PDUs", count, _OVER_SOCKETS[scale]),
            at_most("exits", 0 if node.is_alive() else 1, 0),
            at_most("uncaught errors logged", unexpected.total(), 0),
            at_most("memory grown", round(grown, 1), 20, "MiB"),
            at_most("C-ECHO beside it not answered", len(bystander.failures), 0),
            seen("slowest C-ECHO beside it", round(bystander.slowest_s, 2), "s"),
        ]
    notes = [f"uncaught: {name} ({n})" for name, n in unexpected.most_common(5)]
    anchors = {}
    if scale is not Scale.SHORT:
        anchors = measure_anchors(work / "anchors", _send_some, tell=tell)
        notes.append(f"beside it: the first {_ANCHORS:,} of these connections")
    return Outcome(tuple(figures), anchors, tuple(notes))


def _send_some(port: int, _called: str) -> Sequence[Figure]:
    return (seen("connections", send_scripts(port, range(_ANCHORS))),)


def _in_process(host: InProcessHost, count: int) -> tuple[Figure, ...]:
    uncaught: Counter[str] = Counter()
    decoded = 0
    with silence():
        for seed in range(count):
            rng = random.Random(seed)
            kind = seed % 10
            try:
                if kind < 2:
                    host.run(make_script(rng))
                elif kind < 5:
                    decode_associate_request(make_request_body(rng))
                    decoded += 1
                else:
                    decode_command(make_command(rng))
                    decoded += 1
            except ProtocolViolationError:
                continue
            except Exception as error:  # noqa: BLE001 - what this looks for
                uncaught[f"{type(error).__name__}: {error}"] += 1
    uncaught += host.uncaught
    left = sum(1 for _ in (host.folder / "incoming").iterdir())
    return (
        at_least("broken PDUs in process", count, count),
        at_most("uncaught errors in process", uncaught.total(), 0),
        at_most("files left half written", left, 0),
        # A fuzzer whose every case fails at the first byte tests nothing.
        at_least("of them decoded all the same", decoded, count // 20),
        at_least("associations accepted among them", host.admitted, count // 20),
        at_least("instances stored among them", host.statuses[0], count // 500),
    )
