"""What a running process holds: memory, threads, descriptors, and what grows."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

__all__ = ["Resources", "sample", "sample_children", "slope"]

_PAGE = os.sysconf("SC_PAGE_SIZE")


@dataclass(frozen=True, slots=True)
class Resources:
    """What one process, or several together, hold at one moment.

    Attributes
    ----------
    rss_bytes : int
        Resident memory; pages that several processes share count for each of them.
    threads : int
        Threads.
    descriptors : int
        Open files, sockets and pipes.

    """

    rss_bytes: int = 0
    threads: int = 0
    descriptors: int = 0

    def __add__(self, other: Resources) -> Resources:
        return Resources(
            self.rss_bytes + other.rss_bytes,
            self.threads + other.threads,
            self.descriptors + other.descriptors,
        )


def sample(pid: int) -> Resources:
    """Return what a process itself holds, its children left out.

    Raises
    ------
    ProcessLookupError
        There is no such process.

    """
    folder = Path("/proc", str(pid))
    try:
        pages = int((folder / "statm").read_text().split()[1])
        threads = _count(folder / "task")
        descriptors = _descriptors(folder / "fd")
    except FileNotFoundError as error:
        msg = f"no process {pid}"
        raise ProcessLookupError(msg) from error
    return Resources(pages * _PAGE, threads, descriptors)


def _descriptors(folder: Path) -> int:
    """Count open files, but for those of SQLite.

    Its pool opens connections as they are needed, and SQLite closes the file of one
    only when no other connection holds a lock on it: both come and go by themselves.
    """
    count = 0
    for one in folder.iterdir():
        with contextlib.suppress(FileNotFoundError):
            count += ".sqlite" not in one.readlink().name
    return count


def sample_children(pid: int) -> Resources:
    """Return what all descendants of a process hold together; nothing without any."""
    total = Resources()
    for child in _descendants(pid):
        try:
            total += sample(child)
        except ProcessLookupError:  # ended since it was listed
            continue
    return total


def slope(points: Sequence[tuple[float, float]]) -> float:
    """Return how much y grows for each x, by the median of all pairs (Theil-Sen).

    A few outliers, such as a garbage collection or a cache that fills, do not move it.

    Parameters
    ----------
    points : sequence of (float, float)
        x and y, for example instances stored and bytes of memory; at least two x.

    Raises
    ------
    ValueError
        Fewer than two different x.

    """
    slopes = sorted(
        (y2 - y1) / (x2 - x1)
        for number, (x1, y1) in enumerate(points)
        for x2, y2 in points[number + 1 :]
        if x1 != x2
    )
    if not slopes:
        msg = "a slope needs two points at different x"
        raise ValueError(msg)
    middle = len(slopes) // 2
    if len(slopes) % 2:
        return slopes[middle]
    return (slopes[middle - 1] + slopes[middle]) / 2


def _count(folder: Path) -> int:
    return sum(1 for _ in folder.iterdir())


def _descendants(pid: int) -> Iterable[int]:
    try:
        tasks = list(Path(f"/proc/{pid}/task").iterdir())
    except FileNotFoundError:
        return
    for task in tasks:
        try:
            listed = (task / "children").read_text()
        except FileNotFoundError:
            continue
        for child in map(int, listed.split()):
            yield child
            yield from _descendants(child)
