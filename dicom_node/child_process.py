"""A child process that answers one request at a time, within limits.

Decoders of compressed pixels and the model run in such processes: a hostile file
or a lost device ends the child and never the node. The parent side is
`ChildProcess`, the child side `answer_requests`. Messages are JSON over a socket
pair; arrays and documents travel in files that have no name, handed over by their
descriptors: however either process ends, nothing of a patient stays behind.
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
import traceback
from collections.abc import Callable, Mapping, Sequence
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, TypeAlias

from dicom_node.errors import NodeError, ProcessLostError
from dicom_node.private_memory import keep_memory_private

__all__ = [
    "Answer",
    "ChildProcess",
    "Handler",
    "Tell",
    "answer_requests",
    "child_environment",
]

Answer: TypeAlias = dict[str, Any]
"""What JSON can hold."""

Tell: TypeAlias = Callable[[int, int], None]
"""Called with what is done and what there is to do."""

Handler: TypeAlias = Callable[[Answer, Tell], Answer]
"""Answers one request; a `NodeError` that it raises travels to the parent."""

_STOP_S = 2.0
"""How long a child may take to leave by itself."""

_LOOK_S = 0.005
"""How often it is looked whether it has."""

_CONNECTION_LOST = (EOFError, OSError)

_FILES = b"F"
"""The byte before each request, to which the descriptors are attached (unix(7))."""

_MAX_FILES = 8

_CONFINEMENT = "dicom_node.confinement"

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

    """

    def __init__(
        self,
        module: str,
        arguments: Sequence[str] = (),
        *,
        environment: Mapping[str, str] | None = None,
        file_bytes: int = _FILE_BYTES,
        keeps_network: bool = False,
    ) -> None:
        self._module = module
        self._arguments = tuple(arguments)
        self._confines = (str(int(keeps_network)), str(file_bytes))
        self._stderr = -1
        self._environment = dict(environment or {})
        self._process: subprocess.Popen[bytes] | None = None
        self._socket: socket.socket | None = None

    @property
    def pid(self) -> int | None:
        """The running child's process id; None: there is none."""
        return self._process.pid if self.is_alive and self._process else None

    @property
    def is_alive(self) -> bool:
        """Whether the child runs."""
        process = self._process
        return process is not None and not _has_ended(process)

    def start(self) -> None:
        """Start the child unless it runs."""
        if self.is_alive:
            return
        self.stop()
        ours, theirs = socket.socketpair()
        with theirs:
            # The child holds the read end of a pipe that only the parent can
            # write: it ends with the parent, however the parent ends. A session
            # of its own keeps the terminal's Ctrl-C from killing it in mid-work.
            # -P: the working directory is no place to import from. What it says at
            # its end goes into memory that has no name.
            self._stderr = os.memfd_create("last-words")
            self._process = subprocess.Popen(
                [
                    sys.executable,
                    "-P",
                    "-m",
                    _CONFINEMENT,
                    *self._confines,
                    self._module,
                    str(theirs.fileno()),
                    *self._arguments,
                ],
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=self._stderr,
                pass_fds=(theirs.fileno(),),
                start_new_session=True,
                env={**child_environment(os.environ), **self._environment},
            )
        self._socket = ours

    def ask(
        self,
        request: Answer,
        *,
        timeout_s: float,
        tell: Tell | None = None,
        files: Sequence[int] = (),
    ) -> Answer:
        """Send a request and wait for its answer, starting the child if needed.

        Parameters
        ----------
        request : dict
            What JSON can hold.
        timeout_s : float
            The child is killed when its answer takes longer.
        tell : callable, optional
            Receives the child's progress.
        files : sequence of int
            Descriptors of open files; the child finds them, while it answers, under
            the paths that the request's ``files`` holds.

        Returns
        -------
        dict
            ``{"result": ...}``, or ``{"error": message, "kind": class name}``
            when the request could not be answered and the child lives on.

        Raises
        ------
        ProcessLostError
            The child ended, or was killed, before it answered; ``timed_out`` tells
            whether that was for the time it took.

        """
        self.start()
        assert self._socket is not None  # noqa: S101 - start() has just opened it
        connection = Connection(os.dup(self._socket.fileno()))
        deadline = time.monotonic() + timeout_s
        try:
            socket.send_fds(self._socket, [_FILES], list(files))
            connection.send_bytes(json.dumps(request).encode())
            while connection.poll(max(0.0, deadline - time.monotonic())):
                answer: Answer = json.loads(connection.recv_bytes())
                if "progress" not in answer:
                    return answer
                if tell is not None:
                    tell(*answer["progress"])
        except _CONNECTION_LOST as error:
            raise ProcessLostError(self._bury(), timed_out=False) from error
        except BaseException:
            # Whatever interrupts the wait leaves an answer in the pipe that would
            # be taken for the next request's.
            self.kill()
            raise
        finally:
            connection.close()
        self.kill()
        msg = f"no answer within {timeout_s:g} s"
        raise ProcessLostError(msg, timed_out=True)

    def interrupt(self) -> None:
        """Kill the child while another thread waits in `ask`, which then raises."""
        process = self._process
        if process is not None:
            _kill_group(process)

    def stop(self) -> None:
        """End the child: first by closing its door, then by force."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None
        if self._process is not None:
            _wait(self._process, _STOP_S)
        self.kill()

    def kill(self) -> None:
        """End the child, and all that it started, at once."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None
        process, self._process = self._process, None
        if self._stderr >= 0:
            os.close(self._stderr)
            self._stderr = -1
        if process is None:
            return
        _kill_group(process)
        if process.stdin is not None:
            with contextlib.suppress(OSError):
                process.stdin.close()
        process.wait()

    def _bury(self) -> str:
        process = self._process
        words = ""
        if process is not None and _wait(process, _STOP_S):
            words = self._last_words()
        self.kill()
        code = None if process is None else process.returncode
        if code is not None and code < 0:
            how = f"was ended by {signal.Signals(-code).name}"
        else:
            how = f"ended with exit code {code}"
        return f"the process {how}{words}"

    def _last_words(self) -> str:
        size = os.fstat(self._stderr).st_size
        said = os.pread(
            self._stderr, _LAST_WORDS_BYTES, max(0, size - _LAST_WORDS_BYTES)
        )
        for pattern, reason in _LAST_WORDS:
            if pattern.search(said):
                return f": {reason}"
        return ""


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


