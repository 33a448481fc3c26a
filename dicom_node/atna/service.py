"""The audit messages of a running node: a sender for each place they go to."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import datetime, timedelta

from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from dicom_node.atna.audit_file import AuditFile
from dicom_node.atna.reading import node_identity
from dicom_node.atna.repository import AuditRepository
from dicom_node.atna.sender import AuditSender, AuditSink
from dicom_node.config import NodeSettings
from dicom_node.errors import StoreError
from dicom_node.store import Store
from dicom_node.tls import client_context
from dicom_node.wording import counted

__all__ = ["AuditService"]

_LATE = timedelta(hours=1)
"""A message that waits longer is told as trouble."""


class AuditService(Collector):
    """Sends the audit trail to the file and the repository that the settings name.

    Parameters
    ----------
    settings : NodeSettings
        Where messages go.
    store : Store
        The trail.
    clock : callable
        The wall clock.

    Raises
    ------
    SettingsError
        A certificate cannot be used.

    """

    def __init__(
        self, settings: NodeSettings, store: Store, *, clock: Callable[[], datetime]
    ) -> None:
        self._clock = clock
        node = node_identity(settings)
        self._senders = [
            AuditSender(sink, store.trail, node) for sink in _sinks(settings)
        ]

    @property
    def trouble(self) -> str | None:
        """Say so when messages wait for more than an hour, or are not sent."""
        said = []
        for one in self._senders:
            if not one.is_alive:
                said.append(f"{one.name}: not running")
                continue
            try:
                backlog = one.backlog()
            except StoreError:
                continue  # the database's own check tells it
            if backlog.oldest_at and self._clock() - backlog.oldest_at > _LATE:
                hours = (self._clock() - backlog.oldest_at) / timedelta(hours=1)
                why = f": {one.trouble}" if one.trouble else ""
                waiting = counted(backlog.count, "event waits", "events wait")
                said.append(f"{one.name}: {waiting}, the oldest for {hours:.1f} h{why}")
        return "; ".join(said) or None

    def open(self) -> None:
        """Find where each sender was, before anything is written that it must send.

        Raises
        ------
        StoreError
            The database cannot answer.

        """
        for one in self._senders:
            one.open()

    def start(self) -> None:
        """Begin to send."""
        for one in self._senders:
            one.start()

    def stop(self, grace_s: float = 5.0) -> None:
        """Send what is there; the rest is sent at the next start."""
        for one in self._senders:
            one.stop(grace_s)

    def collect(self) -> Iterator[Metric]:
        """Yield what waits; nothing while the database is away."""
        waiting = GaugeMetricFamily(
            "dicom_node_audit_backlog",
            "Events that are not known to have arrived as audit messages.",
            labels=["to"],
        )
        oldest = GaugeMetricFamily(
            "dicom_node_audit_oldest_seconds",
            "How long the oldest of them has waited.",
            labels=["to"],
        )
        try:
            for one in self._senders:
                backlog = one.backlog()
                age_s = 0.0
                if backlog.oldest_at is not None:
                    age_s = (self._clock() - backlog.oldest_at).total_seconds()
                waiting.add_metric([one.name], backlog.count)
                oldest.add_metric([one.name], max(age_s, 0.0))
        except StoreError:
            return
        yield waiting
        yield oldest


def _sinks(settings: NodeSettings) -> Iterator[AuditSink]:
    audit = settings.audit
    if audit.file is not None:
        yield AuditFile(audit.file)
    if audit.host is not None:
        client_context(audit)  # a wrong file is told at the start
        yield AuditRepository(
            audit.host, audit.port, context=lambda: client_context(audit)
        )
