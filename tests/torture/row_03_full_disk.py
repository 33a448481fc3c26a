"""Disk full at every point: each call of an instance fails, then the disk is full."""

from __future__ import annotations

from collections import Counter
from contextlib import ExitStack
from pathlib import Path

from tests.builders.network import loopback_network
from tests.torture.anchors import OrthancAnchor, StoreScpAnchor
from tests.torture.faults import (
    CALLS,
    Caller,
    Samples,
    run_faulty,
    small_disk,
    wait_s,
)
from tests.torture.load import Sample
from tests.torture.outcome import Figure, Outcome, Scale, Tell, at_least, at_most, seen

__all__ = ["run"]

_SHORT = (("openat", 1), ("pwrite64", 1), ("fsync", 1), ("rename", 1), ("rename", 2))
_MOST = 60
"""No instance makes so many calls of one kind."""

_ALLOWED = {0x0000, 0xA700}
_SIZE = 256 << 10
_DISK = "size=6m"
_BALLAST = 2 << 20
"""What is given back to a full disk."""


def run(scale: Scale, work: Path, tell: Tell) -> Outcome:
    """Run the test.

    Parameters
    ----------
    scale : Scale
        SHORT: a handful of calls; else every one.
    work : pathlib.Path
        An empty folder.
    tell : callable
        Told how far it is.

    """
    figures = _every_call(scale, work / "calls", tell)
    if scale is Scale.SHORT:
        return Outcome(figures)
    figures += _full_disk(work / "node", tell)
    return Outcome(figures, anchors=dict(_anchors(work, tell)))


def _every_call(scale: Scale, work: Path, tell: Tell) -> tuple[Figure, ...]:
    wrong = half = lost = unaccepted = 0
    slowest = 0.0
    statuses: Counter[str] = Counter()
    points: Counter[str] = Counter()
    samples = Samples(work / "sent")
    acknowledged: list[Sample] = []
    with run_faulty(work) as node:
        node.send(samples.next())  # the first opens what stays open
        plan = _SHORT if scale is Scale.SHORT else _all_points()
        ended: set[str] = set()
        for call, number in plan:
            if call in ended:
                continue
            sample = samples.next()
            status, faults = node.send_with(
                sample, f"{call}:error=ENOSPC:when={number}"
            )
            if not faults:
                ended.add(call)  # all of this call have failed once
                acknowledged += [sample] if status == 0 else []
                continue
            points[call] += 1
            statuses["none" if status is None else f"0x{status:04X}"] += 1
            is_here = sample.uid in node.rows()
            wrong += status not in _ALLOWED or is_here != (status == 0)
            half += sum(node.half_visible())
            # It stays refused when it is not sent again; every other one is.
            again_s = wait_s(lambda: node.send(sample) == 0, timeout_s=10)  # noqa: B023
            slowest = max(slowest, again_s)
            unaccepted += again_s >= 10
            acknowledged.append(sample)
            # Refused and never sent again: it must never be shown.
            if number % 2:
                node.send_with(samples.next(), f"{call}:error=ENOSPC:when={number}")
        tell(f"{points.total()} calls failed, one at a time: {dict(points)}")
        before = node.rows()
        node.restart()
        after = node.rows()
        lost = sum(one.uid not in after for one in acknowledged)
        half += sum(node.half_visible())
        shown = len(after.keys() - before.keys())
    return (
        at_least("calls that failed", points.total(), len(_SHORT)),
        at_most("answers that were wrong", wrong, 0),
        at_most("files without a row, or rows without a file", half, 0),
        at_most("refused instances that a restart shows", shown, 0),
        at_most("acknowledged and lost", lost, 0),
        at_most("refused for good", unaccepted, 0),
        at_most("accepted again after", round(slowest, 1), 5, "s"),
        seen("answers", ", ".join(f"{one} {n}" for one, n in statuses.items())),
    )


def _all_points() -> tuple[tuple[str, int], ...]:
    return tuple((call, number) for call in CALLS for number in range(1, _MOST))


def _full_disk(work: Path, tell: Tell) -> tuple[Figure, ...]:
    samples = Samples(work / "sent")
    with (
        small_disk(work / "disk", _DISK) as disk,
        run_faulty(work, data_dir=disk / "data") as node,
    ):
        answers, taken, seconds = _fill(node.port, "GROUNDING", disk, samples)
        wait_s(lambda: not node.problems(), timeout_s=10)
        problems = node.problems()
        node.restart()
        rows = node.rows()
        lost = sum(one.uid not in rows for one in taken)
        half = sum(node.half_visible())
    tell(f"full disk: {dict(answers)}")
    wrong = sum(n for status, n in answers.items() if status not in _ALLOWED)
    return (
        at_least("6 MiB disk: refused while it was full", answers[0xA700], 1),
        at_most("6 MiB disk: other answers", wrong, 0),
        at_most("6 MiB disk: accepts again after", round(seconds, 1), 5, "s"),
        at_most("6 MiB disk: acknowledged and lost", lost, 0),
        at_most("6 MiB disk: half visible", half, 0),
        at_most("6 MiB disk: troubles that stay", len(problems), 0),
        seen("6 MiB disk: acknowledged", len(taken)),
    )


def _fill(
    port: int, ae_title: str, disk: Path, samples: Samples
) -> tuple[Counter[int | None], list[Sample], float]:
    """Fill a disk, give some back; return answers, what was taken, and the wait."""
    ballast = disk / "ballast"
    ballast.write_bytes(bytes(_BALLAST))
    answers: Counter[int | None] = Counter()
    taken = []
    for _ in range(40):
        with Caller(port, ae_title=ae_title) as caller:
            sample = samples.next(_SIZE)
            status = caller.store(sample)
        answers[status] += 1
        taken += [sample] if status == 0 else []
    ballast.unlink()
    last = samples.next(_SIZE)

    def accepts() -> bool:
        with Caller(port, ae_title=ae_title) as caller:
            return caller.store(last) == 0

    seconds = wait_s(accepts, timeout_s=30)
    taken += [last] if seconds < 30 else []
    return answers, taken, seconds


def _anchors(work: Path, tell: Tell) -> list[tuple[str, tuple[Figure, ...]]]:
    found: list[tuple[str, tuple[Figure, ...]]] = []
    for kind in (StoreScpAnchor, OrthancAnchor):
        folder = work / kind.__name__
        with ExitStack() as stack:
            if kind is OrthancAnchor:
                stack.enter_context(loopback_network())
            disk = stack.enter_context(small_disk(folder / "disk", _DISK))
            anchor = kind(folder / "own", storage=disk / "storage")
            stack.callback(anchor.kill)
            anchor.start()
            answers, taken, seconds = _fill(
                anchor.peer.port, anchor.peer.ae_title, disk, Samples(folder / "sent")
            )
            anchor.kill()
            kept, orphans = anchor.contents()
            lost = sum(kept.get(one.uid) != one.kept for one in taken)
        tell(f"{anchor.name}: {dict(answers)}")
        others = sum(n for status, n in answers.items() if status not in _ALLOWED)
        found.append(
            (
                anchor.name,
                (
                    seen("6 MiB disk: refused while it was full", answers[0xA700]),
                    seen("6 MiB disk: other answers", others),
                    seen("6 MiB disk: accepts again after", round(seconds, 1), "s"),
                    seen("6 MiB disk: acknowledged and lost", lost),
                    seen("6 MiB disk: files that are no instance", orphans),
                ),
            )
        )
    return found
