"""An archive that commits to what it stores: pynetdicom as Storage Commitment SCP."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field

from pydicom.dataset import Dataset
from pynetdicom import AE, AllStoragePresentationContexts, build_role, evt
from pynetdicom.sop_class import (
    StorageCommitmentPushModel,
    StorageCommitmentPushModelInstance,
    Verification,
)

from tests.builders.process import free_port

__all__ = ["CommittingArchive", "report_of", "run_committing_archive", "send_report"]


@dataclass
class CommittingArchive:
    """What an archive was told, and how it answers."""

    port: int
    ae_title: str = "ARCHIVE"
    action_status: int = 0x0000
    aborts: bool = False
    reports_here: bool = True
    """True: it reports on the association that it was asked on."""
    failures: Mapping[str, int] = field(default_factory=dict)
    """Failure Reason by SOP Instance UID."""
    silent_about: set[str] = field(default_factory=set)
    stored: list[str] = field(default_factory=list)
    requests: list[Dataset] = field(default_factory=list)
    answers: list[int | None] = field(default_factory=list)
    """Status that its reports were answered with."""
    reported: threading.Event = field(default_factory=threading.Event)


def report_of(archive: CommittingArchive, request: Dataset) -> Dataset:
    """Return what an archive reports on a request."""
    ds = Dataset()
    ds.TransactionUID = request.TransactionUID
    ds.ReferencedSOPSequence, ds.FailedSOPSequence = [], []
    for item in request.ReferencedSOPSequence:
        one = Dataset()
        one.ReferencedSOPClassUID = item.ReferencedSOPClassUID
        one.ReferencedSOPInstanceUID = uid = item.ReferencedSOPInstanceUID
        if uid in archive.silent_about:
            continue
        if uid in archive.failures:
            one.FailureReason = archive.failures[uid]
            ds.FailedSOPSequence.append(one)
        else:
            ds.ReferencedSOPSequence.append(one)
    for keyword in ("ReferencedSOPSequence", "FailedSOPSequence"):
        if not ds[keyword].value:
            delattr(ds, keyword)
    return ds


def send_report(
    report: Dataset,
    port: int,
    *,
    calling: str = "ARCHIVE",
    called: str = "GROUNDING",
    selects_role: bool = True,
) -> int | None:
    """Report on a new association, in the SCP role, and return the status."""
    entity = AE(calling)
    entity.add_requested_context(StorageCommitmentPushModel)
    role = build_role(StorageCommitmentPushModel, scu_role=False, scp_role=True)
    association = entity.associate(
        "127.0.0.1", port, ae_title=called, ext_neg=[role] if selects_role else []
    )
    assert association.is_established
    if selects_role:
        (answer,) = association.acceptor.role_selection.values()
        assert (answer.scu_role, answer.scp_role) == (False, True)
    event_type = 2 if "FailedSOPSequence" in report else 1
    status, _ = association.send_n_event_report(
        report,
        event_type,
        StorageCommitmentPushModel,
        StorageCommitmentPushModelInstance,
    )
    association.release()
    return status.get("Status")


@contextmanager
def run_committing_archive(
    *, offers_commitment: bool = True, **options: object
) -> Iterator[CommittingArchive]:
    """Run the archive while the block lasts."""
    archive = CommittingArchive(free_port(), **options)  # type: ignore[arg-type]
    entity = AE(archive.ae_title)
    entity.supported_contexts = AllStoragePresentationContexts
    entity.add_supported_context(Verification)
    if offers_commitment:
        entity.add_supported_context(StorageCommitmentPushModel)
    waiting: list[Dataset] = []

    def store(event: evt.Event) -> int:
        archive.stored.append(str(event.request.AffectedSOPInstanceUID))
        return 0x0000

    def act(event: evt.Event) -> tuple[int, None]:
        if archive.aborts:
            event.assoc.abort()
            return 0x0110, None
        archive.requests.append(event.action_information)
        if archive.action_status == 0 and archive.reports_here:
            waiting.append(event.action_information)
            threading.Thread(target=report, args=(event.assoc,)).start()
        return archive.action_status, None

    def report(association: object) -> None:
        # After the response to N-ACTION, which pynetdicom sends when `act` returns.
        threading.Event().wait(0.05)
        ds = report_of(archive, waiting.pop())
        status, _ = association.send_n_event_report(  # type: ignore[attr-defined]
            ds,
            2 if "FailedSOPSequence" in ds else 1,
            StorageCommitmentPushModel,
            StorageCommitmentPushModelInstance,
        )
        archive.answers.append(status.get("Status"))
        archive.reported.set()

    server = entity.start_server(
        ("127.0.0.1", archive.port),
        block=False,
        evt_handlers=[(evt.EVT_C_STORE, store), (evt.EVT_N_ACTION, act)],
    )
    try:
        yield archive
    finally:
        server.shutdown()
