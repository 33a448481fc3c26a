"""How soon a node acknowledges instances, asked from a process that does nothing else.

``python -m tests.torture.acknowledging PORT FILE``: one study of one instance after the
other, each over an association of its own, until it is ended.
"""

from __future__ import annotations

import contextlib
import json
import statistics
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from tests.builders.process import Program
from tests.builders.raw_peer import RawPeer, encode_data_set, make_instance

__all__ = ["Acknowledgement", "Acknowledgements", "Window", "acknowledging", "p99"]

_ROOT = Path(__file__).parents[2]
_PAUSE_S = 0.03
_PATIENCE_S = 30.0
_LEAST = 2
"""Durations that have a percentile."""
_UID = "1.2.826.0.1.3680043.10.511.19"
_NOISE_BYTES = 1 << 13

Window: TypeAlias = tuple[float, float]
"""Begin and end, of `time.monotonic`, which all processes of a machine share."""


@dataclass(frozen=True, slots=True)
class Acknowledgement:
    """When an instance was begun, and how long after the association was asked for
    its success came, seconds; None: it did not come."""

    began: float
    seconds: float | None


class Acknowledgements:
    """What the process has measured so far."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def all(self) -> list[Acknowledgement]:
        """Return all of them."""
        if not self._path.exists():
            return []
        lines = self._path.read_text(encoding="ascii").splitlines(keepends=True)
        return [Acknowledgement(*json.loads(x)) for x in lines if x.endswith("\n")]

    def failures(self) -> int:
        """Return how many were not acknowledged."""
        return sum(one.seconds is None for one in self.all())

    def within(self, windows: Iterable[Window]) -> list[float]:
        """Return how long those took that were begun within the windows, seconds."""
        wanted = list(windows)
        return [
            one.seconds
            for one in self.all()
            if one.seconds is not None
            and any(begin <= one.began < end for begin, end in wanted)
        ]

    def rest(self, seconds: float) -> Window:
        """Let the process alone so long, and until there is a percentile of that."""
        began = time.monotonic()
        time.sleep(seconds)
        ends = began + _PATIENCE_S
        while len(self.within([(began, ends)])) < _LEAST and time.monotonic() < ends:
            time.sleep(_PAUSE_S)
        return began, time.monotonic()


def p99(seconds: list[float]) -> float:
    """Return the 99th percentile of at least two durations."""
    return statistics.quantiles(seconds, n=100, method="inclusive")[-1]


@contextmanager
def acknowledging(port: int, folder: Path) -> Iterator[Acknowledgements]:
    """Send to a port of this machine while the block lasts.

    Raises
    ------
    AssertionError
        The process ended by itself.

    """
    path = folder / "acknowledgements"
    command = [sys.executable, "-m", __name__, str(port), str(path)]
    with Program(command, log_path=folder / "sender.log", cwd=_ROOT) as program:
        yield Acknowledgements(path)
        program.check_alive()


def main() -> None:
    """Send until the process is ended; note each instance in a line of the file."""
    port, path, number = int(sys.argv[1]), Path(sys.argv[2]), 0
    with path.open("a", encoding="ascii", buffering=1) as file:
        while True:
            number += 1
            file.write(json.dumps(_send(port, number)) + "\n")
            time.sleep(_PAUSE_S)


def _send(port: int, number: int) -> tuple[float, float | None]:
    study = f"{_UID}.{number}"
    uid = f"{study}.1.1"
    ds = make_instance(
        uid, StudyInstanceUID=study, SeriesInstanceUID=f"{study}.1", Modality="US"
    )
    ds.add_new(0x00211010, "OB", bytes(_NOISE_BYTES))
    data_set = encode_data_set(ds)
    took, began = None, time.monotonic()
    with (
        contextlib.suppress(OSError, EOFError, AssertionError),
        RawPeer(port, timeout_s=_PATIENCE_S) as peer,
    ):
        peer.associate()
        peer.request(data_set, sop_instance=uid)
        if peer.response().status == 0:
            took = time.monotonic() - began
        peer.release()
    return began, took


if __name__ == "__main__":
    main()
