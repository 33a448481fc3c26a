"""A radiograph that comes while a large CT is under way: who waits for whom."""

from __future__ import annotations

import statistics
from collections import defaultdict
from pathlib import Path
from typing import TypeAlias

from dicom_node.timeline import VersionMoments, seconds_to_result
from dicom_node.workflows.workbench import OTHERS
from tests.bench.report import Table, Tell
from tests.bench.site import (
    QUIET_S,
    Load,
    acknowledged_at,
    open_site,
    open_store,
    pids_of,
    report_on,
    send,
    wait_for_results,
    with_results,
    write_study,
)
from tests.bench.usage import cpu_seconds
from tests.builders.node import RunningNode
from tests.builders.process import wait_until

__all__ = ["Rows", "meet", "meet_in_turns", "meeting_table", "seconds_lent"]

Rows: TypeAlias = dict[str, list[tuple[float, ...]]]
"""By way: seconds of the radiograph, of the CT, between them, and what the CT lent."""

_FIRST_NUMBER = 101
"""Of its studies, which no other has that this node gets."""

_AT_WORK_S = 0.5
"""CPU time of the model's process from which on it is at work on a study."""

_WAYS = {
    "two lanes": "",
    "one line, by arrival": '[schedule]\norder = "arrival"\n',
}


def meet_in_turns(load: Load, work: Path, tell: Tell) -> Rows:
    """Let the two meet with lanes and without, in turns, each time at a new node."""
    rows: Rows = defaultdict(list)
    for turn in range(load.meetings):
        for number, (way, more) in enumerate(_WAYS.items()):
            folder = work / f"{turn}-{number}"
            with open_site(folder, more=more) as node:
                rows[way].append(meet(node, load, folder / "images"))
            tell(f"{way}: {rows[way][-1]}")
    return rows


def meeting_table(rows: Rows, load: Load) -> Table:
    """Tell how long each waited."""
    count = len(next(iter(rows.values())))
    return Table(
        f"A radiograph that comes while a CT of {load.ct_slices} images is under way: "
        f"median s (n = {count})",
        (
            "way",
            "radiograph, last image to last result",
            "CT, the same",
            "the radiograph before the CT",
            "the CT waited",
        ),
        tuple(
            (way, *(round(statistics.median(of), 2) for of in zip(*some, strict=True)))
            for way, some in rows.items()
        ),
    )


def meet(node: RunningNode, load: Load, folder: Path) -> tuple[float, ...]:
    """Send a radiograph as soon as the model is at work on a CT; return a row."""
    warm, ct, radiograph = (
        write_study(folder, number, slices, load)
        for number, slices in enumerate((1, load.ct_slices, 1), start=_FIRST_NUMBER)
    )
    report_on(node, warm)
    send(node, warm)
    wait_for_results(node, [warm.uid], timeout_s=600)
    report_on(node, ct)
    report_on(node, radiograph)
    model = pids_of(node)["the model"]
    before = cpu_seconds(model)
    send(node, ct)
    with open_store(node) as store:
        wait_until(
            lambda: (
                cpu_seconds(model) - before >= _AT_WORK_S
                or with_results(store, node, {ct.uid})
            ),
            timeout_s=600,
            what="the model to be at work on the CT",
        )
    send(node, radiograph)
    found = wait_for_results(node, [ct.uid, radiograph.uid], timeout_s=600)
    large, small = found[ct.uid], found[radiograph.uid]
    sooner = acknowledged_at(large) - acknowledged_at(small)
    return (
        _without_quiet_time(small),
        _without_quiet_time(large),
        sooner.total_seconds(),
        seconds_lent(large),
    )


def seconds_lent(moments: VersionMoments) -> float:
    """Return how long a version let others go first after it was begun."""
    return sum(
        (one.end - one.begin).total_seconds()
        for one in moments.stages
        if one.name == OTHERS
    )


def _without_quiet_time(moments: VersionMoments) -> float:
    return (seconds_to_result(moments) or 0.0) - QUIET_S
