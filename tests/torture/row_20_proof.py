"""Proof: audit messages, storage commitment, and the same bytes again."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from tests.torture.audit_proof import AuditPlan, prove_audit
from tests.torture.commitment_proof import commit_at_orthanc, prove_commitment
from tests.torture.outcome import Figure, Outcome, Scale, Tell
from tests.torture.rerun_proof import prove_rerun

__all__ = ["run"]


@dataclass(frozen=True, slots=True)
class _Plan:
    audit: AuditPlan
    instances: int
    studies: int
    has_anchor: bool


_PLANS = {
    Scale.SHORT: _Plan(AuditPlan(100, 2, 1.0, 1, 60.0), 40, 2, has_anchor=False),
    Scale.FULL: _Plan(AuditPlan(10_000, 20, 60.0, 5, 300.0), 1000, 100, True),
    Scale.SOAK: _Plan(AuditPlan(100_000, 200, 3600.0, 50, 3600.0), 1000, 1000, True),
}


def run(scale: Scale, work: Path, tell: Tell) -> Outcome:
    """Run all three proofs."""
    plan = _PLANS[scale]
    with ThreadPoolExecutor(1) as pool:
        # It has processes of its own; the other two mostly wait.
        rerun = pool.submit(prove_rerun, plan.studies, work, tell)
        figures = prove_audit(plan.audit, work, tell)
        figures += prove_commitment(plan.instances, work, tell)
        figures += rerun.result()
    anchors: dict[str, tuple[Figure, ...]] = {}
    if plan.has_anchor:
        anchors["Orthanc 1.10.1"] = commit_at_orthanc(plan.instances, work, tell)
    away_s = plan.audit.away_s
    notes = (
        "The third part makes real objects of small studies; the model is a stand-in "
        "that always finds the same box.",
        "At the audit test the events are refused sign-ins, written as another process "
        "of the node writes them, and C-STORE of a few studies.",
    )
    if away_s < 3600:
        notes += (
            f"The repository was away {away_s:g} s instead of 1 h (SOAK: 1 h); how "
            "long the node waits between tries is bounded at 60 s whatever the time.",
        )
    return Outcome(figures, anchors, notes)
