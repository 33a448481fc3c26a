"""How long after the last image has the PACS its results, alone and in a crowd."""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

from dicom_node.timeline import VersionMoments, make_spans, seconds_to_result
from tests.bench.crowd import crowd_table, memory_table, run_crowd
from tests.bench.interleave import Measured, interleave
from tests.bench.meeting import Rows, meet, meet_in_turns, meeting_table
from tests.bench.report import Case, Ceiling, Report, Scale, Table, Tell
from tests.bench.site import (
    QUIET_S,
    Load,
    open_site,
    pids_of,
    report_on,
    rests,
    send,
    wait_for_results,
    write_study,
)
from tests.bench.timeline_picture import draw_timelines
from tests.bench.usage import cpu_seconds, resident_mib
from tests.builders.node import RunningNode, write_settings
from tests.builders.process import Program, free_port, wait_until

__all__ = ["run"]


_LOADS = {
    Scale.QUICK: Load(256, 64, 12, {1: 2, 12: 1}, 1, 0, 1, 0.5, 0),
    Scale.FULL: Load(
        2048,
        512,
        300,
        {1: 42, 12: 6, 48: 2},
        starts=3,
        warms=1,
        alone=1,
        idle_s=20.0,
        meetings=3,
    ),
}


def run(scale: Scale, work: Path, tell: Tell) -> Report:
    """Measure the node's start, its rest, one study, two that meet, and a crowd."""
    load = _LOADS[scale]
    started = _start(load, work / "start", tell)
    with open_site(work / "alone") as node:
        idle = _idle(node, load.idle_s)
        tell(f"idle: {idle.rows}")
        lonely = _alone(node, load, work / "images", tell)
        met: Rows = {}
        if not load.meetings:
            met["two lanes"] = [meet(node, load, work / "met")]
    met = met or meet_in_turns(load, work / "meeting", tell)
    crowd = run_crowd(load, work / "crowd", tell)
    if scale is Scale.FULL:
        draw_timelines([each[-1] for each in lonely.values()])
    return Report(
        cases=(started,),
        tables=(
            idle,
            _stages(lonely),
            meeting_table(met, load),
            crowd_table(crowd),
            memory_table(crowd),
        ),
        notes=(
            "The node's own clock: from the commit of the last instance, which is just "
            "before its C-STORE response, to the commit of the PACS's last answer. The "
            f"quiet time ({QUIET_S:g} s here) is the site's choice and is told apart; "
            "a study is complete no sooner than a second after its association.",
            "The whole of it is real: the installed command, the bundled model on the "
            "CPU, SQLite, C-STORE in and C-STORE to DCMTK's storescp.",
            "In the crowd all studies are received, the largest first, while work is "
            "paused; waiting counts from the moment the pause ends.",
            "One line, by cost and by arrival, is replayed with the durations of the "
            "measured run, less the time in which each let others go first.",
            "Two studies are under way at most, one of them of up to eight pictures: "
            "the model answers it between two batches of slices of the other.",
        ),
        versions={"DCMTK": _dcmtk_version()},
    )


def _start(load: Load, work: Path, tell: Tell) -> Case:
    port = free_port()
    config = write_settings(work, dicom_port=port, web_port=free_port())

    def serve() -> Measured:
        began = time.perf_counter()
        command = [Path(sys.executable).with_name("dicom-node"), "serve", "-c", config]
        with Program(command, log_path=work / "node.log") as program:
            program.wait_for_port(port)
            seconds = time.perf_counter() - began
            used = cpu_seconds(program.process.pid)
            wait_until(
                lambda: b"node_started" in (work / "node.log").read_bytes(),
                timeout_s=60,
                what="the whole node",
            )
        return seconds, {"CPU s": used}

    def load_library() -> Measured:
        began = time.perf_counter()
        code = "import time, pynetdicom; print(time.process_time())"
        done = subprocess.run(
            [sys.executable, "-c", code], check=True, capture_output=True, text=True
        )
        return time.perf_counter() - began, {"CPU s": float(done.stdout)}

    (work / "data").mkdir(exist_ok=True)
    serve()  # makes the database
    return interleave(
        "From nothing to a node that listens, with a database that is there",
        {"python -c 'import pynetdicom'": load_library, "dicom-node serve": serve},
        base="python -c 'import pynetdicom'",
        repeats=load.starts,
        tell=tell,
        ceilings=(Ceiling("dicom-node serve", "median s", 1.0),),
    )


def _idle(node: RunningNode, seconds: float) -> Table:
    pids = pids_of(node)
    wait_until(lambda: rests(pids), timeout_s=60, what="the node to rest")
    before = {name: cpu_seconds(pid) for name, pid in pids.items()}
    time.sleep(seconds)
    rows = [
        (
            name,
            round((cpu_seconds(pid) - before[name]) / seconds * 100, 2),
            round(resident_mib(pid)),
        )
        for name, pid in pids.items()
    ]
    together = "together"
    return Table(
        f"A node that has nothing to do, over {seconds:g} s",
        ("process", "% of one core", "resident MiB"),
        (
            *rows,
            (
                together,
                round(sum(cpu for _, cpu, _ in rows), 2),
                sum(resident for _, _, resident in rows),
            ),
        ),
        (Ceiling(together, "% of one core", 1.0),),
    )


def _alone(
    node: RunningNode, load: Load, folder: Path, tell: Tell
) -> dict[str, list[VersionMoments]]:
    found: dict[str, list[VersionMoments]] = defaultdict(list)
    number = 0
    for turn in range(load.warms + load.alone):
        for slices in (1, load.ct_slices) if turn >= load.warms else (1,):
            number += 1
            study = write_study(folder, number, slices, load)
            report_on(node, study)
            send(node, study)
            moments = wait_for_results(node, [study.uid], timeout_s=600)[study.uid]
            tell(f"{study.name} alone: {seconds_to_result(moments):.2f} s")
            if turn >= load.warms:
                found[study.name].append(moments)
    return found


def _stages(lonely: Mapping[str, Sequence[VersionMoments]]) -> Table:
    taken = {
        name: [_by_stage(one) for one in all_of] for name, all_of in lonely.items()
    }
    names = list(dict.fromkeys(key for one in taken.values() for key in one[0]))
    return Table(
        f"One study alone, by stage: median s (n = {len(next(iter(lonely.values())))})",
        ("stage", *taken),
        tuple(
            (
                stage,
                *(
                    round(statistics.median(each.get(stage, 0.0) for each in one), 3)
                    for one in taken.values()
                ),
            )
            for stage in names
        ),
    )


def _by_stage(moments: VersionMoments) -> dict[str, float]:
    spans = make_spans(moments, now=datetime.now(UTC))
    found: dict[str, float] = defaultdict(float)
    for one in spans:
        where = "" if one.track == "study" else f"{one.track}: "
        found[f"{where}{one.name}"] += one.seconds
    whole = seconds_to_result(moments) or 0.0
    found["last image to last result"] = whole
    found["the same without the quiet time"] = whole - found["quiet time"]
    return dict(found)


def _dcmtk_version() -> str:
    told = subprocess.run(
        ["/usr/bin/storescp", "--version"], capture_output=True, text=True, check=False
    )
    return told.stdout.split()[2].lstrip("v") if told.stdout else "unknown"
