"""What is looked at to say whether the node can do its work."""

from __future__ import annotations

import shutil
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from dicom_node.errors import StoreError
from dicom_node.spool import Spool
from dicom_node.store import Store
from dicom_node.store.switches import PAUSED
from dicom_node.web import HealthReport, check_disk, examine

if TYPE_CHECKING:
    from collections.abc import Callable

    from dicom_node.commitment import CommitmentService
    from dicom_node.scp import DicomServer
    from dicom_node.service.claim import NodeClaim
    from dicom_node.service.upkeep import Upkeep
    from dicom_node.workflows import StudyProcessor, Workflows

    Check = Callable[[], str | None]

__all__ = [
    "HealthChecks",
    "database_trouble",
    "destinations_warning",
    "dicom_trouble",
    "disk_trouble",
    "disk_warning",
    "model_trouble",
    "pause_warning",
    "work_trouble",
    "worker_trouble",
]

_FAILS_FOR_LONG = timedelta(minutes=15)
"""A destination that lacks results for so long, though they were sent, is told of."""


_SOON = 2
"""Somebody is told when less is free than so many times what is reserved."""


class HealthChecks:
    """Checks by name: each says what is wrong in plain words, or None."""

    def __init__(self) -> None:
        self._checks: dict[str, Check] = {}
        self._warnings: dict[str, Check] = {}

    def require(self, name: str, check: Check) -> None:
        """Without this the node is not ready."""
        self._checks[name] = check

    def warn(self, name: str, check: Check) -> None:
        """Somebody should look, but the node works."""
        self._warnings[name] = check

    def examine(self) -> HealthReport:
        """Look at everything the node needs to do its work."""
        return examine(tuple(self._checks.items()), list(self._warnings.items()))


def disk_trouble(spool: Spool, data_dir: Path, *, min_free_bytes: int) -> str | None:
    """Say why the disk takes nothing more, or None."""
    return check_disk(data_dir, min_free_bytes=min_free_bytes) or spool.trouble()


def disk_warning(data_dir: Path, *, min_free_bytes: int) -> str | None:
    """Say that instances will soon be refused for want of disk, or None."""
    try:
        free = shutil.disk_usage(data_dir).free
    except OSError:
        return None  # another check says so
    if free < _SOON * min_free_bytes:
        return f"{free} bytes are free; instances are refused below {min_free_bytes}"
    return None


def database_trouble(store: Store) -> str | None:
    """Say why the database does not answer, or None."""
    try:
        store.ping()
    except StoreError as error:
        return str(error)
    return store.trouble


def worker_trouble(upkeep: Upkeep, workflows: Workflows) -> str | None:
    """Name the threads that have ended, or None."""
    dead = [*upkeep.dead_threads(), *workflows.dead_threads()]
    return f"not running: {', '.join(dead)}" if dead else None


def dicom_trouble(server: DicomServer, commitment: CommitmentService) -> str | None:
    """Say why no association is served as it should be, or None."""
    return "it does not listen" if server.is_stopping else commitment.trouble


def work_trouble(claim: NodeClaim, is_draining: Callable[[], bool]) -> str | None:
    """Say why nothing new is accepted, or None."""
    if claim.trouble is not None:
        return claim.trouble
    return "it drains: nothing new is accepted" if is_draining() else None


def model_trouble(processor: StudyProcessor) -> str | None:
    """Say why studies wait for the model, or None; they are accepted all the same."""
    trouble = processor.trouble
    return None if trouble is None else f"the model is not loaded: {trouble}"


def pause_warning(store: Store) -> str | None:
    """Say since when studies wait because somebody paused the node, or None."""
    try:
        since = store.switches.turned_on().get(PAUSED)
    except StoreError:
        return None  # another check says so
    if since is None:
        return None
    return f"paused since {since:%Y-%m-%d %H:%M} UTC: studies wait for a resume"


def destinations_warning(store: Store, *, now: datetime) -> str | None:
    """Name the destinations that results have not reached for long, or None."""
    try:
        failing = store.details.failing_destinations(before=now - _FAILS_FOR_LONG)
    except StoreError:
        return None  # another check says so
    said = (f"{name} since {at:%Y-%m-%d %H:%M} UTC" for name, at in failing.items())
    return f"results do not reach {', '.join(said)}" if failing else None
