"""A child process that answers requests, within limits.

Decoders of compressed pixels and the model run in such processes: a hostile file
or a lost device ends the child and never the node. The parent side is
`ChildProcess`, the child side `answers`. Messages are JSON over a socket
pair; arrays and documents travel in files that have no name, handed over by their
descriptors: however either process ends, nothing of a patient stays behind.

A child answers one request at a time. One that has a side door may answer a small
request from there in the midst of another, and tells both whose turn it is.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from multiprocessing.connection import Connection

from dicom_node.child.answers import CONNECTION_LOST, FILES, Answer, Tell
from dicom_node.errors import ProcessLostError

__all__ = ["ChildProcess", "child_environment"]

_STOP_S = 2.0
"""How long a child may take to leave by itself."""

_LOOK_S = 0.005
"""How often it is looked whether it has."""

_WAIT_S = 5.0
"""How much longer than an answer may take a request waits for its turn: until then
whoever has it was ended, if it is for the time that it takes."""

_CONFINEMENT = "dicom_node.child.confinement"

_FILE_BYTES = 64 << 30
"""Largest file that a child may write; the decoded frames of a study are one."""

_INHERITED = frozenset(
    {"HOME", "LANG", "LANGUAGE", "LD_LIBRARY_PATH", "LOGNAME", "PATH", "TMPDIR"}
    | {"TZ", "USER", "VIRTUAL_ENV", "XDG_CACHE_HOME", "HF_HOME", "HF_HUB_CACHE"}
)
_INHERITED_PREFIXES = (
    *("CUDA", "HIP_", "KMP_", "LC_", "MKL_", "NVIDIA_", "OMP_", "OPENBLAS_"),
    *("PYTHON", "PYTORCH_", "ROCR_", "TORCH_"),
)
"""What interpreter, libraries and drivers read. Everything else stays with the node:
its settings in the environment hold passwords and the database's address."""

_LAST_WORDS_BYTES = 8192
"""How much of what a child wrote to standard error is looked at when it died."""

_LAST_WORDS = (
    (
        re.compile(
            rb"memory allocation of \d+ bytes failed|MemoryError|bad_alloc"
            rb"|[Cc]annot allocate memory|out of memory|OutOfMemoryError"
        ),
        "it ran out of memory",
    ),
    (re.compile(rb"CUDA error|CUDA driver|cudaError"), "its device failed"),
    (re.compile(rb"ModuleNotFoundError|ImportError"), "a library cannot be loaded"),
)
"""What the last words of a child tell. They are never quoted: they may hold a value."""


