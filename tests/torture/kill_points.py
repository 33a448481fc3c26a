"""SIGKILL just before chosen system calls: each sync, rename, write and removal."""

from __future__ import annotations

import re
import subprocess
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.builders.process import wait_until
from tests.torture.crash import CrashingNode
from tests.torture.outcome import Figure, Tell, at_least, seen

__all__ = ["kill_at_points"]

_CALLS = {
    "fsync": 8,
    "rename": 3,
    "fdatasync": 6,
    "pwrite64": 12,
    "write": 4,
    "unlink": 3,
    "mkdir": 2,
    "sendto": 4,
}
"""System calls, and up to which of them in one thread it is killed; an association
is served by a thread of its own, which has no more before its answer."""

_PATIENCE_S = 6.0
_NAMES = (
    (r"/incoming/[^/]*\.part", "an instance that arrives"),
    (r"/incoming$", "the folder of what arrives"),
    (r"/instances", "the folder of whole instances"),
    (r"/(processing|results|scratch)", "results"),
    (r"/node\.sqlite", "the database"),
    (r"/dbos\.sqlite", "the workflow database"),
    (r"TCP|socket", "a connection"),
)


def kill_at_points(node: CrashingNode, *, most: int, tell: Tell) -> tuple[Figure, ...]:
    """Kill the node before the first, second, ... of each call.

    Parameters
    ----------
    node : CrashingNode
        Under load, and not running.
    most : int
        Kills.
    tell : callable
        Told how far it is.

    """
    places: Counter[str] = Counter()
    trace = node.folder / "trace"
    for call, number in _walk(most):
        if _kill(node, call, number, trace=trace):
            places[_place(trace.read_text(errors="replace"), call)] += 1
    tell(f"killed before: {dict(places)}")
    return (
        at_least("kills before a chosen system call", sum(places.values()), 1),
        seen("different calls and files", len(places)),
    )


def _walk(most: int) -> Iterator[tuple[str, int]]:
    """Yield calls and numbers, the first of each call first."""
    points = [
        (number, call) for call, last in _CALLS.items() for number in range(1, last + 1)
    ]
    for number, call in sorted(points, key=lambda one: one[0])[:most]:
        yield call, number


def _kill(node: CrashingNode, call: str, number: int, *, trace: Path) -> bool:
    """Return whether the call came."""
    with node.listening() as pid:
        with _traced(pid, call, number, trace=trace):
            end = time.monotonic() + _PATIENCE_S
            while _lives(pid) and time.monotonic() < end:
                time.sleep(0.02)
        return not _lives(pid)


@contextmanager
def _traced(pid: int, call: str, number: int, *, trace: Path) -> Iterator[None]:
    trace.unlink(missing_ok=True)
    command = ["strace", "-f", "-y", "-o", str(trace), "-e", f"trace={call}"]
    command += ["-e", f"inject={call}:signal=SIGKILL:when={number}", "-p", str(pid)]
    with subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as tracer:
        try:
            wait_until(
                lambda: not _lives(pid) or _is_traced(pid),
                timeout_s=10,
                what="strace",
                interval_s=0.02,
            )
            yield
        finally:
            tracer.terminate()


def _lives(pid: int) -> bool:
    return Path("/proc", str(pid)).exists()


def _is_traced(pid: int) -> bool:
    try:
        text = Path("/proc", str(pid), "status").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False
    return "TracerPid:\t0\n" not in text


def _place(trace: str, call: str) -> str:
    """Say which file the last call was about, in words."""
    calls = re.findall(rf"{call}\(.*", trace)
    last = calls[-1] if calls else ""
    found = re.search(r"<([^>]*)>|\"([^\"]*)\"", last)
    path = next((part for part in found.groups() if part), "") if found else ""
    for pattern, name in _NAMES:
        if re.search(pattern, path):
            return f"{call} of {name}"
    return f"{call} of something else"
