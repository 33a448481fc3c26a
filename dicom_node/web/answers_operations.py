"""The answers of the operations page, as models."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from dicom_node.web.answers import Answer

__all__ = [
    "AssociationNumbers",
    "DestinationAnswer",
    "DiskAnswer",
    "ErrorAnswer",
    "ModelState",
    "Operations",
    "Queue",
    "RuleStepAnswer",
    "RuleTest",
    "WaitingReport",
    "WaitingReports",
]


class Queue(Answer):
    """Study versions on their way."""

    waiting: int
    processing: int
    is_paused: bool
    is_draining: bool
    off_peak: int
    """Those that wait for the hours of ``[schedule]``."""


class DestinationAnswer(Answer):
    """Where results go, and how many of them, by state."""

    name: str
    kind: str | None
    """Null: it is no longer configured."""
    profile: str | None
    delivered: int
    stored: int
    pending: int
    dead: int
    oldest_pending_at: datetime | None


class DiskAnswer(Answer):
    """The disk of the data folder."""

    free_bytes: int
    total_bytes: int


class ModelState(Answer):
    """The default model."""

    name: str | None
    version: str | None
    sha256: str | None
    device: str
    is_loaded: bool
    trouble: str | None


class AssociationNumbers(Answer):
    """DICOM associations: open now, and since the start."""

    open: int
    accepted: int
    rejected: int


class ErrorAnswer(Answer):
    """What somebody should look at."""

    at: datetime
    kind: str
    subject: str | None
    reason: str


class Operations(Answer):
    """How the node is."""

    version: str
    uptime_s: float
    ready: bool
    checks: dict[str, str]
    queue: Queue
    destinations: list[DestinationAnswer]
    disk: DiskAnswer
    model: ModelState
    associations: AssociationNumbers
    waiting_reports: int
    recent_errors: list[ErrorAnswer]


class RuleStepAnswer(Answer):
    """How one rule was tried; those after the first that fits are not."""

    rule: str
    when: str
    matched: bool
    error: str | None


class RuleTest(Answer):
    """What the rules make of a file."""

    rule: str | None
    action: str
    model: str | None
    priority: str
    off_peak: bool
    trace: list[RuleStepAnswer]
    tags: dict[str, Any]


class WaitingReport(Answer):
    """A report that waits for its study: whence and when, and nothing that it says."""

    report_id: int
    received_at: datetime
    channel: str
    sender: str
    status: str
    study_instance_uid: str | None
    """Null: it names an accession number alone."""


class WaitingReports(Answer):
    """The newest of them."""

    total: int
    reports: list[WaitingReport]
