"""Storage commitment, PS3.4 J.3: what peers ask of us and report to us.

    N-ACTION         -> durable -> 0000 -> every file read back -> N-EVENT-REPORT
    N-EVENT-REPORT   -> what we sent is delivered, or sent again

A caller with a known port is told on an association of ours, and again until it takes
it; one without is told on the association that it asked on.
"""

from __future__ import annotations

import ipaddress
import threading
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import structlog

from conformance.commitment import (
    STORAGE_COMMITMENT_SOP_CLASS_UID,
    STORAGE_COMMITMENT_SOP_INSTANCE_UID,
    FailureReason,
    NormalizedStatus,
)
from conformance.profile import SCU_CONTEXTS, Role
from dicom_node.backoff import delivery_delay_s
from dicom_node.commitment_messages import (
    CommitmentReport,
    SopReference,
    decode_data_set,
    encode_data_set,
    read_report,
    read_request,
    report_data_set,
)
from dicom_node.config import DicomPeer, NodeSettings
from dicom_node.errors import (
    AssociationRefusedError,
    CannotUnderstandError,
    StoreError,
)
from dicom_node.header import read_header
from dicom_node.instance_file import instance_sha256
from dicom_node.scp.normalized import NormalizedAnswer, NormalizedRequest, Report
from dicom_node.store import CommitmentTask, KeptInstance, Store

if TYPE_CHECKING:
    from dicom_node.scu import Timeouts

__all__ = ["CommitmentService", "check_references", "peer_of"]

_LOOK_S = 5.0
"""How often a request whose peer was away is looked at."""

log = structlog.get_logger(__name__)


def peer_of(ae_title: str, settings: NodeSettings) -> DicomPeer | None:
    """Return where an application entity can be called; None: nowhere we know.

    A caller with a port, else a destination or archive with the same AE title.
    """
    for caller in settings.callers:
        if caller.ae_title == ae_title and caller.port is not None:
            host = ipaddress.ip_network(caller.address, strict=False).network_address
            return DicomPeer(ae_title, ae_title, str(host), caller.port, caller.tls)
    known = [one.peer for one in settings.destinations if one.kind == "dimse"]
    known += [one.peer for one in settings.archives if one.kind != "dicomweb"]
    return next((one for one in known if one.ae_title == ae_title), None)


def check_references(
    references: Sequence[SopReference], store: Store, *, data_dir: Path
) -> tuple[tuple[SopReference, ...], dict[SopReference, int]]:
    """Look which instances the node has, down to the bytes on the disk.

    Returns
    -------
    tuple
        Those it commits to, and the Failure Reason of each other.

    Raises
    ------
    StoreError
        The database cannot answer.

    """
    kept = store.commitment_requests.kept_instances(
        [one.sop_instance_uid for one in references]
    )
    committed: list[SopReference] = []
    failed: dict[SopReference, int] = {}
    for one in references:
        rows = kept.get(one.sop_instance_uid, [])
        if not rows:
            failed[one] = FailureReason.NO_SUCH_OBJECT_INSTANCE
        elif any(row.sop_class_uid != one.sop_class_uid for row in rows):
            failed[one] = FailureReason.CLASS_INSTANCE_CONFLICT
        elif not all(_is_whole(row, data_dir) for row in rows):
            failed[one] = FailureReason.PROCESSING_FAILURE
        else:
            committed.append(one)
    return tuple(committed), failed


