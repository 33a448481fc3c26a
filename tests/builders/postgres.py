"""A PostgreSQL cluster of one's own: on loopback, in a temporary folder."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg

from tests.builders.peers import cannot_run
from tests.builders.process import free_port, wait_until

__all__ = ["PostgresCluster", "postgres_cluster"]

_BINARIES = Path("/usr/lib/postgresql")


class PostgresCluster:
    """A running cluster that hands out empty databases, and can be killed."""

    def __init__(self, port: int, data: Path, start: Callable[[], None]) -> None:
        self._port = port
        self._data = data
        self.start = start
        """Start it again after `kill`."""

    def kill(self) -> None:
        """Kill the server and all that it has started."""
        server = int((self._data / "postmaster.pid").read_text().split()[0])
        os.kill(server, signal.SIGSTOP)
        _wait(lambda: _state(server) == "T", "PostgreSQL to make no more processes")
        children = Path(f"/proc/{server}/task/{server}/children").read_text().split()
        killed = (server, *map(int, children))
        for pid in killed:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        # The next one must not start while one of these has the shared memory.
        _wait(
            lambda: all(_state(pid) in ("", "Z", "X") for pid in killed),
            "the processes of PostgreSQL to be gone",
        )
        # The next one takes a dead server for a running one until init, in its own
        # time, has taken its exit status.
        (self._data / "postmaster.pid").unlink()

    def new_database(self) -> str:
        """Make an empty database and return its SQLAlchemy URL."""
        name = f"node_{uuid.uuid4().hex[:12]}"
        with psycopg.connect(
            host="127.0.0.1",
            port=self._port,
            user="postgres",
            dbname="postgres",
            autocommit=True,
        ) as connection:
            connection.execute(f"CREATE DATABASE {name}".encode())
        return f"postgresql+psycopg://postgres@127.0.0.1:{self._port}/{name}"


def _wait(is_so: Callable[[], bool], what: str) -> None:
    wait_until(is_so, timeout_s=20, what=what, interval_s=0.01)


def _state(pid: int) -> str:
    """Return the letter of a process's state, proc_pid_stat(5); none if it is gone."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return ""


@contextmanager
def postgres_cluster(
    *, address: str | None = None, network: str = "127.0.0.1/32"
) -> Iterator[PostgresCluster]:
    """Start a cluster from Debian's binaries; skip without them, but not in CI.

    Parameters
    ----------
    address : str, optional
        Another address of this machine that it listens on.
    network : str
        Whom it lets in there.

    """
    found = sorted(_BINARIES.glob("*/bin/initdb"))
    if not found:
        cannot_run("PostgreSQL is not installed")
    binaries = found[-1].parent
    folder = Path(tempfile.mkdtemp(prefix="node-pg-"))
    # The server refuses to run as root: it runs as the user of Debian's package.
    user = ["runuser", "-u", "postgres", "--"] if os.geteuid() == 0 else []
    if user:
        shutil.chown(folder, "postgres")
    data, port = folder / "data", free_port()

    def run(program: str, *arguments: str) -> None:
        subprocess.run(
            [*user, str(binaries / program), *arguments],
            check=True,
            cwd=folder,
            stdout=subprocess.DEVNULL,
            stdin=subprocess.DEVNULL,
        )

    try:
        run("initdb", "-D", str(data), "-U", "postgres", "-A", "trust", "-E", "UTF8")
        listens = "127.0.0.1" if address is None else f"127.0.0.1,{address}"
        # No socket file: its lock would outlive a killed server.
        options = f"-p {port} -k '' -c listen_addresses={listens}"
        with (data / "pg_hba.conf").open("a") as rules:
            rules.write(f"host all all {network} trust\n")
        log = str(folder / "log")

        def start(tries: int = 10) -> None:
            try:
                run("pg_ctl", "-D", str(data), "-w", "-l", log, "-o", options, "start")
            except subprocess.CalledProcessError:
                # Another program may use the port for a moment.
                if not tries:
                    raise
                time.sleep(1.0)
                start(tries - 1)

        start()
        try:
            yield PostgresCluster(port, data, start)
        finally:
            run("pg_ctl", "-D", str(data), "-w", "-m", "immediate", "stop")
    finally:
        shutil.rmtree(folder, ignore_errors=True)
