"""Studies sent three times, shuffled, late, with reports between: one result each."""

from __future__ import annotations

import random
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from dicom_node.commands.status import hand_in_report
from dicom_node.records import IncomingReport, ReportChannel, ReportStatus
from tests.builders.archive import Archive
from tests.builders.process import free_port
from tests.torture.conflict_anchor import conflict_at_orthanc
from tests.torture.delivering_node import DeliveringNode, run_delivering
from tests.torture.disorder_judge import judge_disorder
from tests.torture.disorder_study import SentStudy, make_study
from tests.torture.outcome import Outcome, Scale, Tell, seen

__all__ = ["run"]

_COPIES = 3
_ASSOCIATIONS = 8
_TIMEOUT_S = 600.0
_BEFORE, _AFTER, _CORRECTED = (
    "FINDINGS:\nThe liver is enlarged.\n",
    "FINDINGS:\nSmall pleural effusion.\n",
    "FINDINGS:\nThere is a nodule.\n",
)


@dataclass(frozen=True, slots=True)
class _Plan:
    studies: int
    at_once: int
    slices: int
    has_anchor: bool


_PLANS = {
    Scale.SHORT: _Plan(2, 2, 6, has_anchor=False),
    Scale.FULL: _Plan(20, 8, 20, has_anchor=True),
    Scale.SOAK: _Plan(200, 8, 20, has_anchor=True),
}


def run(scale: Scale, work: Path, tell: Tell) -> Outcome:
    """Send studies in disorder, judge their versions, and give Orthanc a conflict."""
    plan = _PLANS[scale]
    work.mkdir(parents=True, exist_ok=True)
    studies = [
        make_study(work / f"study-{seed}", seed=seed, slices=plan.slices)
        for seed in range(plan.studies)
    ]
    archive = Archive("pacs")
    with (
        archive,
        run_delivering(
            work / "node",
            [archive.destination],
            dicom_port=free_port(),
            processor="corner",
        ) as node,
        ThreadPoolExecutor(plan.at_once) as pool,
    ):
        for done in pool.map(lambda one: _send(node, one), studies):
            tell(f"{done} is sent")
        node.wait_for(lambda: _is_settled(node, plan.studies), timeout_s=_TIMEOUT_S)
        figures = (
            seen("studies", plan.studies),
            seen("instances of each", plan.slices),
            *judge_disorder(node, studies, archive),
        )
    anchors = {}
    if plan.has_anchor:
        name, told = conflict_at_orthanc(work / "orthanc")
        anchors[name] = told
    return Outcome(
        figures,
        anchors,
        ("real objects of small studies; the model always finds the same box",),
    )


def _send(node: DeliveringNode, study: SentStudy) -> str:
    """Send a study three times over eight associations, then what is late."""
    draw = random.Random(f"16.{study.seed}")
    _report(node, study, "first", _BEFORE, ReportStatus.FINAL)
    files = [path for path in study.on_time for _ in range(_COPIES)]
    draw.shuffle(files)
    _send_at_once(node, [files[n::_ASSOCIATIONS] for n in range(_ASSOCIATIONS)])
    _report(node, study, "second", _AFTER, ReportStatus.FINAL)
    node.wait_for(lambda: _is_done(node, study), timeout_s=_TIMEOUT_S)
    late = [path for path in study.late for _ in range(_COPIES)]
    draw.shuffle(late)
    _send_at_once(node, [late[n::2] for n in range(2)])
    _report(node, study, "second", _CORRECTED, ReportStatus.CORRECTED)
    return study.uid


def _send_at_once(node: DeliveringNode, groups: Sequence[Sequence[Path]]) -> None:
    with ThreadPoolExecutor(len(groups)) as pool:
        for told in pool.map(node.send, groups):
            assert all(one.is_delivered for one in told), [one.reason for one in told]


def _report(
    node: DeliveringNode,
    study: SentStudy,
    identifier: str,
    text: str,
    status: ReportStatus,
) -> None:
    hand_in_report(
        node.settings,
        IncomingReport(
            text=text,
            channel=ReportChannel.REST,
            status=status,
            identifier=f"{study.seed}-{identifier}",
            sender="RIS",
            received_at=node.clock.now(),
            study_instance_uid=study.uid,
        ),
    )


def _is_done(node: DeliveringNode, study: SentStudy) -> bool:
    """Return whether it was stable, and a first version has results."""
    return bool(
        node.rows(
            "SELECT 1 FROM versions v JOIN studies s ON s.id = v.study_id"
            " WHERE s.study_instance_uid = ? AND v.state = 'done'",
            study.uid,
        )
    )


def _is_settled(node: DeliveringNode, studies: int) -> bool:
    """Return whether all is processed, with what came last, and delivered."""
    ((done,),) = node.rows("SELECT count(*) FROM studies WHERE state = 'done'")
    ((undone,),) = node.rows(
        "SELECT count(*) FROM versions WHERE state IN ('ready', 'processing')"
    )
    ((waiting,),) = node.rows(
        "SELECT count(*) FROM deliveries WHERE state IN ('pending', 'stored')"
    )
    return bool(done >= studies and not undone and not waiting)