class ChildProcess:
    """The parent's side of one child; for one thread, but for `interrupt`.

    A second thread may ask at the side door.

    Parameters
    ----------
    module : str
        Dotted name of the module that the child runs.
    arguments : sequence of str
        Its arguments after the socket's number.
    environment : mapping, optional
        Variables on top of those of `child_environment`.
    file_bytes : int
        Largest file that the child may write.
    keeps_network : bool
        Whether the child may use the network, where the node may take it away.
    has_side_door : bool
        Whether the child gets a second socket's number behind the first.

    """

    def __init__(
        self,
        module: str,
        arguments: Sequence[str] = (),
        *,
        environment: Mapping[str, str] | None = None,
        file_bytes: int = _FILE_BYTES,
        keeps_network: bool = False,
        has_side_door: bool = False,
    ) -> None:
        self._module = module
        self._arguments = tuple(arguments)
        self._confines = (str(int(keeps_network)), str(file_bytes))
        self._environment = dict(environment or {})
        self._count = 1 + has_side_door
        self._running: _Running | None = None

    @property
    def pid(self) -> int | None:
        """The running child's process id; None: there is none."""
        running = self._running
        return running.process.pid if running is not None and self.is_alive else None

    @property
    def is_alive(self) -> bool:
        """Whether the child runs."""
        running = self._running
        return running is not None and not _has_ended(running.process)

    def start(self) -> None:
        """Start the child unless it runs."""
        if self.is_alive:
            return
        self.stop()
        pairs = [socket.socketpair() for _ in range(self._count)]
        numbers = [theirs.fileno() for _, theirs in pairs]
        # The child holds the read end of a pipe that only the parent can
        # write: it ends with the parent, however the parent ends. A session
        # of its own keeps the terminal's Ctrl-C from killing it in mid-work.
        # -P: the working directory is no place to import from. What it says at
        # its end goes into memory that has no name.
        stderr = os.memfd_create("last-words")
        try:
            process = subprocess.Popen(
                [
                    sys.executable,
                    "-P",
                    "-m",
                    _CONFINEMENT,
                    *self._confines,
                    self._module,
                    *map(str, numbers),
                    *self._arguments,
                ],
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=stderr,
                pass_fds=numbers,
                start_new_session=True,
                env={**child_environment(os.environ), **self._environment},
            )
        except BaseException:
            os.close(stderr)
            for ours, _ in pairs:
                ours.close()
            raise
        finally:
            for _, theirs in pairs:
                theirs.close()
        self._running = _Running(process, [ours for ours, _ in pairs], stderr)

    def ask(
        self,
        request: Answer,
        *,
        timeout_s: float,
        tell: Tell | None = None,
        files: Sequence[int] = (),
        is_aside: bool = False,
        on_turn: Callable[[bool], None] | None = None,
    ) -> Answer:
        """Send a request and wait for its answer, starting the child if needed.

        Parameters
        ----------
        request : dict
            What JSON can hold.
        timeout_s : float
            The child is killed when its answer takes longer; before its turn, and
            while another request has it, no time counts.
        tell : callable, optional
            Receives the child's progress.
        files : sequence of int
            Descriptors of open files; the child finds them, while it answers, under
            the paths that the request's ``files`` holds.
        is_aside : bool
            Ask at the side door; the child must run.
        on_turn : callable, optional
            Told when the child turns to this request (True) and to another (False).

        Returns
        -------
        dict
            ``{"result": ...}``, or ``{"error": message, "kind": class name}``
            when the request could not be answered and the child lives on.

        Raises
        ------
        ProcessLostError
            The child ended, or was killed, before it answered; ``timed_out`` tells
            whether that was for the time it took, ``had_turn`` whether it was at work
            on this request then.

        """
        if not is_aside:
            self.start()
        running = self._running
        if running is None:
            raise ProcessLostError("there is no process", had_turn=False)
        patience = _Patience(timeout_s, has_turn=self._count == 1)
        connection: Connection | None = None
        try:
            door = running.doors[is_aside]
            connection = Connection(os.dup(door.fileno()))
            socket.send_fds(door, [FILES], list(files))
            connection.send_bytes(json.dumps(request).encode())
            while connection.poll(patience.left_s):
                answer: Answer = json.loads(connection.recv_bytes())
                if "turn" in answer:
                    patience.note(has_turn=answer["turn"])
                    if on_turn is not None:
                        on_turn(answer["turn"])
                elif "progress" not in answer:
                    return answer
                elif tell is not None:
                    tell(*answer["progress"])
        except CONNECTION_LOST as error:
            raise ProcessLostError(
                running.bury(), had_turn=patience.has_turn
            ) from error
        except BaseException:
            # Whatever interrupts the wait leaves an answer in the pipe that would
            # be taken for the next request's.
            running.end()
            raise
        finally:
            if connection is not None:
                connection.close()
        running.end()
        if not patience.has_turn:
            raise ProcessLostError("it is never its turn", had_turn=False)
        msg = f"no answer within {timeout_s:g} s"
        raise ProcessLostError(msg, timed_out=True)

    def interrupt(self) -> None:
        """Kill the child while other threads wait in `ask`, which then raises."""
        running = self._running
        if running is not None:
            _kill_group(running.process)

    def stop(self) -> None:
        """End the child: first by closing its door, then by force."""
        running, self._running = self._running, None
        if running is not None:
            running.close()
            _wait(running.process, _STOP_S)
            running.end()

    def kill(self) -> None:
        """End the child, and all that it started, at once."""
        running, self._running = self._running, None
        if running is not None:
            running.end()


