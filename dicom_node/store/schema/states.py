"""The states of studies, versions, deliveries and jobs."""

from __future__ import annotations

from enum import StrEnum

__all__ = [
    "DeliveryState",
    "JobState",
    "StudyState",
    "VersionState",
]


class StudyState(StrEnum):
    """Where a study stands: its newest version's state, or why it has none."""

    IDLE = "idle"
    """Nothing to process: only our own results came."""
    COLLECTING = "collecting"
    """It has instances that are in no version yet."""
    READY = "ready"
    PROCESSING = "processing"
    DONE = "done"
    FAILED = "failed"
    IGNORED = "ignored"
    """A rule says that it is not processed."""


class VersionState(StrEnum):
    """Where one content version of a study stands."""

    READY = "ready"
    """Complete, waiting for the worker."""
    PROCESSING = "processing"
    DONE = "done"
    """Its results are recorded; each delivery has a state of its own."""
    FAILED = "failed"
    """Given up; ``reason`` says why. It can be requeued."""
    SUPERSEDED = "superseded"
    """A newer version came before this one was processed."""
    IGNORED = "ignored"
    """A rule says that it is not processed; ``rule`` names it."""


class DeliveryState(StrEnum):
    """Where one result stands with one destination."""

    PENDING = "pending"
    STORED = "stored"
    """The destination took it and was asked to commit to it (PS3.4 J)."""
    DELIVERED = "delivered"
    DEAD = "dead"
    """Given up after seven days, or the destination was removed."""


class JobState(StrEnum):
    """Where a piece of work for worker processes stands."""

    OPEN = "open"
    RUNNING = "running"
    """A worker has it until its lease lapses."""
    DONE = "done"
    FAILED = "failed"
    """``error`` names the class of what went wrong, ``reason`` says it."""
