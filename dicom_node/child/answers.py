"""A child process answers requests: the side of the child of `process`."""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import socket
import sys
import threading
import traceback
from collections.abc import Callable, Sequence
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, TypeAlias

from dicom_node.errors import NodeError
from dicom_node.private_memory import keep_memory_private

__all__ = [
    "CONNECTION_LOST",
    "FILES",
    "Answer",
    "Doors",
    "Handler",
    "NotNowError",
    "Tell",
    "answer_requests",
]

Answer: TypeAlias = dict[str, Any]
"""What JSON can hold."""

Tell: TypeAlias = Callable[[int, int], None]
"""Called with what is done and what there is to do."""

Handler: TypeAlias = Callable[[Answer, Tell], Answer]
"""Answers one request; a `NodeError` that it raises travels to the parent."""

CONNECTION_LOST = (EOFError, OSError)
"""What tells that the other side is gone."""

FILES = b"F"
"""The byte before each request, to which the descriptors are attached (unix(7))."""

_MAX_FILES = 8


class NotNowError(Exception):
    """A request from the side door is answered when the one that it passes is."""


def answer_requests(handle: Handler, *, socket_fd: int) -> None:
    """Answer requests until the parent closes the connection or ends.

    Parameters
    ----------
    handle : Handler
        What answers them.
    socket_fd : int
        The inherited socket, the child's first argument.

    """
    Doors(handle, (socket_fd,)).serve()


class Doors:
    """The child's side: where requests come in, the side door last.

    Parameters
    ----------
    handle : Handler
        What answers them. To one from the side door it may raise `NotNowError` while
        ``is_passing``: it is asked again when the other is answered.
    socket_fds : sequence of int
        The inherited sockets.

    """

    def __init__(self, handle: Handler, socket_fds: Sequence[int]) -> None:
        self._handle = handle
        self._doors = [_Door(one) for one in socket_fds]
        self._kept: tuple[Answer, list[int]] | None = None
        self.is_passing = False
        """Whether a request is being answered in the midst of another"""

    def serve(self) -> None:
        """Answer requests until the parent closes the doors or ends."""
        keep_memory_private()
        threading.Thread(target=_end_with_parent, daemon=True).start()
        with contextlib.suppress(*CONNECTION_LOST):
            while True:
                if self._kept is not None:
                    taken, self._kept = self._kept, None
                    self._answer_at(self._doors[-1], *taken)
                    continue
                ready, _, _ = select.select(self._doors, (), ())
                door = ready[-1]  # what may pass is small
                self._answer_at(door, *door.take())

    def let_pass(self) -> None:
        """Answer what waits at the side door, one request; the handler calls this."""
        main, side = self._doors[0], self._doors[-1]
        if side is main or self.is_passing or self._kept is not None:
            return
        if not select.select((side,), (), (), 0)[0]:
            return
        main.send({"turn": False})
        self.is_passing = True
        try:
            self._answer_at(side, *side.take())
        finally:
            self.is_passing = False
        main.send({"turn": True})

    def _answer_at(self, door: _Door, request: Answer, files: list[int]) -> None:
        def tell(done: int, total: int) -> None:
            door.send({"progress": [done, total]})

        if len(self._doors) > 1:
            door.send({"turn": True})
        try:
            paths = [f"/proc/self/fd/{file}" for file in files]
            answer = _answer(self._handle, {**request, "files": paths}, tell)
        except NotNowError:
            self._kept = (request, files)
            door.send({"turn": False})
            return
        except BaseException:
            _close(files)
            raise
        _close(files)
        door.send(answer)


class _Door:
    """A socket that requests with their files come through."""

    def __init__(self, socket_fd: int) -> None:
        self._connection = Connection(socket_fd)
        self._socket = socket.socket(fileno=os.dup(socket_fd))

    def fileno(self) -> int:
        """Return what `select` looks at."""
        return self._socket.fileno()

    def send(self, message: Answer) -> None:
        """Send a message to the parent."""
        self._connection.send_bytes(json.dumps(message).encode())

    def take(self) -> tuple[Answer, list[int]]:
        """Take a request and its files, which are the taker's to close."""
        byte, files, _, _ = socket.recv_fds(self._socket, 1, _MAX_FILES)
        if not byte:
            raise EOFError
        return json.loads(self._connection.recv_bytes()), files


def _close(files: Sequence[int]) -> None:
    for file in files:
        os.close(file)


def _answer(handle: Handler, request: Answer, tell: Tell) -> Answer:
    try:
        return {"result": handle(request, tell)}
    except NodeError as error:
        return {"error": str(error), "kind": type(error).__name__}
    except (BrokenPipeError, NotNowError):
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
