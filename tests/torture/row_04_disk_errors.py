"""Failing disk: EIO, a disk that became read-only, no descriptors, no inodes."""

from __future__ import annotations

import resource
import socket
import time
from collections import Counter
from contextlib import ExitStack
from pathlib import Path

from tests.torture.faults import (
    FaultyNode,
    Samples,
    injected,
    run_faulty,
    small_disk,
    wait_s,
)
from tests.torture.load import Sample
from tests.torture.outcome import Outcome, Scale, Tell, at_least, at_most, seen

__all__ = ["run"]

_READ_ONLY = "rename,mkdir,fsync,fdatasync,ftruncate,pwrite64,unlink:error=EROFS"
"""What a disk does that the kernel made read-only under open files."""

_DESCRIPTORS = 64
_INODES = 400
_BACK_S = 30.0
_MOST_SYNCS = 20


class _Judge:
    """Collects what a fault did and whether the node got over it."""

    def __init__(self, samples: Samples) -> None:
        self.samples = samples
        self.answers: Counter[str] = Counter()
        self.wrong = 0
        self.green = 0
        self.silent: list[str] = []
        self.slowest_s = 0.0
        self.stuck = 0
        self.acknowledged: list[Sample] = []

    def send(self, node: FaultyNode) -> None:
        """Send while something is wrong: 0x0000 would be a lie if no row is there."""
        sample = self.samples.next()
        status = node.send(sample)
        self.note(node, sample, status)

    def note(self, node: FaultyNode, sample: Sample, status: int | None) -> None:
        """Take note of an answer."""
        self.answers["none" if status is None else f"0x{status:04X}"] += 1
        if status == 0:
            self.acknowledged.append(sample)
            self.wrong += sample.uid not in node.rows()
        elif status not in (None, 0xA700):
            self.wrong += 1

    def look(self, node: FaultyNode) -> None:
        """Look at the health while something is wrong."""
        told = node.problems()
        self.green += not told
        self.silent += told.values()

    def recover(self, node: FaultyNode) -> None:
        """Wait until it accepts and its health is green."""
        sample = self.samples.next()
        accepts_s = wait_s(lambda: node.send(sample) == 0, timeout_s=_BACK_S)
        green_s = wait_s(lambda: node.health() and not node.problems(), timeout_s=20)
        self.slowest_s = max(self.slowest_s, accepts_s, green_s)
        self.stuck += accepts_s >= _BACK_S or green_s >= 20
        self.acknowledged.append(sample)


def run(scale: Scale, work: Path, tell: Tell) -> Outcome:
    """Run the test.

    Parameters
    ----------
    scale : Scale
        SHORT: one of each fault; else every sync of an instance.
    work : pathlib.Path
        An empty folder.
    tell : callable
        Told how far it is.

    """
    judge = _Judge(Samples(work / "sent"))
    with run_faulty(work / "node") as node:
        node.send(judge.samples.next())
        faults = _each_sync(node, judge, scale)
        tell(f"{faults} syncs failed, one at a time")
        for inject in ("fsync,fdatasync:error=EIO", _READ_ONLY):
            with injected(node.pid, inject, is_whole_process=True):
                for _ in range(2):
                    judge.send(node)
                judge.look(node)
            judge.recover(node)
        tell("the whole disk failed, and was read-only")
        _without_descriptors(node, judge)
        tell("no descriptors were left")
        lost = _lost(node, judge)
    if scale is not Scale.SHORT:
        before = len(judge.acknowledged)
        with (
            small_disk(work / "disk", f"size=64m,nr_inodes={_INODES}") as disk,
            run_faulty(work / "small", data_dir=disk / "data") as node,
        ):
            _without_inodes(node, judge, disk)
            del judge.acknowledged[:before]
            lost += _lost(node, judge)
        tell("no inodes were left")
    return Outcome(
        (
            at_least("syncs that failed with EIO", faults, 1),
            at_most("0x0000 for what is not there, or other answers", judge.wrong, 0),
            at_most("acknowledged and lost", lost, 0),
            at_most("health that was green meanwhile", judge.green, 0),
            at_most("faults that it did not get over", judge.stuck, 0),
            seen("well again after", round(judge.slowest_s, 1), "s"),
            seen("answers", ", ".join(f"{a} {n}" for a, n in judge.answers.items())),
            seen("health said", "; ".join(sorted(set(judge.silent)))),
        )
    )


def _each_sync(node: FaultyNode, judge: _Judge, scale: Scale) -> int:
    total = 0
    for call in ("fsync", "fdatasync"):
        for number in range(1, 2 if scale is Scale.SHORT else _MOST_SYNCS):
            sample = judge.samples.next()
            inject = f"{call}:error=EIO:when={number}"
            status, faults = node.send_with(sample, inject)
            judge.note(node, sample, status)
            if not faults:
                break
            total += faults
            judge.wrong += status == 0 and sample.uid not in node.rows()
            judge.recover(node)
    return total


def _without_descriptors(node: FaultyNode, judge: _Judge) -> None:
    before = resource.prlimit(node.pid, resource.RLIMIT_NOFILE)
    resource.prlimit(node.pid, resource.RLIMIT_NOFILE, (_DESCRIPTORS, before[1]))
    with ExitStack() as stack:
        for _ in range(2 * _DESCRIPTORS):
            peer = stack.enter_context(socket.socket())
            peer.settimeout(1.0)
            peer.connect(("127.0.0.1", node.port))
        time.sleep(0.5)
        for _ in range(3):
            judge.send(node)
        if node.health():  # which cannot even be asked is not green
            judge.look(node)
    resource.prlimit(node.pid, resource.RLIMIT_NOFILE, before)
    judge.recover(node)


def _without_inodes(node: FaultyNode, judge: _Judge, disk: Path) -> None:
    node.send(judge.samples.next())
    taken: list[Path] = []
    try:
        while True:
            path = disk / f"taken-{len(taken)}"
            path.touch()
            taken.append(path)
    except OSError:
        pass
    for _ in range(3):
        judge.send(node)
    judge.look(node)
    for path in taken:
        path.unlink()
    judge.recover(node)


def _lost(node: FaultyNode, judge: _Judge) -> int:
    node.restart()
    rows = node.rows()
    return sum(one.uid not in rows for one in judge.acknowledged) + sum(
        node.half_visible()
    )
