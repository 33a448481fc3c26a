"""`dicom-node status` and `requeue`: beside the running node, or while it is down."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from dicom_node.config import NodeSettings
from dicom_node.errors import StoreError
from dicom_node.inbox import ReportInbox, ReportOutcome
from dicom_node.reconcile import describe_trouble
from dicom_node.records import IncomingReport
from dicom_node.store import StatusSnapshot, Store, StudyState
from dicom_node.store.pages import StudyRow
from dicom_node.store.reports import StoredReport
from dicom_node.store.switches import DRAINING, PAUSED
from dicom_node.timeline import chrome_trace, make_spans
from dicom_node.wording import counted

__all__ = [
    "NodeStatus",
    "forget_report",
    "hand_in_report",
    "open_store",
    "read_status",
    "read_trace",
    "read_waiting_reports",
    "requeue_study",
    "require_database",
    "status_tables",
]

_SHORT = 12
"""Characters of a content version that are shown."""

_SWITCHED_ON = {
    PAUSED: "studies are received and wait",
    DRAINING: "nothing new is accepted",
}


@dataclass(frozen=True, slots=True)
class NodeStatus:
    """What the node has received, processed and delivered."""

    snapshot: StatusSnapshot
    data_dir: Path
    waiting_reports: int
    """Reports whose study, or its first image, is not here yet."""
    files: Mapping[str, int]
    """What the last start found of files and rows; empty: no start yet."""
    switched_on: Mapping[str, datetime]
    """Since when somebody has the node ``paused`` or ``draining``; aware."""

    def as_json(self) -> dict[str, Any]:
        """Return it as JSON values: ``studies``, ``destinations``, ``errors``."""
        values: dict[str, Any] = _plain(asdict(self.snapshot))
        return {
            "data_dir": str(self.data_dir),
            "waiting_reports": self.waiting_reports,
            "files": dict(self.files),
            "switched_on": _plain(dict(self.switched_on)),
            **values,
        }


def read_status(settings: NodeSettings) -> NodeStatus:
    """Read the node's memory.

    Raises
    ------
    StoreError
        There is no database, or it cannot answer.

    """
    with open_store(settings) as store:
        return NodeStatus(
            store.snapshot(),
            settings.node.data_dir.resolve(),
            store.reports.count_waiting(),
            store.last_reconciled(),
            store.switches.turned_on(),
        )


def read_trace(settings: NodeSettings, study_instance_uid: str) -> dict[str, Any]:
    """Return where a study's time went; see `timeline.chrome_trace`.

    Raises
    ------
    StoreError
        There is no database, it cannot answer, or it has no version of such a study;
        the message says why, and when there will be one.

    """
    now = datetime.now(UTC)
    with open_store(settings) as store:
        found = store.timeline.of_study(
            study_instance_uid, data_dir=settings.node.data_dir.resolve()
        )
        if not found:
            study = store.pages.study(study_instance_uid)
            raise StoreError(_why_untold(study, settings, now=now))
    return chrome_trace((one, make_spans(one, now=now)) for one in found)


def requeue_study(settings: NodeSettings, study_instance_uid: str) -> str:
    """Ask for a study again and say what that starts.

    A running node takes the request up at once, another one when it starts.

    Raises
    ------
    StoreError
        There is no database, it cannot answer, or it has no such study.

    """
    with open_store(settings) as store:
        outcome = store.requeue_study(
            study_instance_uid,
            destinations={one.name: one.profile for one in settings.destinations},
        )
    return f"{study_instance_uid}: {outcome}"


def hand_in_report(settings: NodeSettings, report: IncomingReport) -> str:
    """Give a report to the node, whether it runs or not, and say what became of it.

    Raises
    ------
    StoreError
        There is no database, or it cannot answer.
    ReportRefusedError, PatientMismatchError
        As `inbox.ReportInbox.accept`.

    """
    with open_store(settings) as store:
        inbox = ReportInbox(store, clock=lambda: report.received_at)
        receipt = inbox.accept(report)
    told = {
        ReportOutcome.JOINED: "its study has it",
        ReportOutcome.WAITING: "it waits for its images",
        ReportOutcome.DUPLICATE: "it was there already: nothing changes",
    }
    return f"report {receipt.report_id}: {told[receipt.outcome]}"


def read_waiting_reports(
    settings: NodeSettings, *, limit: int
) -> tuple[StoredReport, ...]:
    """Return the newest reports that wait for their study or its first image.

    Raises
    ------
    StoreError
        There is no database, or it cannot answer.

    """
    with open_store(settings) as store:
        return store.reports.waiting(limit)


def forget_report(settings: NodeSettings, number: int) -> None:
    """Delete a report that waits.

    Raises
    ------
    StoreError
        There is no database, or it cannot answer.
    ReportError
        No report of that number waits.

    """
    with open_store(settings) as store:
        store.reports.forget_waiting(number, by="command line")


def status_tables(status: NodeStatus) -> Iterator[RenderableType]:
    """Yield what a terminal shows: a paragraph a study, then tables."""
    for name, said in _SWITCHED_ON.items():
        if (since := status.switched_on.get(name)) is not None:
            yield Text(
                f"{name} since {since:%Y-%m-%d %H:%M} UTC: {said} (dicom-node resume)"
            )
    for study in status.snapshot.studies:
        state = (
            study.state if study.reason is None else f"{study.state}: {study.reason}"
        )
        images = counted(study.instances, "instance", "instances")
        if study.conflicts:
            images += f" ({study.conflicts} conflicting)"
        version = f"{study.versions} ({(study.content_version or '-')[:_SHORT]})"
        lines = [
            study.study_instance_uid,
            f"  {state}, {images}, version {version}, "
            + counted(study.results, "result", "results"),
        ]
        lines += [
            f"  {one.destination}: {one.delivered} delivered, {one.stored} stored, "
            f"{one.pending} waiting, {one.dead} given up, of all versions"
            + (f" ({one.last_comment})" if one.last_comment else "")
            for one in study.deliveries
        ]
        yield Text("\n".join(lines))
    if not status.snapshot.studies:
        yield Text(f"nothing was received yet (data folder {status.data_dir})")
    destinations = Table("Destination", "Delivered", "Stored", "Waiting", "Given up")
    for one in status.snapshot.destinations:
        destinations.add_row(
            one.name,
            str(one.delivered),
            str(one.stored),
            str(one.pending),
            str(one.dead),
        )
    if status.snapshot.destinations:
        yield destinations
    if status.waiting_reports:
        waiting = counted(
            status.waiting_reports,
            "report waits for its images",
            "reports wait for their images",
        )
        yield Text(f"{waiting} (dicom-node reports waiting)")
    if (trouble := describe_trouble(status.files)) is not None:
        yield Text(f"At the last start: {trouble}")
    if status.snapshot.errors:
        yield Text("Last errors")
    for error in status.snapshot.errors:
        what = error.kind.replace("_", " ")
        about = f", {error.subject}" if error.subject else ""
        when = error.at.isoformat(timespec="seconds")
        yield Text(f"  {when} {what}{about}: {error.reason}")


def require_database(settings: NodeSettings) -> None:
    """Raise StoreError unless a node has worked here."""
    # Opening would make an empty one, and the answer would be "nothing received".
    path = settings.database_url.removeprefix("sqlite:///")
    if path != settings.database_url and not Path(path).exists():
        msg = f"there is no node here: {path} does not exist (is --config right?)"
        raise StoreError(msg)


def open_store(settings: NodeSettings) -> Store:
    """Open the memory of a node that has worked here, and change nothing of it.

    Raises
    ------
    StoreError
        There is none, it cannot answer, or it is of another version.

    """
    require_database(settings)
    store = Store(settings.database_url)
    try:
        store.check_tables()
    except StoreError:
        store.close()
        raise
    return store


def _why_untold(
    study: StudyRow | None, settings: NodeSettings, *, now: datetime
) -> str:
    """Say why a study has no version, and what it waits for."""
    if study is None:
        return "no study with this UID was received"
    if study.is_prior:
        return "the study was fetched to compare with: it is not processed"
    if study.state != StudyState.COLLECTING:
        return "nothing of this study is to be processed: only results of the node came"
    came = counted(study.instances, "instance came", "instances came")
    quiet = study.last_received_at + timedelta(seconds=settings.node.quiet_time_s)
    closes = [f"it is complete at {_time(quiet)} if no other comes until then"]
    if settings.reports.hold_s and not study.has_report:
        held = quiet + timedelta(seconds=settings.reports.hold_s)
        closes.append(f"without a report at {_time(held)}")
    if now > quiet:
        closes.append(
            "where that is over, an association still brings it or the node is down"
        )
    return (
        f"the study is not complete yet: {came}, the last at "
        f"{_time(study.last_received_at)}; {'; '.join(closes)}"
    )


def _time(moment: datetime) -> str:
    return f"{moment.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(one) for one in value]
    return value.isoformat() if isinstance(value, datetime) else value
