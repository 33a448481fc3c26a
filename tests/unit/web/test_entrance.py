"""Who has connected is let in in turns, on real loopback sockets."""

from __future__ import annotations

import asyncio
import errno
import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import pytest

from dicom_node.web.entrance import Entrance

FLOOD, WARD = "127.0.0.1", "127.0.0.2"


class _Noting(asyncio.Protocol):
    """Notes where a connection comes from, and keeps it."""

    def __init__(self, seen: list[str]) -> None:
        self._seen = seen
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._seen.append(transport.get_extra_info("peername")[0])


@contextmanager
def _connected(*sources: str) -> Iterator[tuple[socket.socket, list[socket.socket]]]:
    """Connect in this order before anybody is taken."""
    with ExitStack() as stack:
        listener = stack.enter_context(
            socket.create_server((FLOOD, 0), backlog=len(sources) + 1)
        )
        yield (
            listener,
            [
                stack.enter_context(
                    socket.create_connection(listener.getsockname(), 10, (source, 0))
                )
                for source in sources
            ],
        )


def _let_in(
    listener: socket.socket, until: Callable[[list[str]], bool], *, most: int = 1000
) -> list[str]:
    seen: list[str] = []

    async def serve() -> None:
        loop = asyncio.get_running_loop()
        entrance = Entrance(
            listener, make_protocol=lambda: _Noting(seen), most=most, timeout_s=10
        )
        entrance.open()
        end = loop.time() + 10
        while not until(seen) and loop.time() < end:
            await asyncio.sleep(0.01)
        entrance.close()
        for transport in list(loop._transports.values()):  # type: ignore[attr-defined]
            transport.abort()
        await asyncio.sleep(0)

    asyncio.run(serve())
    return seen


def test_who_connects_after_a_flood_does_not_wait_for_all_of_it() -> None:
    with _connected(*200 * [FLOOD], WARD) as (listener, _):
        seen = _let_in(listener, lambda seen: len(seen) == 201)

    assert len(seen) == 201
    assert seen.index(WARD) < 60


def test_of_those_who_wait_only_the_flood_is_turned_away() -> None:
    with _connected(WARD, *200 * [FLOOD], WARD) as (listener, many):
        seen = _let_in(listener, lambda seen: seen.count(WARD) == 2, most=16)
        gone = 0
        for one in many[1:-1]:
            try:
                gone += not one.recv(1)
            except ConnectionError:
                gone += 1

    assert seen.count(WARD) == 2
    assert gone == 200
    assert seen.count(FLOOD) < 100


def test_when_the_system_has_no_place_they_are_taken_later(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("dicom_node.web.entrance._RETRY_S", 0.05)
    failures = iter([OSError(errno.EMFILE, "Too many open files")])
    accept = socket.socket.accept

    def fail_once(self: socket.socket) -> tuple[socket.socket, Any]:
        for failure in failures:
            raise failure
        return accept(self)

    monkeypatch.setattr(socket.socket, "accept", fail_once)
    with _connected(WARD, WARD) as (listener, _):
        seen = _let_in(listener, lambda seen: len(seen) == 2)

    assert seen == [WARD, WARD]


def test_who_was_not_let_in_when_it_closes_is_ended() -> None:
    with _connected(*100 * [FLOOD]) as (listener, many):
        seen = _let_in(listener, bool)
        listener.close()
        ends = 0
        for one in many:
            try:
                ends += not one.recv(1)
            except ConnectionError:
                ends += 1

    assert 0 < len(seen) <= 100
    assert ends == 100
