"""A node with destinations and a clock that can be set: what it made and delivered."""

from __future__ import annotations

import hashlib
import json
import sqlite3
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from dicom_node.config import (
    DestinationSettings,
    DicomPeer,
    NodeSettings,
    load_settings,
)
from dicom_node.deliver import SendOutcome, send_objects
from tests.builders.node import write_settings
from tests.builders.process import free_port, wait_for_port, wait_until
from tests.torture.load import make_sample
from tests.torture.nodes import end_node, start_node
from tests.torture.set_clock import SetClock

__all__ = ["DeliveringNode", "Result", "run_delivering"]

_PATIENCE_S = 660.0


@dataclass(frozen=True, slots=True)
class Result:
    """A result on its way to a destination."""

    uid: str
    state: str
    path: Path

    def data_set_sha256(self) -> str:
        """Return the hash of what is sent of its file (PS3.10 7.1)."""
        data = self.path.read_bytes()
        # Preamble, prefix, and (0002,0000) with the length of what is left.
        length = int.from_bytes(data[140:144], "little")
        return hashlib.sha256(data[144 + length :]).hexdigest()


@dataclass(frozen=True)
class DeliveringNode:
    """A running node."""

    folder: Path
    settings: NodeSettings
    dicom_port: int
    web_port: int
    clock: SetClock

    def send_studies(self, numbers: Sequence[int]) -> list[str]:
        """Send studies of one image each; return their UIDs."""
        samples = [
            make_sample(self.folder, f"1.2.826.0.1.15.{number + 1}", number=0, size=64)
            for number in numbers
        ]
        told = self.send([one.path for one in samples])
        assert all(one.is_delivered for one in told), [one.reason for one in told]
        return [one.study for one in samples]

    def results(self, destination: str) -> list[Result]:
        """Return the outbox of a destination."""
        return [
            Result(row[0], row[1], self.folder / "data" / row[2])
            for row in self.rows(
                "SELECT r.sop_instance_uid, d.state, r.path FROM deliveries d"
                " JOIN results r ON r.id = d.result_id WHERE d.destination = ?",
                destination,
            )
        ]

    def states(self, destination: str) -> Counter[str]:
        """Return how many results are in which state for a destination."""
        return Counter(one.state for one in self.results(destination))

    def last_try(self, destination: str) -> datetime | None:
        """Return since when all that waits was tried, None: some never was."""
        found = self.rows(
            "SELECT last_attempt_at FROM deliveries"
            " WHERE destination = ? AND state = 'pending'",
            destination,
        )
        tried = [one for (one,) in found]
        if not tried or None in tried:
            return None
        return datetime.fromisoformat(min(tried)).replace(tzinfo=UTC)

    def wait_for(self, is_true: Callable[[], bool], *, timeout_s: float = 0.0) -> None:
        """Wait until something is so."""
        wait_until(is_true, timeout_s=timeout_s or _PATIENCE_S, what=self.tail)

    def tail(self) -> str:
        """Return the end of the log."""
        text = (self.folder / "node.log").read_text(errors="replace")
        return "\n".join(text.splitlines()[-30:])

    def ask(self, path: str) -> Any:
        """Ask its HTTP interface."""
        url = f"http://127.0.0.1:{self.web_port}{path}"
        with urllib.request.urlopen(url, timeout=30) as answer:
            return json.load(answer)

    def send(
        self, paths: Sequence[Path], *, ae_title: str = "PACS"
    ) -> Sequence[SendOutcome]:
        """Send files over an association of their own."""
        peer = DicomPeer("node", "GROUNDING", "127.0.0.1", self.dicom_port)
        return send_objects(paths, peer, ae_title=ae_title)

    def rows(self, query: str, *values: object) -> list[tuple[Any, ...]]:
        """Return what its database says."""
        path = self.folder / "data" / "node.sqlite"
        with closing(sqlite3.connect(path, timeout=30)) as connection:
            return connection.execute(query, values).fetchall()


@contextmanager
def run_delivering(
    folder: Path,
    destinations: Sequence[DestinationSettings],
    *,
    dicom_port: int,
    more: str = "",
    **processor: object,
) -> Iterator[DeliveringNode]:
    """Run a node while the block lasts.

    Parameters
    ----------
    folder : pathlib.Path
        New.
    destinations : sequence of DestinationSettings
        Where its results go.
    dicom_port : int
        Where it listens.
    more : str
        TOML that is added to its settings.
    **processor
        What makes its results, as of `start_node`.

    """
    web_port = free_port()
    config = write_settings(
        folder,
        dicom_port=dicom_port,
        web_port=web_port,
        destinations=destinations,
        quiet_time_s=0.5,
        more=more,
    )
    clock = SetClock(folder / "clock")
    pid = start_node(
        config,
        folder / "node.log",
        clock=str(clock.path),
        **processor,
    )
    node = DeliveringNode(
        folder, load_settings(config, {}), dicom_port, web_port, clock
    )
    try:
        for port in (dicom_port, web_port):
            wait_for_port(port, timeout_s=60.0, what=node.tail)
        yield node
    finally:
        status = end_node(pid)
    assert status == 0, node.tail()
