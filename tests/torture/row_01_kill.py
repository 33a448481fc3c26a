"""SIGKILL anywhere: nothing acknowledged is lost, nothing is done or sent twice."""

from __future__ import annotations

import random
import time
from dataclasses import dataclass
from pathlib import Path

from tests.builders.node import DICOM_NODE
from tests.builders.process import Program
from tests.torture.anchors import kill_orthanc, kill_storescp
from tests.torture.crash import CrashingNode, crashing_node
from tests.torture.kill_points import kill_at_points
from tests.torture.load import Load
from tests.torture.outcome import Figure, Outcome, Scale, Tell, at_least, at_most, seen

__all__ = ["run", "run_on"]

_SEED = 1
_LISTENING_S = 3.0
_KINDS = ("receive", "work", "delivery")


@dataclass(frozen=True, slots=True)
class _Plan:
    """How much of the test is run."""

    kills: int
    load: Load
    points: int
    """Kills at most at chosen system calls."""
    true_starts: int
    """Kills of the installed command, to time its start."""
    anchor_kills: int
    slack: float = 1.0
    """How much longer a start may take: a short form shares the machine."""


_MIXED = ((2 << 10, 0.4), (256 << 10, 0.35), (1 << 20, 0.2), (20 << 20, 0.05))
_PLANS = {
    Scale.SHORT: _Plan(
        kills=5,
        load=Load(4, 4, ((2 << 10, 0.5), (256 << 10, 0.45), (4 << 20, 0.05))),
        points=2,
        true_starts=0,
        anchor_kills=0,
        slack=10.0,
    ),
    Scale.FULL: _Plan(
        kills=200,
        load=Load(8, 6, _MIXED, study_pause_s=4.0),
        points=100,
        true_starts=5,
        anchor_kills=20,
    ),
    Scale.SOAK: _Plan(
        kills=2000,
        load=Load(8, 6, _MIXED, study_pause_s=4.0),
        points=100,
        true_starts=20,
        anchor_kills=200,
    ),
}


def run(scale: Scale, work: Path, tell: Tell) -> Outcome:
    """Kill the node on SQLite, at random and at chosen points, and the anchors."""
    plan = _PLANS[scale]
    figures = _kill(work / "node", plan, None, tell)
    anchors = {}
    if plan.anchor_kills:
        for kill in (kill_storescp, kill_orthanc):
            name, told = kill(
                work / kill.__name__,
                load=plan.load,
                kills=plan.anchor_kills,
                seed=_SEED,
                tell=tell,
            )
            anchors[name] = told
    return Outcome(
        figures,
        anchors,
        ("the results are a quick stand-in's; everything else is the node",),
    )


def run_on(url: str, work: Path, *, kills: int) -> Outcome:
    """Kill the node on another database, at random moments."""
    short = _PLANS[Scale.SHORT]
    plan = _Plan(kills, short.load, 0, 0, 0, short.slack)
    return Outcome(_kill(work, plan, url, lambda _text: None))


def _kill(work: Path, plan: _Plan, url: str | None, tell: Tell) -> tuple[Figure, ...]:
    draw = random.Random(_SEED)
    with crashing_node(
        work, load=plan.load, seed=_SEED, data_dir=work / "data", url=url
    ) as node:
        for number in range(plan.kills):
            # Every fifth is killed on its way up, the others in full work.
            if number % 5 == 4:
                with node.forked.running():
                    time.sleep(draw.uniform(0.0, 0.5))
            else:
                with node.listening():
                    time.sleep(draw.uniform(0.05, 1.0))
            node.note_interrupted()
            if number % 20 == 19:
                told = len(node.senders.acknowledged.samples())
                tell(f"{number + 1} kills, {told} instances acknowledged")
        # Few random kills, or a machine so slow that each came before the work did.
        missed = [what for what in _KINDS if not node.interrupted[what]]
        for what in missed:
            node.kill_during(what)
        points = (
            kill_at_points(node, most=plan.points, tell=tell) if plan.points else ()
        )
        figures = node.finish()
        starts = tuple(sorted(node.starts_s))
        true_starts = _true_starts(node, plan.true_starts)
    limit = _LISTENING_S * plan.slack
    return (
        seen("random kills", plan.kills),
        seen("kills at a chosen moment", len(missed)),
        *points,
        *figures,
        at_most("slowest start until it listens", round(starts[-1], 2), limit, "s"),
        *(
            at_most("the same of the command, imports too", round(one, 2), limit, "s")
            for one in true_starts[-1:]
        ),
        *(
            at_least(f"kills during {what}", node.interrupted[what], 1)
            for what in _KINDS
        ),
    )


def _true_starts(node: CrashingNode, count: int) -> list[float]:
    """Start and kill the installed command; return the sorted times."""
    took = []
    for _ in range(count):
        began = time.monotonic()
        command = [str(DICOM_NODE), "serve", "--config", str(node.config)]
        with Program(command, log_path=node.folder / "command.log") as program:
            program.wait_for_port(node.port)
            took.append(time.monotonic() - began)
            program.process.kill()
            program.process.wait()
    return sorted(took)
