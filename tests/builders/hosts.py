"""Hosts of a small network: each a network namespace on a bridge, its files its own.

The machine itself has the address ``GATEWAY``. Nothing is routed, and the ports of
the bridge are isolated: a host reaches what listens there, and no other host.
"""

from __future__ import annotations

import os
import secrets
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from tests.builders.peers import cannot_run

__all__ = ["GATEWAY", "Hosts", "separate_hosts"]

GATEWAY = "10.213.77.1"
"""Where hosts find what runs outside of them."""


class Hosts:
    """Programs that start a command on a host, by the host's name."""

    def __init__(self, tag: str) -> None:
        self._tag = tag
        self.names: list[str] = []
        self.addresses: list[str] = []

    def add(self, *, hidden: Sequence[Path] = ()) -> list[str]:
        """Add a host; return what stands before a command that is to run there.

        Parameters
        ----------
        hidden : sequence of pathlib.Path
            Folders that are empty for whoever runs there.

        """
        number = len(self.names) + 2
        name, inside = f"{self._tag}{number}", f"{self._tag}i"
        _ip("netns", "add", name)
        self.names.append(name)
        _ip("link", "add", name, "type", "veth", "peer", "name", inside, "netns", name)
        _ip("link", "set", name, "master", self._tag, "up")
        subprocess.run(
            ["bridge", "link", "set", "dev", name, "isolated", "on"], check=True
        )
        self.addresses.append(f"10.213.77.{number}")
        _ip("-n", name, "address", "add", f"{self.addresses[-1]}/24", "dev", inside)
        for device in ("lo", inside):
            _ip("-n", name, "link", "set", device, "up")
        hide = "".join(f"mount -t tmpfs none '{one}' && " for one in hidden)
        return [
            *("ip", "netns", "exec", name, "unshare", "--mount"),
            *("sh", "-c", f'{hide}exec "$@"', "sh"),
        ]


@contextmanager
def separate_hosts() -> Iterator[Hosts]:
    """Make a network for hosts, and remove it with all of them."""
    if os.geteuid() != 0:
        cannot_run("only root may make network namespaces")
    tag = f"dn{secrets.token_hex(3)}"
    hosts = Hosts(tag)
    _ip("link", "add", tag, "type", "bridge")
    try:
        _ip("address", "add", f"{GATEWAY}/24", "dev", tag)
        _ip("link", "set", tag, "up")
        yield hosts
    finally:
        for name in hosts.names:
            _ip("netns", "delete", name)
        _ip("link", "delete", tag)


def _ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True)
