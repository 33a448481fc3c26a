"""A child process that answers one request at a time, within limits.

Decoders of compressed pixels and the model run in such processes: a hostile file
or a lost device ends the child and never the node. The parent side is
`ChildProcess`, the child side `answer_requests`. Messages are JSON over a socket
pair; arrays travel in files.
"""

from __future__ import annotations

import contextlib
import json
import os
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

__all__ = ["Answer", "ChildProcess", "Handler", "Tell", "answer_requests"]

Answer: TypeAlias = dict[str, Any]
"""What JSON can hold."""

Tell: TypeAlias = Callable[[int, int], None]
"""Called with what is done and what there is to do."""

Handler: TypeAlias = Callable[[Answer, Tell], Answer]
"""Answers one request; a `NodeError` that it raises travels to the parent."""

_STOP_S = 2.0
"""How long a child may take to leave by itself."""

_CONNECTION_LOST = (EOFError, OSError)


class ChildProcess:
    """The parent's side of one child; for one thread, but for `interrupt`.

    Parameters
    ----------
    module : str
        Dotted name of the module that the child runs.
    arguments : sequence of str
        Its arguments after the socket's number.
    environment : mapping, optional
        Variables on top of the parent's.

    """

    def __init__(
        self,
        module: str,
        arguments: Sequence[str] = (),
        *,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self._module = module
        self._arguments = tuple(arguments)
        self._environment = dict(environment or {})
        self._process: subprocess.Popen[bytes] | None = None
        self._connection: Connection | None = None

    @property
    def pid(self) -> int | None:
        """The running child's process id; None: there is none."""
        return self._process.pid if self.is_alive and self._process else None

    @property
    def is_alive(self) -> bool:
        """Whether the child runs."""
        return self._process is not None and self._process.poll() is None

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
            # -P: the working directory is no place to import from.
            self._process = subprocess.Popen(
                [
                    sys.executable,
                    "-P",
                    "-m",
                    self._module,
                    str(theirs.fileno()),
                    *self._arguments,
                ],
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                pass_fds=(theirs.fileno(),),
                start_new_session=True,
                env={**os.environ, **self._environment},
            )
        self._connection = Connection(ours.detach())

    def ask(
        self,
        request: Answer,
        *,
        timeout_s: float,
        tell: Tell | None = None,
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
        connection = self._connection
        assert connection is not None  # noqa: S101 - start() has just opened it
        deadline = time.monotonic() + timeout_s
        try:
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
        self.kill()
        msg = f"no answer within {timeout_s:g} s"
        raise ProcessLostError(msg, timed_out=True)

    def interrupt(self) -> None:
        """Kill the child while another thread waits in `ask`, which then raises."""
        process = self._process
        if process is not None:
            process.kill()

    def stop(self) -> None:
        """End the child: first by closing its door, then by force."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None
        if self._process is not None:
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(_STOP_S)
        self.kill()

    def kill(self) -> None:
        """End the child at once."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None
        process, self._process = self._process, None
        if process is None:
            return
        process.kill()
        if process.stdin is not None:
            with contextlib.suppress(OSError):
                process.stdin.close()
        process.wait()

    def _bury(self) -> str:
        process = self._process
        code = None
        if process is not None:
            with contextlib.suppress(subprocess.TimeoutExpired):
                code = process.wait(_STOP_S)
        self.kill()
        if code is not None and code < 0:
            return f"the process was ended by {signal.Signals(-code).name}"
        return f"the process ended with exit code {code}"


def answer_requests(handle: Handler, *, socket_fd: int) -> None:
    """Answer requests until the parent closes the connection or ends.

    Parameters
    ----------
    handle : Handler
        What answers them.
    socket_fd : int
        The inherited socket, the child's first argument.

    """
    threading.Thread(target=_end_with_parent, daemon=True).start()
    connection = Connection(socket_fd)

    def send(message: Answer) -> None:
        connection.send_bytes(json.dumps(message).encode())

    def tell(done: int, total: int) -> None:
        send({"progress": [done, total]})

    with contextlib.suppress(*_CONNECTION_LOST):
        while True:
            request = json.loads(connection.recv_bytes())
            send(_answer(handle, request, tell))


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
    os._exit(1)
