"""What the machine can do: bytes from TCP into a file, synced, and one byte back.

``python -m tests.bench.ceiling PORT FOLDER [--hash]``. No DICOM is read: each object is
its length in eight bytes and then its bytes. No receiver that makes each instance
durable before it answers can be faster than this program in C, and little than this.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import socket
import struct
import threading
from pathlib import Path

__all__ = ["LENGTH"]

LENGTH = struct.Struct(">Q")
"""Before each object: how many bytes it has."""

_BUFFER_BYTES = 1 << 18


def main() -> None:
    """Serve until ended."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("port", type=int)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--hash", action="store_true")
    asked = parser.parse_args()
    with socket.create_server(("127.0.0.1", asked.port)) as listener:
        while True:
            connection, _ = listener.accept()
            threading.Thread(
                target=_serve,
                args=(connection, asked.folder),
                kwargs={"hashes": asked.hash},
                daemon=True,
            ).start()


def _serve(connection: socket.socket, folder: Path, *, hashes: bool) -> None:
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    view = memoryview(bytearray(_BUFFER_BYTES))
    path = folder / f"{connection.fileno()}-{threading.get_ident()}"
    number = 0
    while connection.recv_into(view[: LENGTH.size], 0, socket.MSG_WAITALL):
        (left,) = LENGTH.unpack(view[: LENGTH.size])
        number += 1
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL
        file = os.open(f"{path}-{number}.dcm", flags, 0o600)
        digest = hashlib.sha256()
        while left and (count := connection.recv_into(view, min(left, len(view)))):
            os.write(file, view[:count])
            if hashes:
                digest.update(view[:count])
            left -= count
        os.fsync(file)
        os.close(file)
        connection.sendall(b"\x01")


if __name__ == "__main__":
    main()
