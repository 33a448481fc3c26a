"""Every transfer syntax in every character set, and labels that lie."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from dicom_node.commands.status import hand_in_report
from dicom_node.records import IncomingReport, ReportChannel, ReportStatus
from tests.builders.archive import Archive
from tests.builders.process import free_port
from tests.torture.charset_cases import CASES
from tests.torture.charset_judge import judge_charsets
from tests.torture.charset_study import SYNTAXES, SyntaxStudy, make_syntax_study
from tests.torture.delivering_node import DeliveringNode, run_delivering
from tests.torture.outcome import Outcome, Scale, Tell, seen

__all__ = ["run"]

_BATCH = 4
_TIMEOUT_S = 600.0


@dataclass(frozen=True, slots=True)
class _Plan:
    cases: Sequence[int]
    """Places in `CASES`."""
    syntaxes: int
    """How many of the syntaxes each of them has, each case others."""


_PLANS = {
    # GB18030, 2022 IR 58, an unknown label.
    Scale.SHORT: _Plan((13, 17, 22), 2),
    Scale.FULL: _Plan(range(len(CASES)), len(SYNTAXES)),
    Scale.SOAK: _Plan(range(len(CASES)), len(SYNTAXES)),
}


def run(scale: Scale, work: Path, tell: Tell) -> Outcome:
    """Send studies in each character set, a series in each syntax; judge all of it."""
    plan = _PLANS[scale]
    work.mkdir(parents=True, exist_ok=True)
    syntaxes = list(SYNTAXES)
    studies = [
        make_syntax_study(
            work / f"study-{place}",
            CASES[place],
            [
                syntaxes[(number * plan.syntaxes + one) % len(syntaxes)]
                for one in range(plan.syntaxes)
            ],
        )
        for number, place in enumerate(plan.cases)
    ]
    tell(f"{len(studies)} studies are made")
    archive = Archive("pacs")
    with (
        archive,
        run_delivering(
            work / "node",
            [archive.destination],
            dicom_port=free_port(),
            processor="corner",
        ) as node,
    ):
        for begin in range(0, len(studies), _BATCH):
            for study in studies[begin : begin + _BATCH]:
                _send(node, study)
            sent = min(begin + _BATCH, len(studies))
            node.wait_for(partial(_is_done, node, sent), timeout_s=_TIMEOUT_S)
            tell(f"{sent} studies are done")
        figures = (
            seen("character sets and labels", len(studies)),
            seen(
                "transfer syntaxes", len({x for one in studies for x in one.syntaxes})
            ),
            seen("combinations", sum(len(one.syntaxes) for one in studies)),
            *judge_charsets(node, studies, archive, has_dcmtk=scale is not Scale.SHORT),
        )
    return Outcome(
        figures,
        notes=(
            "a study for each character set, a series of it for each transfer syntax;"
            " real objects, the model always finds the same box",
            "the node does not accept Deflated Explicit VR Little Endian; there is no"
            " encoder of HTJ2K",
        ),
    )


def _send(node: DeliveringNode, study: SyntaxStudy) -> None:
    hand_in_report(
        node.settings,
        IncomingReport(
            text="FINDINGS:\nThe liver is enlarged.\n",
            channel=ReportChannel.REST,
            status=ReportStatus.FINAL,
            identifier=study.uid,
            sender="RIS",
            received_at=node.clock.now(),
            study_instance_uid=study.uid,
        ),
    )
    told = node.send(study.paths)
    assert all(one.is_delivered for one in told), [one.reason for one in told]


def _is_done(node: DeliveringNode, studies: int) -> bool:
    ((count,),) = node.rows(
        "SELECT count(*) FROM studies WHERE state IN ('done', 'failed')"
    )
    ((waiting,),) = node.rows("SELECT count(*) FROM deliveries WHERE state = 'pending'")
    return bool(count >= studies and not waiting)
