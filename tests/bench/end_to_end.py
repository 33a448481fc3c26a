"""How long after the last image has the PACS its results, alone and in a crowd."""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path

from dicom_node.config import DestinationSettings, DicomPeer, load_settings
from dicom_node.deliver import send_objects
from dicom_node.records import IncomingReport, ReportChannel, ReportStatus
from dicom_node.status import hand_in_report
from dicom_node.store import Store
from dicom_node.store.switches import PAUSED
from dicom_node.timeline import VersionMoments, make_spans, seconds_to_result
from tests.bench.interleave import Measured, interleave
from tests.bench.receivers import open_one
from tests.bench.report import Case, Report, Scale, Table, Tell
from tests.bench.studies import REPORT, Study, write_ct_study, write_radiograph_study
from tests.bench.timeline_picture import draw_timelines
from tests.bench.usage import cpu_seconds, resident_mib
from tests.builders.node import RunningNode, run_node, write_settings
from tests.builders.process import Program, free_port, wait_until

__all__ = ["run"]

_MINUTES = 60.0
_QUIET_S = 1.0
_PACS = "storescp +B"


@dataclass(frozen=True, slots=True)
class _Load:
    """How much of each there is."""

    radiograph_side: int
    ct_side: int
    ct_slices: int
    crowd: Mapping[int, int]
    """How many studies of so many slices; 1 is a radiograph."""
    starts: int
    warms: int
    """Studies of each kind before those that count: they load what is loaded late."""
    alone: int
    idle_s: float


_LOADS = {
    Scale.QUICK: _Load(256, 64, 6, {1: 2, 6: 1}, 1, 0, 1, 0.5),
    Scale.FULL: _Load(
        2048,
        512,
        300,
        {1: 42, 30: 6, 150: 2},
        starts=3,
        warms=1,
        alone=2,
        idle_s=20.0,
    ),
}


def run(scale: Scale, work: Path, tell: Tell) -> Report:
    """Measure the node's start, its rest, one study alone, and a crowd."""
    load = _LOADS[scale]
    started = _start(load, work / "start", tell)
    with _site(work / "alone") as node:
        idle = _idle(node, load.idle_s)
        tell(f"idle: {idle.rows}")
        lonely = _alone(node, load, work / "images", tell)
    crowd = _crowd(load, work / "crowd", tell)
    if scale is Scale.FULL:
        draw_timelines([each[-1] for each in lonely.values()])
    return Report(
        cases=(started,),
        tables=(
            idle,
            _stages(lonely),
            _crowd_table(crowd),
            _memory_table(crowd),
        ),
        notes=(
            "The node's own clock: from the commit of the last instance, which is just "
            "before its C-STORE response, to the commit of the PACS's last answer. The "
            f"quiet time ({_QUIET_S:g} s here) is the site's choice and is told apart; "
            "a study is complete no sooner than a second after its association.",
            "The whole of it is real: the installed command, the bundled model on the "
            "CPU, SQLite, C-STORE in and C-STORE to DCMTK's storescp.",
            "In the crowd all studies are received, the largest first, while work is "
            "paused; waiting counts from the moment the pause ends.",
            "First in, first out is replayed with the durations of the measured run, "
            "and so is the measured order, to show how well that tells.",
            "One study is with the worker at a time: a radiograph waits for what is "
            "under way, and for nothing else that is larger.",
        ),
        versions={"DCMTK": _dcmtk_version()},
    )


def _start(load: _Load, work: Path, tell: Tell) -> Case:
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
    )


def _idle(node: RunningNode, seconds: float) -> Table:
    pids = _pids(node)
    wait_until(lambda: _rests(pids), timeout_s=60, what="the node to rest")
    before = {name: cpu_seconds(pid) for name, pid in pids.items()}
    time.sleep(seconds)
    return Table(
        f"A node that has nothing to do, over {seconds:g} s",
        ("process", "% of one core", "resident MiB"),
        tuple(
            (
                name,
                round((cpu_seconds(pid) - before[name]) / seconds * 100, 2),
                round(resident_mib(pid)),
            )
            for name, pid in pids.items()
        ),
    )


