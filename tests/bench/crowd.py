"""Fifty studies at once: how many a minute, how long each waits, and the memory."""

from __future__ import annotations

import statistics
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path

from dicom_node.store.switches import PAUSED
from dicom_node.timeline import VersionMoments
from dicom_node.workflows.lanes import is_small
from dicom_node.workflows.order import PATIENCE_S
from tests.bench.meeting import seconds_lent
from tests.bench.report import Table, Tell
from tests.bench.site import (
    Load,
    acknowledged_at,
    open_site,
    open_store,
    pids_of,
    report_on,
    send,
    with_results,
    write_study,
)
from tests.bench.studies import Study
from tests.bench.usage import resident_mib
from tests.builders.process import wait_until

__all__ = ["Crowd", "crowd_table", "memory_table", "run_crowd"]

_MINUTES = 60.0
_PATIENCE = timedelta(seconds=PATIENCE_S)


@dataclass(frozen=True, slots=True)
class Crowd:
    """What became of studies that were all there when work began."""

    studies: Sequence[tuple[Study, VersionMoments]]
    """In the order in which they came."""
    began_at: datetime
    memory: Sequence[tuple[float, Mapping[str, float]]]
    """Share that is done, and resident MiB of each process."""


def run_crowd(load: Load, work: Path, tell: Tell) -> Crowd:
    """Send studies while work is paused, let it go on, and wait for all results."""
    with open_site(work) as node, open_store(node) as store:
        store.switches.set(PAUSED, True, by="benchmark")
        studies: dict[str, Study] = {}
        # The largest come first: the worst for who came later and is small.
        for slices in sorted(load.crowd, reverse=True):
            for _ in range(load.crowd[slices]):
                study = write_study(work / "images", len(studies) + 1, slices, load)
                report_on(node, study)
                send(node, study)
                studies[study.uid] = study
                for file in study.files:
                    file.unlink()
        tell(f"{len(studies)} studies are received")
        wait_until(
            lambda: len(store.work.unfinished_versions()) == len(studies),
            timeout_s=120,
            what="all versions",
        )
        began_at = datetime.now(UTC)
        store.switches.set(PAUSED, False, by="benchmark")
        memory: list[tuple[float, Mapping[str, float]]] = []
        pids = pids_of(node)
        done: dict[str, VersionMoments] = {}
        shares = [0.1, 0.25, 0.5, 0.75, 1.0]
        while len(done) < len(studies):
            node.program.check_alive()
            done |= with_results(store, node, set(studies) - set(done))
            while shares and len(done) >= shares[0] * len(studies):
                share = shares.pop(0)
                memory.append(
                    (share, {name: resident_mib(pid) for name, pid in pids.items()})
                )
                tell(f"{share:.0%} of {len(studies)} studies")
            time.sleep(0.25)
    return Crowd([(one, done[uid]) for uid, one in studies.items()], began_at, memory)


def crowd_table(crowd: Crowd) -> Table:
    """Tell throughput and waits, beside what first in, first out would be."""
    kinds = list(dict.fromkeys(study.name for study, _ in crowd.studies))
    count = {
        kind: sum(study.name == kind for study, _ in crowd.studies) for kind in kinds
    }
    measured = {
        moments.study_instance_uid: (
            acknowledged_at(moments) - crowd.began_at
        ).total_seconds()
        for _, moments in crowd.studies
    }
    by_cost = sorted(
        crowd.studies,
        key=lambda one: one[1].queued_at + _PATIENCE * one[1].instances,
    )
    ways = {
        "two lanes, by cost, ageing": measured,
        "one line, by cost, ageing, replayed": _replay(by_cost, crowd.began_at),
        "first in, first out, replayed": _replay(crowd.studies, crowd.began_at),
    }
    return Table(
        f"{len(crowd.studies)} studies at once: "
        + ", ".join(f"{count[kind]} {kind}" for kind in kinds),
        (
            "order",
            "studies/min",
            *(f"{kind} {what} s" for kind in kinds for what in ("p50", "p95")),
        ),
        tuple(
            (
                way,
                round(len(waits) / max(waits.values()) * _MINUTES, 1),
                *(
                    round(_quantile(of, share), 1)
                    for kind in kinds
                    for of in (
                        [
                            waits[one.uid]
                            for one, _ in crowd.studies
                            if one.name == kind
                        ],
                    )
                    for share in (0.5, 0.95)
                ),
            )
            for way, waits in ways.items()
        ),
    )


def memory_table(crowd: Crowd) -> Table:
    """Tell what the processes held as the studies were done."""
    names = list(crowd.memory[0][1])
    return Table(
        f"Resident memory over the {len(crowd.studies)} studies, MiB",
        ("done", *names),
        tuple(
            (f"{share:.0%}", *(round(held[name]) for name in names))
            for share, held in crowd.memory
        ),
    )


def _replay(
    studies: Sequence[tuple[Study, VersionMoments]], began_at: datetime
) -> dict[str, float]:
    """Let one worker take studies in an order, each for as long as it took.

    Between two it takes as long as it took in a lane of the measured run, in the
    middle.
    """
    gaps = []
    for lane in (True, False):
        done = sorted(
            (max(began_at, _moment(one.started_at)), _moment(one.finished_at))
            for _, one in studies
            if is_small(one.instances) is lane
        )
        gaps += [(one[0] - last[1]).total_seconds() for last, one in pairwise(done)]
    gap = max(0.0, statistics.median(gaps)) if gaps else 0.0
    now = 0.0
    waits = {}
    for study, one in studies:
        begun, ended = max(began_at, _moment(one.started_at)), _moment(one.finished_at)
        now += (ended - begun).total_seconds() - seconds_lent(one)
        waits[study.uid] = now + (acknowledged_at(one) - ended).total_seconds()
        now += gap
    return waits


def _moment(at: datetime | None) -> datetime:
    if at is None:
        msg = "a study is done that was never begun"
        raise AssertionError(msg)
    return at


def _quantile(values: Sequence[float], share: float) -> float:
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]
