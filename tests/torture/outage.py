"""A destination that is away for a day beside one that is not."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path

from dicom_node.commands.status import requeue_study
from tests.builders.archive import Archive
from tests.builders.process import free_port
from tests.torture.delivering_node import DeliveringNode, run_delivering
from tests.torture.outcome import Figure, Tell, at_least, at_most, seen

__all__ = ["outlast"]

_DAY_S = 86400.0
_LIMIT_S = 600.0
_HEALTHY_S = 60.0
"""How long a study may take to the healthy destination, from sending to arrival. It
takes seconds; the other's silence would make it hours."""
_STEP_S = 5.0
"""How far the clock jumps while the first delivery after the return is awaited."""
_WEEK_S = 8 * _DAY_S
_ROUND_S = 600.0
"""How long trying everything once may take on a busy machine."""


def outlast(
    work: Path, *, studies: int, objects: int, jumps: int, tell: Tell
) -> tuple[Figure, ...]:
    """Let a destination be away for a day and return; then let it be given up.

    Parameters
    ----------
    work : pathlib.Path
        New.
    studies, objects : int
        How many studies, with how many results each.
    jumps : int
        In how many steps the day passes.
    tell : callable
        Told how far it is.

    """
    away, healthy = Archive("away"), Archive("healthy")
    with (
        healthy,
        run_delivering(
            work,
            [away.destination, healthy.destination],
            dicom_port=free_port(),
            objects=objects,
        ) as node,
    ):
        count = studies * objects
        node.send_studies(range(studies))
        node.wait_for(lambda: len(set(healthy.uids)) >= count, timeout_s=600)
        tell(f"{count} results at the healthy destination")
        for _ in range(jumps):
            node.clock.advance(_DAY_S / jumps)
            _wait_until_tried(node, "away", node.clock.now())
            tell(f"{node.clock.ahead_s / 3600:.0f} h away")
        began = time.monotonic()
        node.send_studies([studies])
        count += objects
        node.wait_for(lambda: len(set(healthy.uids)) >= count)
        healthy_s = time.monotonic() - began
        tried = node.states("away")
        with _open(away):
            returned_s = _wait_for_return(node, away, count)
            tell(f"{count} results {returned_s:.0f} s after the return")
            figures = (
                seen("results", count),
                seen("waiting for the return", tried["pending"]),
                at_most("lost by the outage", count - len(set(away.uids)), 0),
                at_most("sent twice", len(away.uids) - len(set(away.uids)), 0),
                at_most(
                    "other bytes than made",
                    _other(node, away),
                    0,
                ),
                at_most(
                    "last delivery after the return", round(returned_s), _LIMIT_S, "s"
                ),
                at_most(
                    "to the healthy one meanwhile", round(healthy_s, 1), _HEALTHY_S, "s"
                ),
                at_most(
                    "sent twice to the healthy one",
                    len(healthy.uids) - len(set(healthy.uids)),
                    0,
                ),
            )
        return figures + _give_up(node, away, studies + 1, objects)


@contextmanager
def _open(archive: Archive) -> Iterator[None]:
    archive.open()
    try:
        yield
    finally:
        archive.close()


def _wait_until_tried(node: DeliveringNode, destination: str, since: datetime) -> None:
    """Wait until all that waits was tried after a moment by the node's clock."""

    def is_tried() -> bool:
        tried = node.last_try(destination)
        return tried is not None and tried >= since

    node.wait_for(is_tried, timeout_s=_ROUND_S)


def _wait_for_return(node: DeliveringNode, away: Archive, count: int) -> float:
    """Return how long it took by the node's clock until all had come."""
    began, ahead_s = time.monotonic(), node.clock.ahead_s

    def took_s() -> float:
        return time.monotonic() - began + node.clock.ahead_s - ahead_s

    # A wait for the next try is jumped over; the deliveries take their real time.
    while not away.uids and took_s() < 2 * _LIMIT_S:
        time.sleep(0.25)
        node.clock.advance(_STEP_S)
    while len(set(away.uids)) < count and took_s() < 2 * _LIMIT_S:
        time.sleep(0.1)
    took = took_s()
    _wait_until_delivered(node, "away")
    return took


def _wait_until_delivered(node: DeliveringNode, destination: str) -> None:
    """Wait until a destination was asked, too, whether it commits to what it took."""
    # Who goes away before that is asked again later, which is not what is looked at.
    node.wait_for(lambda: set(node.states(destination)) == {"delivered"})


def _other(node: DeliveringNode, archive: Archive) -> int:
    made = {one.uid: one.data_set_sha256() for one in node.results("away")}
    return sum(
        hashlib.sha256(data).hexdigest() != made[uid]
        for _, uid, data in archive.arrivals
    )


def _give_up(
    node: DeliveringNode, away: Archive, number: int, objects: int
) -> tuple[Figure, ...]:
    """Let it be away until results are given up, and start these again."""
    before = len(away.uids)
    (study,) = node.send_studies([number])
    node.wait_for(lambda: node.states("away")["pending"] == objects)
    node.clock.advance(_WEEK_S)
    node.wait_for(lambda: node.states("away")["dead"] == objects)
    told = sum(
        one["dead"]
        for one in node.ask("/operations.json")["destinations"]
        if one["name"] == "away"
    )
    with _open(away):
        requeue_study(node.settings, study)
        node.wait_for(lambda: len(away.uids) - before >= objects)
        _wait_until_delivered(node, "away")
    arrived = away.uids[before:]
    return (
        at_least("given up after a week, told by the page", told, objects),
        at_most(
            "of these lost when they are started again", objects - len(set(arrived)), 0
        ),
        at_most("of these sent twice", len(arrived) - len(set(arrived)), 0),
    )