def _alone(
    node: RunningNode, load: _Load, folder: Path, tell: Tell
) -> dict[str, list[VersionMoments]]:
    found: dict[str, list[VersionMoments]] = defaultdict(list)
    number = 0
    for turn in range(load.warms + load.alone):
        for slices in (1, load.ct_slices):
            number += 1
            study = _write(folder, number, slices, load)
            _report_on(node, study)
            _send(node, study)
            moments = _wait_for_results(node, [study.uid], timeout_s=600)[study.uid]
            tell(f"{study.name} alone: {seconds_to_result(moments):.2f} s")
            if turn >= load.warms:
                found[study.name].append(moments)
    return found


@dataclass(frozen=True, slots=True)
class _Crowd:
    studies: Sequence[tuple[Study, VersionMoments]]
    """In the order in which they came."""
    began_at: datetime
    memory: Sequence[tuple[float, Mapping[str, float]]]
    """Share that is done, and resident MiB of each process."""


def _crowd(load: _Load, work: Path, tell: Tell) -> _Crowd:
    with _site(work) as node, _store(node) as store:
        store.switches.set(PAUSED, True, by="benchmark")
        studies: dict[str, Study] = {}
        # The largest come first: the worst for who came later and is small.
        for slices in sorted(load.crowd, reverse=True):
            for _ in range(load.crowd[slices]):
                study = _write(work / "images", len(studies) + 1, slices, load)
                _report_on(node, study)
                _send(node, study)
                studies[study.uid] = study
                for file in study.files:
                    file.unlink()
        tell(f"{len(studies)} studies are received")
        wait_until(
            lambda: len(store.unfinished_versions()) == len(studies),
            timeout_s=120,
            what="all versions",
        )
        began_at = datetime.now(UTC)
        store.switches.set(PAUSED, False, by="benchmark")
        memory: list[tuple[float, Mapping[str, float]]] = []
        pids = _pids(node)
        done: dict[str, VersionMoments] = {}
        shares = [0.1, 0.25, 0.5, 0.75, 1.0]
        while len(done) < len(studies):
            node.program.check_alive()
            done |= _with_results(store, node, set(studies) - set(done))
            while shares and len(done) >= shares[0] * len(studies):
                share = shares.pop(0)
                memory.append(
                    (share, {name: resident_mib(pid) for name, pid in pids.items()})
                )
                tell(f"{share:.0%} of {len(studies)} studies")
            time.sleep(0.25)
    return _Crowd([(one, done[uid]) for uid, one in studies.items()], began_at, memory)


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
        where = "" if one.lane == "study" else f"{one.lane}: "
        found[f"{where}{one.name}"] += one.seconds
    whole = seconds_to_result(moments) or 0.0
    found["last image to last result"] = whole
    found["the same without the quiet time"] = whole - found["quiet time"]
    return dict(found)


