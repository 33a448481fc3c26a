"""A program under test: started, waited for, ended by its own id."""

from __future__ import annotations

import os
import socket
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType

__all__ = ["Program", "free_port", "wait_for_port", "wait_until"]


class Program:
    """A child process whose output goes to a file.

    Parameters
    ----------
    command : sequence of str
        Program and arguments.
    log_path : pathlib.Path
        Where its output goes; the end of it is quoted when something fails.
    environment : mapping, optional
        Variables on top of the caller's own.
    cwd : pathlib.Path, optional
        Working folder.

    """

    def __init__(
        self,
        command: Sequence[str | Path],
        *,
        log_path: Path,
        environment: Mapping[str, str] | None = None,
        cwd: Path | None = None,
    ) -> None:
        self.log_path = log_path
        self._name = Path(command[0]).name
        with log_path.open("ab") as log:
            self.process = subprocess.Popen(
                [os.fspath(part) for part in command],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env={**os.environ, **(environment or {})},
                cwd=cwd,
            )

    def __enter__(self) -> Program:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    def stop(self, *, patience_s: float = 20.0) -> int:
        """End the program and return its exit status; negative: the signal."""
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(patience_s)
            except subprocess.TimeoutExpired:
                self.process.kill()
        return self.process.wait()

    def wait_for_port(
        self, port: int, *, timeout_s: float = 60.0, host: str = "127.0.0.1"
    ) -> None:
        """Wait until something answers on a port of this machine."""

        wait_for_port(
            port,
            timeout_s=timeout_s,
            what=self._describe,
            check=self.check_alive,
            host=host,
        )

    def check_alive(self) -> None:
        """Fail with the end of the log when the program is gone."""
        status = self.process.poll()
        if status is not None:
            msg = f"{self._name} ended with {status}\n{self.tail()}"
            raise AssertionError(msg)

    def tail(self, lines: int = 40) -> str:
        """Return the end of the log."""
        text = self.log_path.read_text(encoding="utf-8", errors="replace")
        return "\n".join(text.splitlines()[-lines:])

    def _describe(self) -> str:
        return f"{self._name} to answer\n{self.tail()}"


def wait_until(
    is_true: Callable[[], bool],
    *,
    timeout_s: float,
    what: str | Callable[[], str],
    interval_s: float = 0.1,
) -> None:
    """Wait until a condition holds, or fail by saying what was waited for."""
    end = time.monotonic() + timeout_s
    while not is_true():
        if time.monotonic() > end:
            text = what if isinstance(what, str) else what()
            msg = f"waited {timeout_s:g} s for {text}"
            raise AssertionError(msg)
        time.sleep(interval_s)


def wait_for_port(
    port: int,
    *,
    timeout_s: float,
    what: Callable[[], str],
    check: Callable[[], None] = lambda: None,
    host: str = "127.0.0.1",
) -> None:
    """Wait until something answers on a port; `check` may end the wait."""

    def answers() -> bool:
        check()
        with socket.socket() as probe:
            probe.settimeout(1.0)
            return probe.connect_ex((host, port)) == 0

    wait_until(answers, timeout_s=timeout_s, what=what, interval_s=0.02)


def free_port() -> int:
    """Return a loopback port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