class CommitmentService:
    """Keeps requests for commitment, answers them, and takes reports.

    Parameters
    ----------
    settings : NodeSettings
        Who can be called where.
    store : Store
        Requests and instances.
    clock : callable
        The wall clock.
    on_report : callable
        Told the AE title that reports, its address and its report; returns whether it
        was asked.
    timeouts : Timeouts, optional
        How long a peer may take that is called.

    """

    def __init__(
        self,
        settings: NodeSettings,
        store: Store,
        *,
        clock: Callable[[], datetime],
        on_report: Callable[[str, str, CommitmentReport], bool],
        timeouts: Timeouts | None = None,
    ) -> None:
        self._settings = settings
        self._store = store
        self._clock = clock
        self._on_report = on_report
        self._timeouts = timeouts
        self._data_dir = settings.node.data_dir.resolve()
        self._wake = threading.Event()
        self._is_stopping = threading.Event()
        self._thread: threading.Thread | None = None

    @property
    def trouble(self) -> str | None:
        """Say so when reports are not sent."""
        if self._thread is not None and not self._thread.is_alive():
            return "storage commitment does not run"
        return None

    def start(self) -> None:
        """Begin to tell peers what they wait for."""
        self._thread = threading.Thread(
            target=self._run, name="commitment", daemon=True
        )
        self._thread.start()

    def stop(self, grace_s: float = 5.0) -> None:
        """Tell nobody any more; what is left is durable."""
        self._is_stopping.set()
        self._wake.set()
        if self._thread is not None:
            self._thread.join(grace_s)
            self._thread = None

    def take(self, request: NormalizedRequest) -> NormalizedAnswer:
        """Make a request or report durable and say what to answer."""
        try:
            ds = decode_data_set(request.data_set, request.transfer_syntax_uid)
        except CannotUnderstandError as error:
            return NormalizedAnswer(NormalizedStatus.MISTYPED_ARGUMENT, str(error))
        try:
            if request.is_report:
                return self._take_report(request, read_report(ds))
            asked = read_request(ds)
            return self._take_request(request, asked.transaction_uid, asked.references)
        except CannotUnderstandError as error:
            return NormalizedAnswer(NormalizedStatus.INVALID_ARGUMENT_VALUE, str(error))
        except StoreError as error:
            log.warning("commitment_not_kept", reason=str(error))
            return NormalizedAnswer(
                NormalizedStatus.PROCESSING_FAILURE, "the database does not answer"
            )

    def report_answered(self, key: int, status: int | None) -> None:
        """Take note of the answer to a report on the association that asked for it."""
        try:
            now = self._clock()
            if status == NormalizedStatus.SUCCESS:
                self._store.commitment_requests.told(key, now=now)
            else:
                # There is nowhere to call: the peer has to ask again.
                reason = _reason(status)
                self._store.commitment_requests.not_told(
                    key, reason=reason, now=now, next_at=None
                )
        except StoreError as error:
            log.warning("commitment_not_closed", reason=str(error))

    def tell(self) -> int:
        """Tell every peer whose time has come; return how many took their report.

        One that does not take a report is not told the rest until its next turn, and
        those that took theirs so far come first: who is silent holds up the others
        for the timeouts of one call, once a turn.
        """
        told = 0
        silent: dict[str, str] = {}
        tasks = self._store.commitment_requests.tasks()
        for task in sorted(tasks, key=lambda one: (one.attempts, one.key)):
            if self._is_stopping.is_set():
                break
            if task.next_at > self._clock():
                continue
            if task.peer in silent:
                self._put_off(task, silent[task.peer])
                continue
            reason = self._tell(task)
            if reason:
                silent[task.peer] = reason
            told += not reason
        return told

    def _run(self) -> None:
        while not self._is_stopping.is_set():
            try:
                self.tell()
            except StoreError as error:
                log.warning("commitment_waits", reason=str(error))
            except Exception:
                # Its text may quote a data set: `audit` writes class and place.
                log.exception("commitment_failed")
            self._wake.wait(_LOOK_S)
            self._wake.clear()

    def _take_report(
        self, request: NormalizedRequest, report: CommitmentReport
    ) -> NormalizedAnswer:
        if self._on_report(request.calling_ae_title, request.peer_address, report):
            return NormalizedAnswer(NormalizedStatus.SUCCESS)
        return NormalizedAnswer(
            NormalizedStatus.INVALID_ARGUMENT_VALUE, "nobody was asked for that"
        )

    def _take_request(
        self,
        request: NormalizedRequest,
        transaction_uid: str,
        references: tuple[SopReference, ...],
    ) -> NormalizedAnswer:
        peer = peer_of(request.calling_ae_title, self._settings)
        key = self._store.commitment_requests.keep_request(
            request.calling_ae_title,
            transaction_uid,
            references=references,
            now=self._clock(),
            is_told_here=peer is None,
        )
        if key is None:
            return NormalizedAnswer(
                NormalizedStatus.INVALID_ARGUMENT_VALUE,
                "the Transaction UID was used for other instances",
            )
        log.info(
            "commitment_requested",
            calling_ae_title=request.calling_ae_title,
            transaction_uid=transaction_uid,
            instances=len(references),
        )
        if peer is not None:
            self._wake.set()
            return NormalizedAnswer(NormalizedStatus.SUCCESS)

        def make_report() -> Report:
            report = self._report(transaction_uid, references)
            data_set = encode_data_set(
                report_data_set(report), request.transfer_syntax_uid
            )
            return Report(key, report.event_type, data_set)

        return NormalizedAnswer(NormalizedStatus.SUCCESS, make_report=make_report)

    def _report(
        self, transaction_uid: str, references: Sequence[SopReference]
    ) -> CommitmentReport:
        committed, failed = check_references(
            references, self._store, data_dir=self._data_dir
        )
        return CommitmentReport(transaction_uid, committed, failed)

    def _tell(self, task: CommitmentTask) -> str:
        """Tell a peer its report; return why it was not taken."""
        peer = peer_of(task.peer, self._settings)
        references = [SopReference(*one) for one in task.references]
        report = self._report(task.transaction_uid, references)
        if peer is None:
            reason = "it is no longer known where to call it"
        else:
            reason = self._send(report, peer)
        if reason:
            self._put_off(task, reason)
            return reason
        self._store.commitment_requests.told(
            task.key, now=self._clock(), failed=len(report.failed)
        )
        log.info(
            "commitment_told",
            peer=task.peer,
            transaction_uid=task.transaction_uid,
            failed=len(report.failed),
        )
        return ""

    def _put_off(self, task: CommitmentTask, reason: str) -> None:
        now = self._clock()
        self._store.commitment_requests.not_told(
            task.key,
            reason=reason,
            now=now,
            next_at=now + timedelta(seconds=delivery_delay_s(task.attempts)),
        )
        log.warning(
            "commitment_not_told",
            peer=task.peer,
            transaction_uid=task.transaction_uid,
            reason=reason,
        )

    def _send(self, report: CommitmentReport, peer: DicomPeer) -> str:
        """Send a report on an association of ours; return why it was not taken."""
        # Imported here: what receives must listen before all this is loaded.
        from pynetdicom.presentation import build_context

        from dicom_node.scu import Timeouts, associate

        syntaxes = next(
            one.transfer_syntaxes
            for one in SCU_CONTEXTS
            if STORAGE_COMMITMENT_SOP_CLASS_UID in one.sop_classes
            and one.role is Role.SCP
        )
        context = build_context(STORAGE_COMMITMENT_SOP_CLASS_UID, list(syntaxes))
        try:
            with associate(
                [context],
                peer,
                ae_title=self._settings.node.ae_title,
                timeouts=self._timeouts or Timeouts(response_s=30.0),
                stored_classes=[STORAGE_COMMITMENT_SOP_CLASS_UID],
            ) as link:
                status = link.association.send_n_event_report(
                    report_data_set(report),
                    report.event_type,
                    STORAGE_COMMITMENT_SOP_CLASS_UID,
                    STORAGE_COMMITMENT_SOP_INSTANCE_UID,
                )[0].get("Status")
        except AssociationRefusedError as error:
            return str(error)
        except (AttributeError, RuntimeError, ValueError):
            return "the association ended before it was told"
        return "" if status == NormalizedStatus.SUCCESS else _reason(status)


def _reason(status: int | None) -> str:
    if status is None:
        return "it did not answer the report"
    return f"it refused the report (0x{status:04X})"


def _is_whole(row: KeptInstance, data_dir: Path) -> bool:
    """Whether the bytes on the disk are those that were received."""
    path = data_dir / row.path
    try:
        return instance_sha256(path, read_header(path)) == row.sha256
    except (OSError, CannotUnderstandError):
        return False
