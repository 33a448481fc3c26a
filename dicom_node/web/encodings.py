"""Which content coding a client takes (RFC 9110 12.5.3)."""

from __future__ import annotations

from starlette.requests import Request

__all__ = ["takes_gzip"]


def takes_gzip(request: Request) -> bool:
    """Return whether an answer may be packed with gzip: it is named, and not with 0."""
    qualities = {}
    for one in ",".join(request.headers.getlist("accept-encoding")).split(","):
        name, _, parameters = one.partition(";")
        qualities[name.strip().lower()] = _quality(parameters)
    return qualities.get("gzip", qualities.get("x-gzip", qualities.get("*", 0.0))) > 0


def _quality(parameters: str) -> float:
    name, _, value = parameters.partition("=")
    if name.strip().lower() != "q":
        return 1.0
    try:
        return float(value)
    except ValueError:
        return 0.0
