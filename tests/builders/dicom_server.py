"""The node's DICOM server on a free loopback port, with a ledger in memory."""

from __future__ import annotations

import threading
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dicom_node.config import (
    CallerSettings,
    DicomTlsSettings,
    LimitSettings,
    NodeSection,
    NodeSettings,
)
from dicom_node.records import ReceivedInstance
from dicom_node.scp import DicomServer
from dicom_node.scp.normalized import CommitmentHandler
from dicom_node.spool import Spool
from dicom_node.store import InstanceOutcome

__all__ = ["MemoryLedger", "RunningServer", "running_server"]


@dataclass
class MemoryLedger:
    """Remembers instances as the database does; ``before`` runs first and may raise."""

    before: Callable[[ReceivedInstance], None] | None = None
    instances: list[ReceivedInstance] = field(default_factory=list)
    outcomes: list[InstanceOutcome] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)
    hashes: defaultdict[str, set[str]] = field(default_factory=lambda: defaultdict(set))
    """By SOP Instance UID: a run of many instances looks through none of them."""

    def record_instance(self, instance: ReceivedInstance) -> InstanceOutcome:
        if self.before is not None:
            self.before(instance)
        with self.lock:
            known = self.hashes[instance.sop_instance_uid]
            outcome = InstanceOutcome.NEW
            if instance.sha256 in known:
                outcome = InstanceOutcome.DUPLICATE
            elif known:
                outcome = InstanceOutcome.CONFLICT
            if outcome is not InstanceOutcome.DUPLICATE:
                self.instances.append(instance)
                known.add(instance.sha256)
            self.outcomes.append(outcome)
            return outcome


@dataclass
class RunningServer:
    """A server under test and what it told."""

    server: DicomServer
    ledger: MemoryLedger
    data_dir: Path
    seen: list[tuple[ReceivedInstance, InstanceOutcome]] = field(default_factory=list)
    released: list[frozenset[str]] = field(default_factory=list)

    @property
    def port(self) -> int:
        return self.server.port

    def parts(self) -> list[Path]:
        """Return the files that are not whole."""
        return list((self.data_dir / "incoming").iterdir())

    def files(self) -> list[Path]:
        """Return the files that are whole."""
        return sorted((self.data_dir / "instances").rglob("*.dcm"))


@contextmanager
def running_server(
    data_dir: Path,
    *,
    callers: tuple[CallerSettings, ...] = (),
    ledger: MemoryLedger | None = None,
    min_free_bytes: int = 0,
    commitments: CommitmentHandler | None = None,
    tls: DicomTlsSettings | None = None,
    plain: bool = True,
    **limits: Any,
) -> Iterator[RunningServer]:
    """Run the server while the block lasts, with limits fit for tests."""
    settings = NodeSettings(
        node=NodeSection(port=0, data_dir=data_dir, plain=plain),
        dicom_tls=tls or DicomTlsSettings(),
        limits=LimitSettings(
            **{"pdu_timeout_s": 5.0, "idle_timeout_s": 5.0, "max_associations": 16}
            | limits,
        ),
        callers=callers,
    )
    ledger = ledger or MemoryLedger()
    spool = Spool(data_dir, min_free_bytes=min_free_bytes)
    seen: list[tuple[ReceivedInstance, InstanceOutcome]] = []
    released: list[frozenset[str]] = []
    server = DicomServer(
        settings,
        spool=spool,
        ledger=ledger,
        on_instance=lambda instance, outcome: seen.append((instance, outcome)),
        on_release=released.append,
        commitments=commitments,
    )
    server.start()
    try:
        yield RunningServer(server, ledger, data_dir, seen, released)
    finally:
        server.stop(grace_s=0.5)
