"""Peers that hold connections in every slow way, by DICOM, HTTP and HL7."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Protocol

from dicom_node.hl7.framing import frame
from tests.builders.hl7_messages import make_oru, obx
from tests.torture.bystander import Bystander, echo, get_health
from tests.torture.fuzz_anchors import measure_anchors
from tests.torture.nodes import WatchedNode, run_watched
from tests.torture.outcome import Figure, Outcome, Scale, Tell, at_most, seen
from tests.torture.resources import Resources
from tests.torture.settling import MEBIBYTE, settle
from tests.torture.slow_dicom import SlowCallers
from tests.torture.slow_http import SlowClients

__all__ = ["run"]

_TIMEOUT_S = {Scale.SHORT: 1.0, Scale.FULL: 10.0, Scale.SOAK: 30.0}
_SHARE = {Scale.SHORT: 0.1, Scale.FULL: 1.0, Scale.SOAK: 1.0}
_MORE_S = 5.0
_MOST_MIB = 64
_WEB_THREADS = 40
"""The web server's pool (anyio's default): it grows to it once, and keeps it."""
_ANCHOR_S = 15.0
_MESSAGE = frame(make_oru(obx("Left pleural effusion.")).encode())


class _Hostile(Protocol):
    opened_at: float


def run(scale: Scale, work: Path, tell: Tell) -> Outcome:
    """Hold connections, ask beside them, and wait until the node lets them go."""
    timeout_s, share = _TIMEOUT_S[scale], _SHARE[scale]
    figures: list[Figure] = []
    with run_watched(
        work / "node",
        limits=f"pdu_timeout_s = {timeout_s}\nidle_timeout_s = {timeout_s}\n",
        web=f"read_timeout_s = {timeout_s}\n",
        hl7=f"message_timeout_s = {timeout_s}\nidle_timeout_s = {timeout_s}\n",
    ) as node:
        # Side by side, so that the pool of database connections is as full as it gets.
        asks = [_ask_echo(node), _ask_health(node), _ask_hl7(node)] * 8
        with ThreadPoolExecutor(len(asks)) as askers:
            list(askers.map(lambda ask: ask(), asks))
        time.sleep(0.5)
        for name, hostile in (
            ("DICOM", SlowCallers(node.dicom_port, share=share)),
            ("HTTP and HL7", SlowClients(node.web_port, node.hl7_port, share=share)),
        ):
            tell(name)
            base = node.hold()
            if name != "DICOM":
                base += Resources(threads=_WEB_THREADS)
            figures += _attack(node, name, hostile, base=base, scale=scale)
        figures.append(at_most("exits", 0 if node.is_alive() else 1, 0))
        unexpected = node.unexpected()
        figures.append(at_most("uncaught errors", unexpected.total(), 0))
    notes = [f"the timeouts are {timeout_s:g} s"]
    notes += [f"uncaught: {name} ({n})" for name, n in unexpected.most_common(5)]
    anchors = {}
    if scale is not Scale.SHORT:
        anchors = measure_anchors(work / "anchors", _attack_anchor, tell=tell)
    return Outcome(tuple(figures), anchors, tuple(notes))


def _attack(
    node: WatchedNode,
    name: str,
    hostile: AbstractContextManager[_Hostile],
    *,
    base: Resources,
    scale: Scale,
) -> list[Figure]:
    limit_s = 10.0 if scale is Scale.SHORT else 1.0
    # In CI other tests share the machine: what must not be is that they stay.
    free_s = _TIMEOUT_S[scale] + _MORE_S * (6 if scale is Scale.SHORT else 1)
    with (
        Bystander(_ask_echo(node)) as echoes,
        Bystander(_ask_health(node)) as pages,
        Bystander(_ask_hl7(node)) as messages,
    ):
        with hostile as callers:
            # Their sides stay open: the node itself has to let them go.
            held, took_s = _wait_for_freedom(node, base, callers, free_s)
        time.sleep(0.2)
    grown = (node.hold().rss_bytes - base.rss_bytes) / MEBIBYTE
    now, _ = settle(node.hold, base, timeout_s=5.0)
    return [
        *echoes.figures(f"{name}: C-ECHO beside it", limit_s=limit_s),
        *pages.figures(f"{name}: page beside it", limit_s=limit_s),
        *messages.figures(f"{name}: HL7 message beside it", limit_s=limit_s),
        at_most(f"{name}: connections still held", held, 0),
        at_most(f"{name}: all let go", round(took_s, 1), free_s, "s"),
        at_most(f"{name}: threads left over", max(0, now.threads - base.threads), 0),
        at_most(f"{name}: memory grown", round(grown, 1), _MOST_MIB, "MiB"),
    ]


def _wait_for_freedom(
    node: WatchedNode, base: Resources, callers: _Hostile, free_s: float
) -> tuple[int, float]:
    # The askers beside it come and go: they hold a few of their own.
    few = Resources(base.rss_bytes, base.threads + 4, base.descriptors + 6)
    left_s = callers.opened_at + free_s + 2.0 - time.monotonic()
    now, _ = settle(node.hold, few, timeout_s=left_s)
    held = max(0, now.descriptors - few.descriptors, now.threads - few.threads)
    return held, max(0.0, time.monotonic() - callers.opened_at)


def _ask_echo(node: WatchedNode) -> Callable[[], None]:
    return lambda: echo(node.dicom_port)


def _ask_health(node: WatchedNode) -> Callable[[], None]:
    return lambda: get_health(node.web_port)


def _ask_hl7(node: WatchedNode) -> Callable[[], None]:
    def ask() -> None:
        with socket.create_connection(
            ("127.0.0.1", node.hl7_port), 20.0, ("127.0.0.2", 0)
        ) as one:
            one.sendall(_MESSAGE)
            assert b"MSA|A" in one.recv(4096)

    return ask


def _attack_anchor(port: int, called: str) -> tuple[Figure, ...]:
    with (
        SlowCallers(port, called=called),
        Bystander(lambda: echo(port, called=called)) as echoes,
    ):
        time.sleep(_ANCHOR_S)
    return (
        seen("C-ECHO beside it: answered", echoes.answered),
        seen("C-ECHO beside it: not answered", len(echoes.failures)),
        seen("C-ECHO beside it: slowest", round(echoes.slowest_s, 2), "s"),
    )
