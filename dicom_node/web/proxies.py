"""Who stands behind a proxy: only a proxy that the settings name is believed.

Each proxy appends whom it was asked by to X-Forwarded-For. The list is read from its
end, as long as it comes from proxies that are trusted; what a stranger wrote before
counts for nothing.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

__all__ = ["ClientAddress"]


class ClientAddress:
    """Puts the client's address where the proxy's would stand.

    Parameters
    ----------
    app : ASGIApp
        What answers.
    trusted : sequence of str
        Addresses and networks of proxies.

    """

    def __init__(self, app: ASGIApp, *, trusted: Sequence[str]) -> None:
        self._app = app
        self._trusted = [ipaddress.ip_network(one, strict=False) for one in trusted]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        if scope["type"] == "http" and self._trusted and scope["client"] is not None:
            host, port = scope["client"]
            said = ",".join(Headers(scope=scope).getlist("x-forwarded-for"))
            found = self._client(host, said)
            if found != host:
                # Nobody knows the client's port.
                scope = {**scope, "client": (found, 0 if found else port)}
        await self._app(scope, receive, send)

    def _client(self, host: str, said: str) -> str:
        """Return the last hop that is no proxy of ours; empty: it cannot be read."""
        hops = [one.strip() for one in said.split(",") if one.strip()]
        while hops and self._is_trusted(host):
            hop = _address(hops.pop())
            if hop is None:
                return ""
            host = hop
        return host

    def _is_trusted(self, host: str) -> bool:
        found = _parse(host)
        return found is not None and any(found in one for one in self._trusted)


def _address(hop: str) -> str | None:
    """Return a hop's address; some proxies write a port behind it."""
    if hop.startswith("["):
        hop = hop[1:].partition("]")[0]
    elif hop.count(":") == 1:
        hop = hop.partition(":")[0]
    found = _parse(hop)
    return None if found is None else str(found)


def _parse(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        found = ipaddress.ip_address(text)
    except ValueError:
        return None
    return getattr(found, "ipv4_mapped", None) or found
