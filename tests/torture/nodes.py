"""The real node with a quick processor, started in a second, watched from outside.

One process has imported everything and runs nothing; it forks a node for each start.
"""

from __future__ import annotations

import atexit
import functools
import json
import os
import signal
import subprocess
import sys
import threading
import time
import traceback
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from tests.builders.node import write_settings
from tests.builders.process import free_port, wait_for_port
from tests.torture.resources import Resources, sample, sample_children
from tests.torture.set_clock import live_by

__all__ = ["WatchedNode", "end_node", "run_watched", "start_node"]

_ROOT = Path(__file__).parents[2]
_START_S = 180.0
_STEADY_S = 15.0
_NOISE_BYTES = 1 << 19
_SAME = 3
"""It holds the same this often, one look after the other: it is steady."""
_EXPECTED = frozenset(
    {"ProtocolViolationError", "PeerTooSlowError", "ConnectionLostError"}
)
"""Why a connection may end: all of them are the peer's doing."""
_FAILURES = frozenset({"instance_callback_failed", "release_callback_failed"})


@dataclass(frozen=True)
class WatchedNode:
    """A running node, seen from outside."""

    pid: int
    dicom_port: int
    web_port: int
    hl7_port: int
    data_dir: Path
    log_path: Path

    def hold(self) -> Resources:
        """Return what it and its children hold."""
        return sample(self.pid) + sample_children(self.pid)

    def is_alive(self) -> bool:
        """Return whether it has not ended."""
        try:
            text = Path(f"/proc/{self.pid}/stat").read_text(encoding="utf-8")
        except FileNotFoundError:
            return False
        return text.rpartition(")")[2].split()[0] != "Z"

    def events(self) -> Iterator[dict[str, Any]]:
        """Yield what it has logged; a line that is no event has the key ``line``."""
        with self.log_path.open(encoding="utf-8", errors="replace") as log:
            for line in log:
                try:
                    yield json.loads(line)
                except ValueError:
                    yield {"line": line.rstrip()}

    def unexpected(self) -> Counter[str]:
        """Return what no peer should be able to make it log, and how often."""
        found: Counter[str] = Counter()
        for event in self.events():
            name, error = event.get("event", ""), event.get("error", "")
            if "line" in event:
                if event["line"]:
                    found[f"line: {event['line'][:120]}"] += 1
            elif "exception" in event or "Traceback" in str(event):
                found[f"traceback: {name}"] += 1
            elif (
                name in ("association_aborted", "hl7_connection_cut")
                and error not in (*_EXPECTED, "TimeoutError")
            ) or name in _FAILURES:
                found[f"{name}: {error}"] += 1
            elif event.get("level") in ("error", "critical"):
                found[name] += 1
        return found


@contextmanager
def run_watched(
    folder: Path, *, limits: str = "", web: str = "", hl7: str = ""
) -> Iterator[WatchedNode]:
    """Run a node while the block lasts, and fail when it does not end well.

    Parameters
    ----------
    folder : pathlib.Path
        New; settings, data and log lie there.
    limits, web, hl7 : str
        TOML that is added to these tables of the settings.

    """
    dicom_port, web_port, hl7_port = free_port(), free_port(), free_port()
    config = write_settings(
        folder,
        dicom_port=dicom_port,
        web_port=web_port,
        quiet_time_s=3600.0,
        more=f"{limits}\n[hl7]\nenabled = true\nport = {hl7_port}\n{hl7}\n",
    )
    text = config.read_text(encoding="utf-8")
    config.write_text(text.replace("[web]\n", f"[web]\n{web}\n"), encoding="utf-8")
    node_log = folder / "node.log"
    node_log.touch()
    template = _Template.get()
    pid = template.start(config, node_log)
    try:
        for port in (dicom_port, web_port, hl7_port):
            wait_for_port(
                port, timeout_s=_START_S, what=lambda: node_log.read_text()[-3000:]
            )
        node = WatchedNode(
            pid, dicom_port, web_port, hl7_port, folder / "data", node_log
        )
        _wait_until_steady(node)
        yield node
    finally:
        status = template.stop(pid)
    if status:
        msg = f"the node ended with {status}\n{node_log.read_text()[-3000:]}"
        raise AssertionError(msg)


