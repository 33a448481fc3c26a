"""Events that one message tells, with what a message says of their study."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from dicom_node.atna.message import AuditSource
from dicom_node.config import NodeSettings
from dicom_node.store.trail import TrailEvent, TrailStudy

__all__ = ["Batch", "NodeIdentity"]


@dataclass(frozen=True, slots=True)
class NodeIdentity:
    """Who the node is in its messages."""

    ae_title: str
    host: str
    """The machine's name."""
    settings: NodeSettings

    @property
    def source(self) -> AuditSource:
        """Who reports."""
        audit = self.settings.audit
        return AuditSource(audit.source_id or self.ae_title, audit.enterprise_site_id)


@dataclass(frozen=True, slots=True)
class Batch:
    """Events of one kind, study and sender or receiver, in their order."""

    events: Sequence[TrailEvent]
    node: NodeIdentity
    study: TrailStudy | None = None
    patient_id: str = ""
    """Where the study is not known: whom a report is about."""
    classes: Mapping[str, str] = field(default_factory=dict)
    """SOP Class UID by SOP Instance UID."""

    @property
    def at(self) -> datetime:
        """When it began."""
        return self.events[0].at

    @property
    def subject(self) -> str:
        """What the first event is about."""
        return self.events[0].subject or ""

    @property
    def detail(self) -> Mapping[str, Any]:
        """What the first event says."""
        return self.events[0].detail

    def text(self, key: str) -> str:
        """Return a fact of the first event as text; empty where it has none."""
        value = self.detail.get(key)
        return "" if value is None else str(value)

    @property
    def sop_classes(self) -> dict[str, int]:
        """Instances by SOP Class UID."""
        uids = {one.subject for one in self.events if one.subject in self.classes}
        return dict(Counter(self.classes[uid] for uid in uids if uid is not None))
