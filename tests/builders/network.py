"""A network namespace with nothing but loopback, for peers that listen everywhere.

Debian's Orthanc listens on every interface whatever it is told. Inside the
namespace every interface is loopback; ports are free, and nothing that runs there
can reach another machine.
"""

from __future__ import annotations

import ctypes
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

__all__ = ["loopback_network"]

_CLONE_NEWNET = 0x40000000
_OWN_NAMESPACE = Path("/proc/thread-self/ns/net")


@contextmanager
def loopback_network() -> Iterator[None]:
    """Move this thread, and what it starts, into a network of its own.

    Sockets, threads and processes made by the calling thread inside the ``with``
    block live in the new namespace; it goes away with the last of them.

    Raises
    ------
    PermissionError
        The kernel does not let this user make a network namespace.

    """
    libc = ctypes.CDLL(None, use_errno=True)
    before = os.open(_OWN_NAMESPACE, os.O_RDONLY)
    try:
        _check(libc.unshare(_CLONE_NEWNET))
        try:
            subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
            yield
        finally:
            _check(libc.setns(before, _CLONE_NEWNET))
    finally:
        os.close(before)


def _check(result: int) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
