"""The twenty tests: number, what each does, what must hold, where it lies."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from tests.torture.outcome import Outcome, Scale, Tell

__all__ = ["ROWS", "Row", "Run"]

Run: TypeAlias = Callable[[Scale, Path, Tell], Outcome]
"""Runs a test at a scale, in an empty folder."""


@dataclass(frozen=True, slots=True)
class Row:
    """One test; its module has a function ``run`` of type `Run`."""

    number: int
    slug: str
    title: str
    does: str

    @property
    def name(self) -> str:
        """What the command line and files call it."""
        return f"{self.number:02d}-{self.slug}"

    @property
    def module(self) -> str:
        """The dotted name of its module."""
        return f"tests.torture.row_{self.number:02d}_{self.slug}"

    def load(self) -> Run:
        """Return the function that runs it."""
        run: Run = importlib.import_module(self.module).run
        return run


ROWS = (
    Row(1, "kill", "SIGKILL anywhere", "kills the node at random moments under load"),
    Row(2, "power", "Power cut", "drops what was not synced, at random moments"),
    Row(3, "full_disk", "Disk full at every point", "fails each call of an instance"),
    Row(4, "disk_errors", "Failing disk", "EIO, read-only, no descriptors, no inodes"),
    Row(5, "database", "Database trouble", "locks, kills and shares the database"),
    Row(6, "pdu_fuzz", "Hostile PDUs", "sends broken PDUs, in process and by socket"),
    Row(7, "data_fuzz", "Hostile data sets", "sends broken data sets by every door"),
    Row(8, "sizes", "Claimed and endless sizes", "sends giants, endless and pipelined"),
    Row(9, "bombs", "Bombs", "sends what is small and becomes large"),
    Row(10, "slow_peers", "Slow peers", "holds connections open in every slow way"),
    Row(11, "tls", "TLS", "shows wrong certificates, stalls handshakes, renews"),
    Row(12, "access", "Access", "calls as somebody else, again and again"),
    Row(13, "burst", "Burst", "opens many associations at once"),
    Row(14, "soak", "Soak", "sends for a long time and watches what grows"),
    Row(15, "outage", "Destination away", "takes a destination away, cuts deliveries"),
    Row(16, "disorder", "Duplicates and disorder", "sends twice, shuffled, late"),
    Row(17, "charsets", "Syntaxes and charsets", "sends every syntax in every charset"),
    Row(18, "worker", "Model process", "kills, starves, hangs and corrupts the model"),
    Row(19, "privacy", "Patient data and pages", "looks for a canary everywhere"),
    Row(20, "proof", "Proof", "audit, storage commitment, the same bytes again"),
)
