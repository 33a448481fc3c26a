"""A door stays open whatever becomes of one that came through it."""

from __future__ import annotations

import socket

from structlog.testing import capture_logs

from dicom_node.scp.doors import Door
from dicom_node.tls import ServerTls


def test_one_connection_that_cannot_be_taken_does_not_close_the_door() -> None:
    taken: list[str] = []

    def take(connection: socket.socket, address: str, _: ServerTls | None) -> None:
        taken.append(address)
        if len(taken) == 1:
            raise MemoryError
        connection.close()

    door = Door("127.0.0.1", 0, on_connection=take)
    with capture_logs() as logs:
        door.open()
        try:
            for _ in range(2):
                with socket.create_connection(("127.0.0.1", door.port), 10) as one:
                    assert one.recv(1) == b""
            assert door.is_open
        finally:
            door.close()

    assert len(taken) == 2
    assert "connection_not_taken" in [one["event"] for one in logs]
    assert not door.is_open
