"""Where a request comes from: which machine, and which site's page."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from urllib.parse import urlsplit

from fastapi import Request

from dicom_node.errors import AccessError

__all__ = [
    "COOKIE",
    "address_of",
    "check_cross_site",
    "check_same_site",
    "is_loopback",
    "is_within",
    "names_this_machine",
]

COOKIE = "dicom-node-session"
"""Name of the session's cookie."""

_OWN_HOSTS = frozenset({"localhost", "127.0.0.1", "::1"})
"""What this machine calls itself. A page from elsewhere whose name was made to point
here (DNS rebinding) asks for another host."""


def address_of(request: Request) -> str:
    """Return where a request comes from: the connection, or whom a trusted proxy names.

    `ClientAddress` has put it there; no other header is read.
    """
    return "" if request.client is None else request.client.host


def is_loopback(address: str) -> bool:
    """Return whether an address is of this machine."""
    try:
        found = ipaddress.ip_address(address)
    except ValueError:
        return False
    mapped = getattr(found, "ipv4_mapped", None)
    return bool((mapped or found).is_loopback)


def is_within(
    address: str, networks: Iterable[ipaddress.IPv4Network | ipaddress.IPv6Network]
) -> bool:
    """Return whether an address belongs to one of some networks."""
    try:
        found = ipaddress.ip_address(address)
    except ValueError:
        return False
    found = getattr(found, "ipv4_mapped", None) or found
    return any(found in one for one in networks)


def names_this_machine(request: Request) -> bool:
    """Return whether a request names this machine as its host."""
    try:
        host = urlsplit(f"//{request.headers.get('host', '')}").hostname
    except ValueError:
        return False
    return host in _OWN_HOSTS


def check_same_site(request: Request) -> None:
    """Refuse a change that another site's page makes a browser ask for.

    Raises
    ------
    AccessError
        It comes from there, or a session signs it without the header that only a
        page of this node sets (``status`` 403).

    """
    check_cross_site(request)
    # No form and no page of another site can set this header unasked.
    is_asked = "x-requested-with" in request.headers
    is_signed_by_cookie = "authorization" not in request.headers
    if is_signed_by_cookie and COOKIE in request.cookies and not is_asked:
        raise AccessError("the header X-Requested-With is missing", status=403)


def check_cross_site(request: Request) -> None:
    """Refuse what another site's page asks for.

    Raises
    ------
    AccessError
        A browser says that it comes from there (``status`` 403).

    """
    site = request.headers.get("sec-fetch-site", "same-origin")
    origin = request.headers.get("origin")
    host = request.headers.get("host", "")
    is_foreign = origin is not None and _host_of(origin) != host
    if is_foreign or site not in {"same-origin", "none"}:
        raise AccessError("the request comes from another site", status=403)


def _host_of(origin: str) -> str | None:
    try:
        return urlsplit(origin).netloc
    except ValueError:
        return None