def _crowd_table(crowd: _Crowd) -> Table:
    kinds = list(dict.fromkeys(study.name for study, _ in crowd.studies))
    count = {
        kind: sum(study.name == kind for study, _ in crowd.studies) for kind in kinds
    }
    measured = {
        moments.study_instance_uid: (
            _acknowledged(moments) - crowd.began_at
        ).total_seconds()
        for _, moments in crowd.studies
    }
    # Whoever is with the worker when the pause ends was taken before.
    as_done = sorted(crowd.studies, key=lambda one: _moment(one[1].started_at))
    ways = {
        "by cost, ageing": measured,
        "the same, replayed": _replay(as_done, crowd.began_at),
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


def _replay(
    studies: Sequence[tuple[Study, VersionMoments]], began_at: datetime
) -> dict[str, float]:
    """Let one worker take studies in an order, each for as long as it took.

    Between two it takes as long as it took in the measured run, in the middle.
    """
    done = sorted(
        (max(began_at, _moment(one.started_at)), _moment(one.finished_at))
        for _, one in studies
    )
    gaps = [(after[0] - before[1]).total_seconds() for before, after in pairwise(done)]
    gap = statistics.median(gaps) if gaps else 0.0
    now = 0.0
    waits = {}
    for study, one in studies:
        begun, ended = max(began_at, _moment(one.started_at)), _moment(one.finished_at)
        now += (ended - begun).total_seconds()
        waits[study.uid] = now + (_acknowledged(one) - ended).total_seconds()
        now += gap
    return waits


def _moment(at: datetime | None) -> datetime:
    if at is None:
        msg = "a study is done that was never begun"
        raise AssertionError(msg)
    return at


def _memory_table(crowd: _Crowd) -> Table:
    names = list(crowd.memory[0][1])
    return Table(
        f"Resident memory over the {len(crowd.studies)} studies, MiB",
        ("done", *names),
        tuple(
            (f"{share:.0%}", *(round(held[name]) for name in names))
            for share, held in crowd.memory
        ),
    )


def _quantile(values: Sequence[float], share: float) -> float:
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


@contextmanager
def _site(work: Path, *, more: str = "") -> Iterator[RunningNode]:
    with open_one(_PACS, work, waits=False) as pacs:
        destination = DestinationSettings.model_validate(
            {
                "name": "pacs",
                "kind": "dimse",
                "host": "127.0.0.1",
                "port": pacs.port,
                "ae_title": "STORESCP",
                "commitment": "off",
            }
        )
        with run_node(
            work / "node", destinations=[destination], quiet_time_s=_QUIET_S, more=more
        ) as node:
            wait_until(
                lambda: b"model_loaded" in node.program.log_path.read_bytes(),
                timeout_s=300,
                what="the model",
            )
            yield node


def _write(folder: Path, number: int, slices: int, load: _Load) -> Study:
    if slices == 1:
        return write_radiograph_study(folder, number, side=load.radiograph_side)
    return write_ct_study(folder, number, slices=slices, side=load.ct_side)


def _report_on(node: RunningNode, study: Study) -> None:
    hand_in_report(
        load_settings(node.config, {}),
        IncomingReport(
            text=REPORT,
            channel=ReportChannel.REST,
            status=ReportStatus.FINAL,
            identifier="report",
            sender="benchmark",
            received_at=datetime.now(UTC),
            study_instance_uid=study.uid,
        ),
    )


def _send(node: RunningNode, study: Study) -> None:
    peer = DicomPeer("node", node.ae_title, "127.0.0.1", node.dicom_port)
    for one in send_objects(study.files, peer, ae_title="BENCH"):
        if not one.is_delivered:
            msg = f"an image of {study.name} was refused: {one.reason}"
            raise AssertionError(msg)


@contextmanager
def _store(node: RunningNode) -> Iterator[Store]:
    with Store(load_settings(node.config, {}).database_url) as store:
        yield store


def _wait_for_results(
    node: RunningNode, uids: Sequence[str], *, timeout_s: float
) -> dict[str, VersionMoments]:
    found: dict[str, VersionMoments] = {}
    with _store(node) as store:

        def are_there() -> bool:
            node.program.check_alive()
            found.update(_with_results(store, node, set(uids) - set(found)))
            return len(found) == len(uids)

        wait_until(are_there, timeout_s=timeout_s, what=node.program.tail)
    return found


def _with_results(
    store: Store, node: RunningNode, uids: set[str]
) -> dict[str, VersionMoments]:
    found = {}
    for uid in uids:
        for newest in store.timeline.of_study(uid, data_dir=node.data_dir, limit=1):
            if newest.state == "failed":
                msg = f"a study failed\n{node.program.tail()}"
                raise AssertionError(msg)
            if newest.destinations and seconds_to_result(newest) is not None:
                found[uid] = newest
    return found


def _acknowledged(moments: VersionMoments) -> datetime:
    taken = (one.acknowledged_at for one in moments.destinations)
    return max(one for one in taken if one is not None)


def _pids(node: RunningNode) -> dict[str, int]:
    own = node.program.process.pid
    found = {"the node": own}
    for task in Path(f"/proc/{own}/task").iterdir():
        for child in (task / "children").read_text(encoding="ascii").split():
            said = Path(f"/proc/{child}/cmdline").read_bytes()
            if b"grounding_child" in said:
                found["the model"] = int(child)
    return found


def _rests(pids: Mapping[str, int]) -> bool:
    before = {pid: cpu_seconds(pid) for pid in pids.values()}
    time.sleep(1.0)
    return all(cpu_seconds(pid) - used <= 0.03 for pid, used in before.items())


def _dcmtk_version() -> str:
    told = subprocess.run(
        ["/usr/bin/storescp", "--version"], capture_output=True, text=True, check=False
    )
    return told.stdout.split()[2].lstrip("v") if told.stdout else "unknown"