class _Running:
    """One process; both who ask it may find that it ended, and end it."""

    def __init__(
        self,
        process: subprocess.Popen[bytes],
        doors: Sequence[socket.socket],
        stderr: int,
    ) -> None:
        self.process = process
        self.doors = doors
        self._stderr = stderr
        self._lock = threading.RLock()
        self._how = ""

    def close(self) -> None:
        """Close the doors: a child that waits for a request leaves."""
        for door in self.doors:
            door.close()

    def end(self) -> None:
        """End it, and all that it started; doing so twice changes nothing."""
        with self._lock:
            if self._stderr < 0:
                return
            self.close()
            os.close(self._stderr)
            self._stderr = -1
            _kill_group(self.process)
            if self.process.stdin is not None:
                with contextlib.suppress(OSError):
                    self.process.stdin.close()
            self.process.wait()

    def bury(self) -> str:
        """End it, and return how it ended."""
        with self._lock:
            words = ""
            if self._stderr >= 0 and _wait(self.process, _STOP_S):
                words = self._last_words()
            self.end()
            code = self.process.returncode
            if code < 0:
                how = f"was ended by {signal.Signals(-code).name}"
            else:
                how = f"ended with exit code {code}"
            self._how = self._how or f"the process {how}{words}"
            return self._how

    def _last_words(self) -> str:
        size = os.fstat(self._stderr).st_size
        said = os.pread(
            self._stderr, _LAST_WORDS_BYTES, max(0, size - _LAST_WORDS_BYTES)
        )
        for pattern, reason in _LAST_WORDS:
            if pattern.search(said):
                return f": {reason}"
        return ""


class _Patience:
    """How long an answer is still waited for: time passes while it has its turn."""

    def __init__(self, timeout_s: float, *, has_turn: bool) -> None:
        self.has_turn = has_turn
        self._own_s = timeout_s
        self._most_s = timeout_s + _WAIT_S
        self._since = time.monotonic()

    @property
    def left_s(self) -> float:
        """Seconds, at least 0."""
        passed = time.monotonic() - self._since
        return max(0.0, (self._own_s if self.has_turn else self._most_s) - passed)

    def note(self, *, has_turn: bool) -> None:
        """Begin its turn, or end it; what is so already goes on."""
        if has_turn == self.has_turn:
            return
        now = time.monotonic()
        if self.has_turn:
            self._own_s -= now - self._since
        self.has_turn, self._since = has_turn, now


def child_environment(environment: Mapping[str, str]) -> dict[str, str]:
    """Return the part of an environment that a child gets.

    Parameters
    ----------
    environment : mapping
        The node's own.

    """
    return {
        name: value
        for name, value in environment.items()
        if name in _INHERITED or name.startswith(_INHERITED_PREFIXES)
    }


def _has_ended(process: subprocess.Popen[bytes]) -> bool:
    """Return whether a child has ended; it stays a zombie until `ChildProcess.kill`.

    As long as it does, its number is nobody else's, and its group can be killed.
    """
    if process.returncode is not None:
        return True
    try:
        look = os.WEXITED | os.WNOHANG | os.WNOWAIT
        return os.waitid(os.P_PID, process.pid, look) is not None
    except ChildProcessError:
        return True


def _wait(process: subprocess.Popen[bytes], seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while not _has_ended(process):
        if time.monotonic() > deadline:
            return False
        time.sleep(_LOOK_S)
    return True


def _kill_group(process: subprocess.Popen[bytes]) -> None:
    if process.returncode is None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
