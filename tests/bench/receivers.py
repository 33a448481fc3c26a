"""The receivers that are compared, each a process of its own with an empty folder."""

from __future__ import annotations

import contextlib
import json
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from dicom_node.config import load_settings
from dicom_node.store import Store
from tests.bench.sending import CALLED, Answers
from tests.bench.usage import cpu_seconds, forget_peak, peak_mib
from tests.builders.node import write_settings
from tests.builders.process import Program, free_port, wait_until

__all__ = [
    "CEILING",
    "HASHING_CEILING",
    "NODE",
    "ORTHANC",
    "RECEIVERS",
    "STOCK",
    "Receiver",
    "open_one",
]

NODE = "dicom-node"
ORTHANC = "Orthanc"
STOCK = "stock pynetdicom"
CEILING = "ceiling: TCP, write, fsync"
HASHING_CEILING = "ceiling with SHA-256"
_STORESCP = Path("/usr/bin/storescp")
_ORTHANC_PROGRAM = Path("/usr/sbin/Orthanc")
_SENT_S = 300
_AS_INSTALLED = (sys.executable, "-m", "tests.bench.as_installed")
_NO_NAGLE = {"TCP_NODELAY": "1"}
"""DCMTK as Debian builds it leaves Nagle's algorithm on: 40 ms for each object."""


@dataclass(frozen=True)
class Receiver:
    """A receiver that listens."""

    name: str
    port: int
    pid: int
    folder: Path
    """Where it keeps what it gets."""
    program: Program

    @property
    def is_dicom(self) -> bool:
        """Whether it speaks DICOM."""
        return self.name not in (CEILING, HASHING_CEILING)

    @property
    def names_files(self) -> bool:
        """Whether each instance is one file that ends in ``.dcm``."""
        return self.name != ORTHANC

    def send(self, what: str, **options: int) -> tuple[Answers, Answers]:
        """Send from a process of its own; return what it told, and what it cost here.

        The cost is the receiver's: ``CPU s``, and ``peak MiB`` of its first process.
        """
        if what == "store" and not self.is_dicom:
            what = "ceiling"
        command = [sys.executable, "-m", "tests.bench.sending", str(self.port), what]
        for name, value in options.items():
            command += [f"--{name.replace('_', '-')}", str(value)]
        before = cpu_seconds(self.pid)
        forget_peak(self.pid)
        rests_at = peak_mib(self.pid)
        done = subprocess.run(
            command, capture_output=True, text=True, check=False, timeout=_SENT_S
        )
        if done.returncode:
            msg = f"{self.name}: {done.stderr[-2000:]}\n{self.program.tail()}"
            raise AssertionError(msg)
        told: Answers = json.loads(done.stdout)
        peak = peak_mib(self.pid)
        cost = {
            "CPU s": cpu_seconds(self.pid) - before,
            "peak MiB": peak,
            "MiB more than at rest": peak - rests_at,
        }
        return told, cost

    def kept(self) -> int:
        """Return how many whole instances it keeps."""
        return sum(one.suffix == ".dcm" for one in self.folder.rglob("*"))

    def forget(self) -> None:
        """Delete what it keeps, where it does not need it."""
        if self.name in (NODE, ORTHANC):
            return
        for one in self.folder.iterdir():
            one.unlink()


def _storescp(*options: str) -> Callable[[int, Path], Sequence[str | Path]]:
    def command(port: int, folder: Path) -> Sequence[str | Path]:
        kept = ["--output-directory", str(folder), "--filename-extension", ".dcm"]
        return [_STORESCP, *options, *kept, str(port)]

    return command


def _module(name: str, *options: str) -> Callable[[int, Path], Sequence[str | Path]]:
    def command(port: int, folder: Path) -> Sequence[str | Path]:
        return [*_AS_INSTALLED, f"tests.bench.{name}", str(port), folder, *options]

    return command


def _orthanc(port: int, folder: Path) -> Sequence[str | Path]:
    settings = {
        "Name": "BENCH",
        "StorageDirectory": str(folder),
        "IndexDirectory": str(folder),
        "HttpServerEnabled": False,
        "Plugins": [],
        "DicomAet": CALLED,
        "DicomPort": port,
        "DicomAlwaysAllowStore": True,
        "DicomAlwaysAllowEcho": True,
        "SyncStorageArea": True,
    }
    path = folder.with_suffix(".json")
    path.write_text(json.dumps(settings, indent=1), encoding="utf-8")
    return [_ORTHANC_PROGRAM, path]


def _node(port: int, folder: Path) -> Sequence[str | Path]:
    # Studies never fall quiet: it measures reception, and nothing is processed.
    config = write_settings(
        folder, dicom_port=port, web_port=free_port(), quiet_time_s=3600
    )
    text = config.read_text(encoding="utf-8")
    reserve = "min_free_bytes = 1048576"
    config.write_text(text.replace("min_free_bytes = 0", reserve), encoding="utf-8")
    # Its database is there, as at every start but the first.
    with Store(load_settings(config, {}).database_url) as store:
        store.migrate()
    return [*_AS_INSTALLED, "tests.builders.quick_node", config]


RECEIVERS: Mapping[str, Callable[[int, Path], Sequence[str | Path]]] = {
    NODE: _node,
    "storescp +B": _storescp("--bit-preserving", "-pdu", "131072"),
    "storescp": _storescp("-pdu", "131072"),
    "storescp --fork": _storescp("--fork", "-pdu", "131072"),
    ORTHANC: _orthanc,
    STOCK: _module("stock_scp"),
    CEILING: _module("ceiling"),
    HASHING_CEILING: _module("ceiling", "--hash"),
}
"""What starts each, by its name, its port and its folder."""


@contextmanager
def open_one(name: str, work: Path, *, waits: bool = True) -> Iterator[Receiver]:
    """Run a receiver while the block lasts; its folder is gone after it.

    `waits` until what it does in the background at its start is done.
    """
    folder = work / name.replace(" ", "-").replace("+", "").strip("-:,")
    folder.mkdir(parents=True)
    port = free_port()
    command = RECEIVERS[name](port, folder)
    with Program(
        command, log_path=folder.with_suffix(".log"), environment=_NO_NAGLE
    ) as program:
        program.wait_for_port(port, timeout_s=120)
        one = Receiver(name, port, program.process.pid, folder, program)
        if waits:
            wait_until(lambda: _is_quiet(one.pid), timeout_s=60, what=f"{name} to rest")
        yield one
    with contextlib.suppress(OSError):
        shutil.rmtree(folder)


def _is_quiet(pid: int) -> bool:
    """Whether a process that has just begun to listen has made itself ready."""
    before = cpu_seconds(pid)
    time.sleep(0.3)
    return cpu_seconds(pid) - before <= 0.03
