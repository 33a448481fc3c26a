"""An archive that keeps what it stores by hash and commits to it, by pynetdicom."""

from __future__ import annotations

import hashlib
import queue
import threading
from collections import Counter, defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from pydicom.dataset import Dataset
from pynetdicom import AE, AllStoragePresentationContexts, build_role, evt
from pynetdicom.sop_class import (
    StorageCommitmentPushModel,
    StorageCommitmentPushModelInstance,
)

__all__ = ["Arrivals", "KeepingArchive", "run_keeping_archive"]

_AE_TITLE = "ARCHIVE"


@dataclass
class Arrivals:
    """What a destination took: each data set's hash by SOP Instance UID."""

    hashes: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))
    lock: threading.Lock = field(default_factory=threading.Lock)

    def note(self, uid: str, data_set: bytes) -> None:
        """Keep one."""
        with self.lock:
            self.hashes[uid].append(hashlib.sha256(data_set).hexdigest())

    def copy(self) -> dict[str, list[str]]:
        """Return them all."""
        with self.lock:
            return {uid: list(found) for uid, found in self.hashes.items()}

    def counts(self) -> Counter[str]:
        """Return how often each came."""
        return Counter({uid: len(found) for uid, found in self.copy().items()})


@dataclass
class KeepingArchive:
    """A running archive."""

    port: int
    report_port: int
    """Where it reports by an association of its own, every second time."""
    arrivals: Arrivals = field(default_factory=Arrivals)
    reported: int = 0
    """Storage commitments whose report was answered with success."""
    _due: queue.Queue[tuple[object, Dataset] | None] = field(
        default_factory=queue.Queue
    )

    def store(self, event: evt.Event) -> int:
        """Keep a data set."""
        self.arrivals.note(
            str(event.request.AffectedSOPInstanceUID),
            event.request.DataSet.getvalue(),
        )
        return 0x0000

    def act(self, event: evt.Event) -> tuple[int, None]:
        """Take a request for commitment; its report follows the answer."""
        self._due.put((event.assoc, event.action_information))
        return 0x0000, None

    def report_all(self) -> None:
        """Report until it is told to end."""
        number = 0
        while (due := self._due.get()) is not None:
            number += 1
            association, request = due
            threading.Event().wait(0.05)  # the response to N-ACTION goes first
            report = self._report(request)
            try:
                if number % 2:
                    self.reported += _tell(association, report)
                else:
                    self.reported += self._call(report)
            except (RuntimeError, ValueError, OSError):
                continue  # the line was cut: the node asks again

    def end(self) -> None:
        """Report no more."""
        self._due.put(None)

    def _report(self, request: Dataset) -> Dataset:
        known = self.arrivals.counts()
        ds = Dataset()
        ds.TransactionUID = request.TransactionUID
        held = {True: [], False: []}  # type: dict[bool, list[Dataset]]
        for item in request.ReferencedSOPSequence:
            one = Dataset()
            one.ReferencedSOPClassUID = item.ReferencedSOPClassUID
            one.ReferencedSOPInstanceUID = item.ReferencedSOPInstanceUID
            is_held = bool(known[str(item.ReferencedSOPInstanceUID)])
            if not is_held:
                one.FailureReason = 0x0112  # PS3.3 C.14.1.1: no such object
            held[is_held].append(one)
        if held[True]:
            ds.ReferencedSOPSequence = held[True]
        if held[False]:
            ds.FailedSOPSequence = held[False]
        return ds

    def _call(self, report: Dataset) -> int:
        entity = AE(_AE_TITLE)
        entity.acse_timeout = entity.dimse_timeout = entity.network_timeout = 5
        entity.add_requested_context(StorageCommitmentPushModel)
        role = build_role(StorageCommitmentPushModel, scu_role=False, scp_role=True)
        association = entity.associate(
            "127.0.0.1", self.report_port, ae_title="GROUNDING", ext_neg=[role]
        )
        if not association.is_established:
            return 0
        told = _tell(association, report)
        association.release()
        return told


def _tell(association: object, report: Dataset) -> int:
    status, _ = association.send_n_event_report(  # type: ignore[attr-defined]
        report,
        2 if "FailedSOPSequence" in report else 1,
        StorageCommitmentPushModel,
        StorageCommitmentPushModelInstance,
    )
    return int(status.get("Status") == 0x0000)


@contextmanager
def run_keeping_archive(port: int, *, report_port: int) -> Iterator[KeepingArchive]:
    """Run the archive while the block lasts."""
    archive = KeepingArchive(port, report_port)
    entity = AE(_AE_TITLE)
    entity.supported_contexts = AllStoragePresentationContexts
    entity.add_supported_context(StorageCommitmentPushModel)
    entity.maximum_associations = 100
    # A report waits for its answer no longer than a test does.
    entity.dimse_timeout = 5
    server = entity.start_server(
        ("127.0.0.1", port),
        block=False,
        evt_handlers=[
            (evt.EVT_C_STORE, archive.store),
            (evt.EVT_N_ACTION, archive.act),
        ],
    )
    reporter = threading.Thread(target=archive.report_all)
    reporter.start()
    try:
        yield archive
    finally:
        archive.end()
        reporter.join()
        server.shutdown()
