"""A node with its model and a PACS, real ones, and what is sent through them."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from dicom_node.commands.status import hand_in_report
from dicom_node.config import DestinationSettings, DicomPeer, load_settings
from dicom_node.deliver import send_objects
from dicom_node.grounding import child as grounding_child
from dicom_node.records import IncomingReport, ReportChannel, ReportStatus
from dicom_node.store import Store
from dicom_node.timeline import VersionMoments, seconds_to_result
from tests.bench.receivers import open_one
from tests.bench.studies import REPORT, Study, write_ct_study, write_radiograph_study
from tests.bench.usage import cpu_seconds
from tests.builders.node import RunningNode, run_node
from tests.builders.process import wait_until

__all__ = [
    "QUIET_S",
    "Load",
    "acknowledged_at",
    "open_site",
    "open_store",
    "pids_of",
    "report_on",
    "rests",
    "send",
    "wait_for_results",
    "with_results",
    "write_study",
]

QUIET_S = 1.0
"""The site's quiet time."""

_PACS = "storescp +B"


@dataclass(frozen=True, slots=True)
class Load:
    """How much of each there is."""

    radiograph_side: int
    ct_side: int
    ct_slices: int
    crowd: Mapping[int, int]
    """How many studies of so many slices; 1 is a radiograph."""
    starts: int
    warms: int
    """Radiographs before those that count: they load what is loaded late."""
    alone: int
    idle_s: float
    meetings: int
    """How often a radiograph comes while a CT is under way, with lanes and without; 0:
    once, with lanes."""


@contextmanager
def open_site(work: Path, *, more: str = "") -> Iterator[RunningNode]:
    """Run a PACS, and a node whose model is loaded, while the block lasts."""
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
            work / "node", destinations=[destination], quiet_time_s=QUIET_S, more=more
        ) as node:
            wait_until(
                lambda: b"model_loaded" in node.program.log_path.read_bytes(),
                timeout_s=300,
                what="the model",
            )
            yield node


def write_study(folder: Path, number: int, slices: int, load: Load) -> Study:
    """Write a study of so many slices; of 1: a radiograph."""
    if slices == 1:
        return write_radiograph_study(folder, number, side=load.radiograph_side)
    return write_ct_study(folder, number, slices=slices, side=load.ct_side)


def report_on(node: RunningNode, study: Study) -> None:
    """Hand in a report on a study that has not come."""
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


def send(node: RunningNode, study: Study) -> None:
    """Send a study over one association."""
    peer = DicomPeer("node", node.ae_title, "127.0.0.1", node.dicom_port)
    for one in send_objects(study.files, peer, ae_title="BENCH"):
        if not one.is_delivered:
            msg = f"an image of {study.name} was refused: {one.reason}"
            raise AssertionError(msg)


@contextmanager
def open_store(node: RunningNode) -> Iterator[Store]:
    """Open the node's database beside it."""
    with Store(load_settings(node.config, {}).database_url) as store:
        yield store


def wait_for_results(
    node: RunningNode, uids: Sequence[str], *, timeout_s: float
) -> dict[str, VersionMoments]:
    """Return the moments of studies when the PACS has all their results."""
    found: dict[str, VersionMoments] = {}
    with open_store(node) as store:

        def are_there() -> bool:
            node.program.check_alive()
            found.update(with_results(store, node, set(uids) - set(found)))
            return len(found) == len(uids)

        wait_until(are_there, timeout_s=timeout_s, what=node.program.tail)
    return found


def with_results(
    store: Store, node: RunningNode, uids: set[str]
) -> dict[str, VersionMoments]:
    """Return the moments of those studies whose results the PACS has."""
    found = {}
    for uid in uids:
        for newest in store.timeline.of_study(uid, data_dir=node.data_dir, limit=1):
            if newest.state == "failed":
                msg = f"a study failed\n{node.program.tail()}"
                raise AssertionError(msg)
            if newest.destinations and seconds_to_result(newest) is not None:
                found[uid] = newest
    return found


def acknowledged_at(moments: VersionMoments) -> datetime:
    """Return when the PACS had taken the last result."""
    taken = (one.acknowledged_at for one in moments.destinations)
    return max(one for one in taken if one is not None)


def pids_of(node: RunningNode) -> dict[str, int]:
    """Return the processes of a node by name."""
    own = node.program.process.pid
    found = {"the node": own}
    for task in Path(f"/proc/{own}/task").iterdir():
        for child in (task / "children").read_text(encoding="ascii").split():
            said = Path(f"/proc/{child}/cmdline").read_bytes()
            if grounding_child.__name__.encode("ascii") in said:
                found["the model"] = int(child)
    return found


def rests(pids: Mapping[str, int]) -> bool:
    """Whether processes do nothing at the moment."""
    before = {pid: cpu_seconds(pid) for pid in pids.values()}
    time.sleep(1.0)
    return all(cpu_seconds(pid) - used <= 0.03 for pid, used in before.items())
