"""The proxy does to a connection what it was told, and nothing else."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.builders.process import wait_until
from tests.torture.proxy import Fault, FaultProxy


class _Target:
    """Takes one connection, keeps what came, and answers at its end or at once."""

    def __init__(self, answer: bytes) -> None:
        self.came = b""
        self.end = "nothing"
        self._answer = answer
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()

    def close(self) -> None:
        self._listener.close()

    def _run(self) -> None:
        try:
            one, _ = self._listener.accept()
        except OSError:
            return
        with one:
            try:
                while data := one.recv(1000):
                    self.came += data
                self.end = "closed"
                one.sendall(self._answer)
            except ConnectionError:
                self.end = "reset"


@contextmanager
def _through(
    fault: Fault, *, answer: bytes = b"thank you"
) -> Iterator[tuple[_Target, socket.socket]]:
    target = _Target(answer)
    try:
        with (
            FaultProxy(target.port, lambda _: fault) as proxy,
            socket.create_connection(("127.0.0.1", proxy.port), 5) as one,
        ):
            yield target, one
    finally:
        target.close()


def _read_all(one: socket.socket) -> bytes:
    data = b""
    while piece := one.recv(1000):
        data += piece
    return data


def test_without_a_fault_everything_passes_both_ways() -> None:
    with _through(Fault()) as (target, one):
        one.sendall(b"x" * 100_000)
        one.shutdown(socket.SHUT_WR)

        assert _read_all(one) == b"thank you"
        assert target.came == b"x" * 100_000


def test_a_refused_connection_is_reset() -> None:
    # The reset may come before the line is in use.
    with pytest.raises(ConnectionError), _through(Fault(is_refused=True)) as (_, one):
        one.recv(1)


@pytest.mark.parametrize(
    ("fault", "end"),
    [
        (Fault(cut_after=10), "closed"),
        (Fault(cut_after=10, is_reset=True), "reset"),
        (Fault(cut_after=10, is_half_close=True), "closed"),
    ],
)
def test_a_cut_lets_exactly_so_many_bytes_pass(fault: Fault, end: str) -> None:
    with _through(fault) as (target, one):
        one.sendall(b"x" * 25)
        target.thread.join(5)

        assert (target.came, target.end) == (b"x" * 10, end)
        if fault.is_half_close:
            assert _read_all(one) == b"thank you"


def test_answers_can_be_cut_too() -> None:
    with _through(Fault(answer_cut_after=5)) as (_, one):
        one.shutdown(socket.SHUT_WR)

        assert _read_all(one) == b"thank"


def test_a_pulled_cable_closes_nothing() -> None:
    with _through(Fault(cut_after=10, is_swallowing=True)) as (target, one):
        one.sendall(b"x" * 25)
        one.settimeout(0.3)

        with pytest.raises(TimeoutError):
            one.recv(1)
        assert (target.came, target.end) == (b"x" * 10, "nothing")


def test_a_cable_counts_as_pulled_when_it_swallows_and_not_before() -> None:
    target = _Target(b"")
    fault = Fault(cut_after=10, is_swallowing=True)
    with (
        FaultProxy(target.port, lambda _: fault) as proxy,
        socket.create_connection(("127.0.0.1", proxy.port), 5) as one,
    ):
        one.sendall(b"x" * 9)
        wait_until(lambda: len(target.came) == 9, timeout_s=10, what="nine bytes")
        before = proxy.swallowed
        one.sendall(b"x" * 9)
        wait_until(lambda: proxy.cuts == 1, timeout_s=10, what="the cut")

        assert (before, proxy.swallowed) == (0, 1)
    target.close()


def test_a_slow_line_is_slow_and_a_delayed_one_late() -> None:
    fault = Fault(bytes_per_s=100, delay_s=0.01)
    with _through(fault) as (target, one):
        began = time.monotonic()
        one.sendall(b"x" * 30)
        one.shutdown(socket.SHUT_WR)

        assert _read_all(one) == b"thank you"
        assert time.monotonic() - began >= 0.29
        assert target.came == b"x" * 30
