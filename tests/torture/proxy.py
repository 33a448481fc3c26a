"""A TCP proxy that delays, cuts, trickles and resets, connection by connection."""

from __future__ import annotations

import socket
import struct
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from types import TracebackType

__all__ = ["Fault", "FaultProxy", "close_by_reset"]

_READ_BYTES = 1 << 16
_STEP_S = 0.05
_CONNECT_S = 10.0


@dataclass(frozen=True, slots=True)
class Fault:
    """What is done to one connection; without anything it passes unharmed.

    Attributes
    ----------
    is_refused : bool
        It is reset before the target hears of it.
    delay_s : float
        Every piece, in both directions, waits this long.
    bytes_per_s : float or None
        No more passes towards the target.
    cut_after : int or None
        It ends after so many bytes towards the target; None: never.
    answer_cut_after : int or None
        It ends after so many bytes back from the target; None: never.
    is_swallowing : bool
        At the cut nothing is closed: what comes after it is thrown away, as by a
        cable that is pulled, until the proxy stops.
    is_reset : bool
        The cut is a reset (SO_LINGER 0) on both sides, not an orderly close.
    is_half_close : bool
        The cut ends the direction to the target only; answers still pass.

    """

    is_refused: bool = False
    delay_s: float = 0.0
    bytes_per_s: float | None = None
    cut_after: int | None = None
    answer_cut_after: int | None = None
    is_swallowing: bool = False
    is_reset: bool = False
    is_half_close: bool = False


class FaultProxy:
    """Listens on a free loopback port and passes bytes to a target.

    Parameters
    ----------
    target_port : int
        Loopback port of the target.
    plan : callable
        Returns the fault of a connection by its number, from 0.

    """

    def __init__(
        self, target_port: int, plan: Callable[[int], Fault] = lambda _: Fault()
    ) -> None:
        self.plan = plan
        """May be replaced at any time; open connections keep their fault."""
        self.connections = 0
        """How many there were."""
        self.bytes_forward = 0
        """How many were passed to the target."""
        self.cuts = 0
        """How many connections were cut."""
        self.swallowed = 0
        """How many of these stayed open and swallowed what came after."""
        self.most_unharmed = 0
        """The most bytes that one unharmed connection passed to the target."""
        self._target_port = target_port
        self._is_stopping = threading.Event()
        self._lock = threading.Lock()
        self._open: set[socket.socket] = set()
        self._threads: list[threading.Thread] = []
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=256)
        self.port: int = self._listener.getsockname()[1]
        self._begin(self._accept)

    def __enter__(self) -> FaultProxy:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    def stop(self) -> None:
        """End every connection and listen no more."""
        self._is_stopping.set()
        _shut(self._listener, socket.SHUT_RDWR)
        with self._lock:
            left = list(self._open)
        for one in left:
            _shut(one, socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(_CONNECT_S)
        self._listener.close()

    def _begin(self, run: Callable[..., None], *arguments: object) -> None:
        thread = threading.Thread(target=run, args=arguments, daemon=True)
        with self._lock:
            self._threads = [one for one in self._threads if one.is_alive()]
            self._threads.append(thread)
            thread.start()

    def _accept(self) -> None:
        while not self._is_stopping.is_set():
            try:
                caller, _ = self._listener.accept()
            except OSError:
                return
            fault = self.plan(self.connections)
            self.connections += 1
            if fault.is_refused:
                close_by_reset(caller)
            else:
                self._begin(self._pass_both, caller, fault)

    def _pass_both(self, caller: socket.socket, fault: Fault) -> None:
        try:
            target = socket.create_connection(
                ("127.0.0.1", self._target_port), _CONNECT_S
            )
        except OSError:
            close_by_reset(caller)
            return
        target.settimeout(None)
        pair = _Pair(caller, target, fault, self._is_stopping)
        pair.on_cut = lambda: self._count_cut(fault)
        with self._lock:
            self._open |= {caller, target}
        back = threading.Thread(target=pair.pass_back, daemon=True)
        back.start()
        pair.pass_forward(self._count)
        back.join()
        with self._lock:
            self._open -= {caller, target}
            if fault == Fault():
                self.most_unharmed = max(self.most_unharmed, pair.passed_forward)
        pair.close()

    def _count(self, count: int) -> None:
        with self._lock:
            self.bytes_forward += count

    def _count_cut(self, fault: Fault) -> None:
        with self._lock:
            self.cuts += 1
            self.swallowed += fault.is_swallowing


class _Pair:
    """The two sockets of a connection and what is done to them."""

    def __init__(
        self,
        caller: socket.socket,
        target: socket.socket,
        fault: Fault,
        is_stopping: threading.Event,
    ) -> None:
        self._caller, self._target = caller, target
        self._fault = fault
        self._is_stopping = is_stopping
        self._is_cut = threading.Event()
        self.on_cut: Callable[[], None] = lambda: None
        """Called at the cut."""
        self.passed_forward = 0

    def pass_forward(self, count: Callable[[int], None]) -> None:
        """Pass bytes to the target until the end or the cut."""
        self._pass(self._caller, self._target, self._fault.cut_after, count)

    def pass_back(self) -> None:
        """Pass the target's answers until the end or the cut."""
        self._pass(
            self._target, self._caller, self._fault.answer_cut_after, lambda _: None
        )

    def close(self) -> None:
        """Close both, as the fault says."""
        if self._is_cut.is_set() and self._fault.is_reset:
            close_by_reset(self._caller)
            close_by_reset(self._target)
        self._caller.close()
        self._target.close()

    def _pass(
        self,
        source: socket.socket,
        sink: socket.socket,
        most: int | None,
        count: Callable[[int], None],
    ) -> None:
        passed = 0
        try:
            while data := source.recv(self._piece(source)):
                time.sleep(self._fault.delay_s)
                is_last = most is not None and passed + len(data) >= most
                data = data[: most - passed] if most is not None else data
                if not self._is_cut.is_set() or not self._fault.is_swallowing:
                    self._send(sink, data, is_forward=source is self._caller)
                    count(len(data))
                passed += len(data)
                if source is self._caller:
                    self.passed_forward = passed
                if is_last:
                    self._cut(source)
                    return
        except OSError:
            # One side is gone; the other must not wait for it.
            _shut(source, socket.SHUT_RDWR)
        if not (self._is_cut.is_set() and self._fault.is_reset):
            _shut(sink, socket.SHUT_WR)

    def _piece(self, source: socket.socket) -> int:
        rate = self._fault.bytes_per_s
        if rate is None or source is not self._caller:
            return _READ_BYTES
        return max(1, int(rate * _STEP_S))

    def _send(self, sink: socket.socket, data: bytes, *, is_forward: bool) -> None:
        sink.sendall(data)
        rate = self._fault.bytes_per_s
        if rate is not None and is_forward:
            self._is_stopping.wait(len(data) / rate)

    def _cut(self, source: socket.socket) -> None:
        self._is_cut.set()
        self.on_cut()
        if self._fault.is_swallowing:
            while source.recv(_READ_BYTES):
                pass
        elif self._fault.is_half_close:
            _shut(self._target, socket.SHUT_WR)
        else:
            # Shutting more than the reading side would send an orderly end first.
            how = socket.SHUT_RD if self._fault.is_reset else socket.SHUT_RDWR
            _shut(self._caller, how)
            _shut(self._target, how)


def close_by_reset(one: socket.socket) -> None:
    """Close a socket by a reset."""
    with suppress(OSError):  # It may be gone already.
        one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    one.close()


def _shut(one: socket.socket, how: int) -> None:
    try:
        one.shutdown(how)
    except OSError:
        return  # It is gone already.
