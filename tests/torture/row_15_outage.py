"""A destination is away for a day, others cut the line: all is delivered once."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from tests.torture.cut_lines import cut_deliveries
from tests.torture.outage import outlast
from tests.torture.outage_anchor import outlast_with_orthanc
from tests.torture.outcome import Outcome, Scale, Tell

__all__ = ["run"]


@dataclass(frozen=True, slots=True)
class _Plan:
    """How much of the test is run."""

    studies: int
    objects: int
    jumps: int
    """In how many steps the clock passes a day."""
    cuts: int
    batch: int
    """Studies on their way while lines are cut."""
    cables: int
    """Connections that swallow everything: each waits for a real timeout."""


_PLANS = {
    Scale.SHORT: _Plan(studies=3, objects=2, jumps=1, cuts=4, batch=2, cables=0),
    Scale.FULL: _Plan(studies=100, objects=5, jumps=12, cuts=200, batch=8, cables=2),
    Scale.SOAK: _Plan(studies=1000, objects=5, jumps=96, cuts=2000, batch=8, cables=10),
}


def run(scale: Scale, work: Path, tell: Tell) -> Outcome:
    """Take a destination away for a day, then cut deliveries at random bytes."""
    plan = _PLANS[scale]
    figures = outlast(
        work / "outage",
        studies=plan.studies,
        objects=plan.objects,
        jumps=plan.jumps,
        tell=tell,
    )
    figures += cut_deliveries(
        work / "cuts",
        cuts=plan.cuts,
        batch=plan.batch,
        cables=plan.cables,
        tell=tell,
    )
    anchors = {}
    if scale is not Scale.SHORT:
        name, measured = outlast_with_orthanc(
            work / "orthanc", studies=plan.studies, tell=tell
        )
        anchors[name] = measured
    return Outcome(
        figures,
        anchors,
        (
            "the node's wall clock is set ahead, the day is not waited for; every"
            f" timeout is real. The day passes in {plan.jumps} jumps, after each of"
            " which all that is due is tried",
            "the results are a quick stand-in's; everything else is the node",
            "a pulled cable is a connection that is not closed and passes nothing more",
            "Orthanc sends received images by its own job, in real time",
        ),
    )