def answer_requests(handle: Handler, *, socket_fd: int) -> None:
    """Answer requests until the parent closes the connection or ends.

    Parameters
    ----------
    handle : Handler
        What answers them.
    socket_fd : int
        The inherited socket, the child's first argument.

    """
    keep_memory_private()
    threading.Thread(target=_end_with_parent, daemon=True).start()
    connection = Connection(socket_fd)
    door = socket.socket(fileno=os.dup(socket_fd))

    def send(message: Answer) -> None:
        connection.send_bytes(json.dumps(message).encode())

    def tell(done: int, total: int) -> None:
        send({"progress": [done, total]})

    with contextlib.suppress(*_CONNECTION_LOST):
        while True:
            byte, files, _, _ = socket.recv_fds(door, 1, _MAX_FILES)
            if not byte:
                break
            try:
                request = json.loads(connection.recv_bytes())
                request["files"] = [f"/proc/self/fd/{file}" for file in files]
                answer = _answer(handle, request, tell)
            finally:
                for file in files:
                    os.close(file)
            send(answer)


def _answer(handle: Handler, request: Answer, tell: Tell) -> Answer:
    try:
        return {"result": handle(request, tell)}
    except NodeError as error:
        return {"error": str(error), "kind": type(error).__name__}
    except BrokenPipeError:
        raise
    except Exception as error:  # noqa: BLE001 - the door of the process
        # Messages of foreign exceptions may quote the data set; their class and
        # place do not.
        last = traceback.extract_tb(error.__traceback__)[-1]
        where = f"{Path(last.filename).name}:{last.lineno} in {last.name}"
        return {"error": f"{type(error).__name__} ({where})", "kind": ""}


def _end_with_parent() -> None:
    with contextlib.suppress(OSError):
        while os.read(sys.stdin.fileno(), 1):
            pass
    # It leads a session of its own: what it started ends with it.
    os.killpg(0, signal.SIGKILL)
