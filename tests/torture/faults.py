"""A node whose system calls fail, one at a time or all of a kind, and its callers."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import sqlite3
import stat
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from pydicom import dcmread
from pydicom.uid import CTImageStorage
from pynetdicom import AE

from tests.builders.process import free_port, wait_for_port
from tests.torture.load import Sample, make_sample
from tests.torture.nodes import end_node, start_node

__all__ = [
    "CALLS",
    "Caller",
    "FaultyNode",
    "Samples",
    "injected",
    "run_faulty",
    "small_disk",
    "wait_s",
]

CALLS = (
    "openat",
    "write",
    "pwrite64",
    "fsync",
    "fdatasync",
    "rename",
    "mkdir",
    "ftruncate",
)
"""What changes a disk, of all that one instance causes."""

_PATIENCE_S = 40.0
_ASSOCIATION_S = 5.0


class Caller:
    """An association to an SCP on loopback."""

    def __init__(
        self,
        port: int,
        *,
        ae_title: str = "GROUNDING",
        association_s: float = _ASSOCIATION_S,
    ) -> None:
        ae = AE("PACS")
        ae.acse_timeout = ae.connection_timeout = association_s
        ae.dimse_timeout = ae.network_timeout = _PATIENCE_S
        ae.add_requested_context(CTImageStorage)
        self._assoc = ae.associate("127.0.0.1", port, ae_title=ae_title)
        self.is_open = self._assoc.is_established

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._assoc.is_established:
            self._assoc.release()

    def store(self, sample: Sample) -> int | None:
        """Send an instance; return its status, None: there was no answer."""
        if not self._assoc.is_established:
            return None
        status = self._assoc.send_c_store(dcmread(sample.path))
        return int(status.Status) if "Status" in status else None


class Samples:
    """Hands out instances, each of a study of its own."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self._count = 0

    def next(self, size: int = 20_000) -> Sample:
        """Make the next instance."""
        self._count += 1
        return make_sample(
            self._folder, f"1.2.826.0.9.{self._count}", number=0, size=size
        )


@dataclass
class FaultyNode:
    """A running node on SQLite."""

    pid: int
    port: int
    web_port: int
    data_dir: Path
    config: Path
    log: Path
    is_running: bool = field(default=True)

    def send(self, sample: Sample) -> int | None:
        """Send an instance over an association of its own."""
        with Caller(self.port) as caller:
            return caller.store(sample)

    def send_with(self, sample: Sample, inject: str) -> tuple[int | None, int]:
        """Send while calls of the association's thread fail; return status and faults.

        Only that thread is traced: the rest of the node is well.
        """
        while True:
            before = self._tasks()
            with Caller(self.port) as caller:
                new = self._tasks() - before
                if len(new) != 1 or not caller.is_open:
                    continue  # something else began in the same moment
                with injected(new.pop(), inject) as faults:
                    status = caller.store(sample)
                return status, faults()

    def health(self) -> dict[str, str]:
        """Return what each check of ``/health`` says; empty: it does not answer."""
        url = f"http://127.0.0.1:{self.web_port}/health"
        try:
            with urllib.request.urlopen(url, timeout=5) as answer:
                document = json.load(answer)
        except urllib.error.HTTPError as error:
            document = json.load(error)
        except OSError:
            return {}
        checks: dict[str, str] = document["checks"]
        return checks

    def problems(self) -> dict[str, str]:
        """Return the checks that are not ok."""
        return {name: what for name, what in self.health().items() if what != "ok"}

    def restart(self) -> None:
        """End the node and start it again, and wait until it has compared its files."""
        self.stop()
        size = self.log.stat().st_size
        self.pid = start_node(self.config, self.log)
        self.is_running = True
        self.wait_for_port()
        wait_s(lambda: '"reconciled"' in self.log.read_text()[size:])

    def stop(self) -> int:
        """End the node."""
        self.is_running = False
        return end_node(self.pid)

    def wait_for_port(self) -> None:
        """Wait until it listens."""
        for port in (self.port, self.web_port):
            wait_for_port(port, timeout_s=60, what=lambda: self.log.read_text()[-3000:])

    def rows(self) -> dict[str, str]:
        """Return path by SOP Instance UID of what the database says is here."""
        path = self.data_dir / "node.sqlite"
        with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as database:
            found = database.execute("SELECT sop_instance_uid, path FROM instances")
            return dict(found.fetchall())

    def half_visible(self) -> tuple[int, int]:
        """Return files that a start would take up though no row names them, and rows
        without a file.
        """
        paths = set(self.rows().values())
        files = {
            path.relative_to(self.data_dir).as_posix(): path.stat().st_mode
            for path in self.data_dir.glob("instances/*/*.dcm")
        }
        kept = {path for path, mode in files.items() if mode & stat.S_IWUSR}
        return len(kept - paths), len(paths - files.keys())

    def _tasks(self) -> set[int]:
        return {int(one.name) for one in Path(f"/proc/{self.pid}/task").iterdir()}