def _wait_until_steady(node: WatchedNode) -> None:
    """Wait for what the node gets ready in the background once it has started."""
    same = 0
    before = node.hold()
    end = time.monotonic() + _STEADY_S
    while same < _SAME and time.monotonic() < end:
        time.sleep(0.2)
        now = node.hold()
        is_same = (
            now.threads == before.threads
            and now.descriptors == before.descriptors
            and abs(now.rss_bytes - before.rss_bytes) < _NOISE_BYTES
        )
        same = same + 1 if is_same else 0
        before = now


def start_node(config: Path, log: Path, **more: object) -> int:
    """Start a node; return its process id, to be given to `end_node`.

    Parameters
    ----------
    config, log : pathlib.Path
        Its settings; where its output goes.
    **more
        ``processor``: ``"quick"``, or ``"corner"`` for the pipeline with a model that
        finds one corner; ``objects``, ``padding``: of `QuickProcessor`; ``clock``:
        path of a `SetClock`.

    """
    log.touch()
    return _Template.get().start(config, log, **more)


def end_node(pid: int) -> int:
    """End a node, unless it has ended; return its exit code, negative: the signal."""
    return _Template.get().stop(pid)


class _Template:
    """The process that forks nodes."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.torture.nodes"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            bufsize=1,
            cwd=_ROOT,
        )
        atexit.register(self._process.communicate)
        self._answer()

    @staticmethod
    @functools.cache
    def get() -> _Template:
        """Return the one of this process."""
        return _Template()

    def start(self, config: Path, log: Path, **more: object) -> int:
        """Start a node and return its process id."""
        return int(self._ask("start", str(config.resolve()), str(log.resolve()), more))

    def stop(self, pid: int) -> int:
        """End a node and return its exit code."""
        return int(self._ask("stop", pid))

    def _ask(self, *words: object) -> str:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(words) + "\n")
        return self._answer()

    def _answer(self) -> str:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        assert line, "the process that forks nodes is gone"
        return line


def _serve() -> None:
    # Imported before any fork, so that a node need not.
    import tests.builders.study_processor  # noqa: F401

    print("ready", flush=True)
    for line in sys.stdin:
        what, *words = json.loads(line)
        if what == "start":
            assert threading.active_count() == 1
            pid = os.fork()
            if pid == 0:
                _become(Path(words[0]), Path(words[1]), **words[2])
            print(pid, flush=True)
        else:
            print(_end(words[0]), flush=True)


def _become(
    config: Path,
    log: Path,
    *,
    processor: str = "quick",
    objects: int = 1,
    padding: int = 0,
    clock: str | None = None,
) -> NoReturn:
    """Be the node; never return."""
    from dicom_node.config import load_settings
    from dicom_node.service import run_node
    from dicom_node.workflows import PipelineProcessor
    from tests.builders.corner_grounder import BrightestBox
    from tests.builders.study_processor import QuickProcessor

    try:
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        os.dup2(os.open(log, os.O_WRONLY | os.O_APPEND), 2)
        os.dup2(2, 1)
        if clock is not None:
            live_by(Path(clock))
        settings = load_settings(config, {})
        made = (
            PipelineProcessor(settings, make_grounder=lambda _model: BrightestBox())
            if processor == "corner"
            else QuickProcessor(delay_s=0.1, objects=objects, padding=padding)
        )
        run_node(settings, processor=made)
        os._exit(0)
    except Exception:  # noqa: BLE001 - its text goes to the log, its status is told
        traceback.print_exc()
    finally:
        os._exit(1)


def _end(pid: int) -> int:
    done, status = os.waitpid(pid, os.WNOHANG)
    if not done:
        os.kill(pid, signal.SIGTERM)
        _, status = os.waitpid(pid, 0)
    return os.waitstatus_to_exitcode(status)


if __name__ == "__main__":
    _serve()
