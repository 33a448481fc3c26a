"""Two nodes on one PostgreSQL: one works, the other takes its place."""

from __future__ import annotations

import json
import os
import signal
import socket
import sys
import threading
import time
import urllib.error
import urllib.request
from pathlib import Path

from dicom_node.config import DicomPeer
from dicom_node.service.daemon import TAKEN_OVER
from tests.builders.postgres import postgres_cluster
from tests.builders.process import Program, free_port
from tests.torture.crash import CrashingNode, crashing_node
from tests.torture.databases import LOAD
from tests.torture.faults import wait_s
from tests.torture.outcome import Figure, Tell, at_least, at_most, seen

__all__ = ["take_over"]

_ROOT = Path(__file__).parents[2]
_START_S = 180.0
"""Everything is imported anew, on a machine that may be busy."""

_TAKE_OVER_S = 30.0
"""Lease, tables, start of the other's doors."""


class _Node:
    """One of two nodes with the same database and data folder."""

    def __init__(self, name: str, node: CrashingNode) -> None:
        self.port, self.web_port = free_port(), free_port()
        self.peer = DicomPeer(
            name=name, ae_title="GROUNDING", host="127.0.0.1", port=self.port
        )
        self._config = node.folder / f"{name}.toml"
        self._log = node.folder / f"{name}.log"
        text = node.config.read_text()
        text = text.replace(f"port = {node.port}\n", f"port = {self.port}\n")
        text = text.replace(
            "[web]\nenabled = false\n", f"[web]\nport = {self.web_port}\n"
        )
        self._config.write_text(text)
        self.program = self._program()

    def restart(self) -> None:
        """Start it again."""
        self.program = self._program()

    def signal(self, number: signal.Signals) -> None:
        """Send its process a signal."""
        os.kill(self.program.process.pid, number)

    def listens(self) -> bool:
        """Return whether it serves DICOM."""
        return '"listening"' in self._log.read_text() and self._answers()

    def says(self) -> dict[str, str]:
        """Return what its health says."""
        try:
            url = f"http://127.0.0.1:{self.web_port}/health"
            with urllib.request.urlopen(url, timeout=5) as answer:
                checks = json.load(answer)["checks"]
        except urllib.error.HTTPError as error:
            checks = json.load(error)["checks"]
        return dict(checks)

    def _answers(self) -> bool:
        with socket.socket() as probe:
            probe.settimeout(1.0)
            return probe.connect_ex(("127.0.0.1", self.port)) == 0

    def _program(self) -> Program:
        return Program(
            [sys.executable, "-m", "tests.builders.quick_node", self._config],
            log_path=self._log,
            cwd=_ROOT,
        )


def take_over(work: Path, *, is_stopped_too: bool, tell: Tell) -> tuple[Figure, ...]:
    """Kill the node that works, and stop the one that took its place for a while.

    Parameters
    ----------
    work : pathlib.Path
        An empty folder.
    is_stopped_too : bool
        Whether the second part is done.
    tell : callable
        Told how far it is.

    """
    with (
        postgres_cluster() as cluster,
        crashing_node(
            work,
            load=LOAD,
            seed=6,
            data_dir=work / "data",
            url=cluster.new_database(),
            more="standby = true\n",
        ) as node,
    ):
        first = _Node("first", node)
        try:
            wait_s(first.listens, timeout_s=_START_S)
            second = _Node("second", node)
        except BaseException:
            first.program.process.kill()
            raise
        turning = threading.Event()
        turner = threading.Thread(
            target=_turn, args=(node, (first, second), turning), daemon=True
        )
        try:
            wait_s(lambda: "standby" in second.says(), timeout_s=_START_S)
            waits = "standby" in second.says() and not second.listens()
            turner.start()
            time.sleep(2.0)
            first.signal(signal.SIGKILL)
            killed_s = wait_s(second.listens, timeout_s=_TAKE_OVER_S)
            time.sleep(2.0)
            figures = [
                at_least("standby: waits and says so", int(waits), 1),
                at_most("killed: the other serves after", killed_s, _TAKE_OVER_S, "s"),
            ]
            tell(f"the other served {killed_s:.1f} s after the kill")
            if is_stopped_too:
                first.program.process.wait()
                figures += _stop(first, second, tell)
            worker = first if is_stopped_too else second
            stuck = node.senders.finish()
            finished_s = wait_s(node.is_finished, timeout_s=300)
            turning.set()
            figures += [
                at_most("two nodes: senders that did not get through", stuck, 0),
                at_most("two nodes: everything finished after", finished_s, 299, "s"),
            ]
            code = worker.program.stop()
            figures.append(at_most("exit code of the last node", code, 0))
            judged = node.judge()
        finally:
            turning.set()
            for one in (first, second):
                if one.program.process.poll() is None:
                    one.program.process.kill()
    tell(f"{len(node.senders.acknowledged.samples())} instances acknowledged")
    return (
        *figures,
        *(
            Figure(f"two nodes: {one.name}", one.value, one.unit, one.limit, one.holds)
            for one in judged
        ),
    )


def _stop(first: _Node, second: _Node, tell: Tell) -> list[Figure]:
    """Stop the second, let the first take over, and let the second go on."""
    first_log = first.program.log_path
    first_log.write_text("")
    first.restart()
    wait_s(lambda: "standby" in first.says(), timeout_s=_START_S)
    time.sleep(1.0)
    second.signal(signal.SIGSTOP)
    stopped_s = wait_s(first.listens, timeout_s=_TAKE_OVER_S)
    time.sleep(3.0)
    second.signal(signal.SIGCONT)
    left_s = wait_s(lambda: second.program.process.poll() is not None, timeout_s=30)
    code = second.program.process.poll()
    tell(f"stopped: taken over after {stopped_s:.1f} s, left with {code}")
    time.sleep(2.0)
    return [
        at_most("stopped: the other serves after", stopped_s, _TAKE_OVER_S - 1, "s"),
        at_most("stopped: goes on and leaves after", left_s, 29, "s"),
        at_most("stopped: other exit codes", int(code != TAKEN_OVER), 0),
        seen("stopped: exit code", code if code is not None else "none"),
    ]


def _turn(
    node: CrashingNode, nodes: tuple[_Node, _Node], stop: threading.Event
) -> None:
    """Let senders try one node and the other in turn."""
    number = 0
    while not stop.wait(0.7):
        number += 1
        node.senders.turn_to(nodes[number % 2].peer)
