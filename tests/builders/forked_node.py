"""The real node, with a processor that is quick, started again and again.

A process that has imported everything and runs nothing forks a node for each start:
it shares no file, lock, socket or thread with it, so a kill costs the node all that
a kill costs any process, and the next one is there at once.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import dicom_node.deliver  # noqa: F401 - a node loads it with its first study
from dicom_node.config import load_settings
from dicom_node.service import run_node
from tests.builders.process import wait_for_port
from tests.builders.study_processor import QuickProcessor

__all__ = ["ForkedNode"]


class ForkedNode:
    """Starts nodes, one at a time, and kills them.

    Parameters
    ----------
    config : pathlib.Path
        The settings file.
    log_path : pathlib.Path
        Where the nodes' output goes.

    """

    def __init__(self, config: Path, log_path: Path) -> None:
        self.log_path = log_path
        with log_path.open("ab") as log:
            self._template = subprocess.Popen(
                [sys.executable, "-m", "tests.builders.forked_node", str(config)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                bufsize=1,
                cwd=Path(__file__).parents[2],
            )
        self._answer()

    def __enter__(self) -> ForkedNode:
        return self

    def __exit__(self, *_: object) -> None:
        self._template.communicate()

    @contextmanager
    def running(self) -> Iterator[int]:
        """Start a node, give its process id, and kill it at the end of the block.

        Somebody else may have killed it by then; it must not have ended by itself.

        """
        assert self._template.stdin is not None
        self._template.stdin.write("start\n")
        pid = int(self._answer())
        try:
            yield pid
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
            status = int(self._answer())
        # Else it had ended by itself, and its log says why.
        assert status == -signal.SIGKILL, self.tail()

    def wait_for_port(self, port: int) -> None:
        """Wait until the node answers."""
        wait_for_port(port, timeout_s=60.0, what=self.tail)

    def tail(self) -> str:
        """Return the end of the log."""
        return "\n".join(self.log_path.read_text(errors="replace").splitlines()[-40:])

    def _answer(self) -> str:
        assert self._template.stdout is not None
        line = self._template.stdout.readline()
        assert line, self.tail()
        return line


def _serve(config: Path) -> None:
    print("ready", flush=True)
    for _ in sys.stdin:
        assert threading.active_count() == 1
        pid = os.fork()
        if pid == 0:
            _run(config)
        print(pid, flush=True)
        _, status = os.waitpid(pid, 0)
        print(os.waitstatus_to_exitcode(status), flush=True)


def _run(config: Path) -> None:
    """Be the node; never return."""
    try:
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        os.dup2(2, 1)
        processor = QuickProcessor(delay_s=0.2, objects=2)
        run_node(load_settings(config, {}), processor=processor)
    except Exception:  # noqa: BLE001 - its text goes to the log, its status is told
        traceback.print_exc()
    finally:
        os._exit(1)


if __name__ == "__main__":
    _serve(Path(sys.argv[1]))