@contextmanager
def run_faulty(
    folder: Path, *, data_dir: Path | None = None, quiet_time_s: float = 3600.0
) -> Iterator[FaultyNode]:
    """Run a node while the block lasts; ``data_dir``: a disk of its own."""
    folder.mkdir(parents=True, exist_ok=True)
    port, web_port = free_port(), free_port()
    data = data_dir or folder / "data"
    config = folder / "node.toml"
    config.write_text(
        f"[node]\nport = {port}\ndata_dir = {json.dumps(str(data))}\n"
        f"quiet_time_s = {quiet_time_s}\n"
        f"[web]\nport = {web_port}\n[limits]\nmin_free_bytes = 0\n"
    )
    log = folder / "node.log"
    node = FaultyNode(start_node(config, log), port, web_port, data, config, log)
    try:
        node.wait_for_port()
        # It listens first; what fails while it starts ends the start.
        wait_s(lambda: '"reconciled"' in log.read_text())
        yield node
    finally:
        if node.is_running:
            node.stop()


@contextmanager
def injected(
    task: int, inject: str, *, is_whole_process: bool = False
) -> Iterator[Callable[[], int]]:
    """Let system calls fail while the block lasts; it yields how many did.

    Parameters
    ----------
    task : int
        Id of a thread, or of a process whose threads are all meant.
    inject : str
        As of ``strace -e inject=``, for example ``fsync:error=EIO:when=2``.
    is_whole_process : bool
        Whether the other threads, and those that begin, are meant too.

    """
    descriptor, name = tempfile.mkstemp(prefix="strace-")
    os.close(descriptor)
    log = Path(name)
    calls = inject.partition(":")[0]
    command = ["strace", "-o", str(log), "-e", f"trace={calls}"]
    command += ["-e", f"inject={inject}"] if ":" in inject else []
    command += ["-f"] if is_whole_process else []
    strace = subprocess.Popen(
        [*command, "-p", str(task)], stderr=subprocess.PIPE, text=True
    )
    assert strace.stderr is not None
    told = strace.stderr.readline()
    assert "attached" in told, told

    def detach() -> None:
        if strace.poll() is None:
            strace.send_signal(signal.SIGINT)
        strace.communicate(timeout=30)

    faults = -1

    def count() -> int:
        nonlocal faults
        if faults < 0:
            detach()
            faults = len(re.findall(r"\(INJECTED\)", log.read_text(errors="replace")))
        return faults

    try:
        yield count
    finally:
        count()
        log.unlink()


@contextmanager
def small_disk(folder: Path, options: str) -> Iterator[Path]:
    """Mount a file system in memory while the block lasts; return its folder."""
    folder.mkdir(parents=True)
    subprocess.run(
        ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)], check=True
    )
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def wait_s(is_true: Callable[[], Any], *, timeout_s: float = 60.0) -> float:
    """Return after how many seconds a condition holds; the limit when it does not."""
    began = time.monotonic()
    while time.monotonic() - began < timeout_s:
        with contextlib.suppress(OSError, sqlite3.Error):
            if is_true():
                return time.monotonic() - began
        time.sleep(0.05)
    return timeout_s
