"""A client for a peer's web service: who we are, how long it may take."""

from __future__ import annotations

import base64
from collections.abc import Callable
from pathlib import Path

import httpx

from dicom_node import __version__
from dicom_node.config import PeerTls
from dicom_node.errors import SettingsError
from dicom_node.tls import client_context

__all__ = ["http_client"]

_CONNECT_S = 10.0


def http_client(
    url: str,
    *,
    token_file: Path | None = None,
    tls: PeerTls | None = None,
    timeout_s: float = 120.0,
) -> httpx.Client:
    """Make a client whose paths are relative to a service root.

    Redirects are not followed: they could carry patient data and token elsewhere.
    Neither are the environment's proxies or ``.netrc`` used, which could as well;
    its certificates hold (``SSL_CERT_FILE``) unless `tls` names others.

    Parameters
    ----------
    url : str
        The service root.
    token_file : pathlib.Path, optional
        A file that holds a bearer token, or ``user:password`` for Basic.
    tls : PeerTls, optional
        Whose certificate an ``https`` address must show, and which the node shows.
    timeout_s : float
        How long the peer may be silent, in seconds.

    Raises
    ------
    SettingsError
        The token or a certificate cannot be read.

    """
    headers = {"User-Agent": f"dicom-node/{__version__}"}
    if token_file is not None:
        headers["Authorization"] = _authorization(token_file)
    return httpx.Client(
        base_url=url.rstrip("/") + "/",
        headers=headers,
        timeout=httpx.Timeout(timeout_s, connect=_CONNECT_S),
        follow_redirects=False,
        verify=client_context(PeerTls() if tls is None else tls),
        trust_env=False,
        event_hooks={"request": [_name_of(tls)]},
    )


def _name_of(tls: PeerTls | None) -> Callable[[httpx.Request], None]:
    """Return what asks for the certificate of another name than that of the URL."""

    def name(request: httpx.Request) -> None:
        if tls is not None and tls.server_name is not None:
            request.extensions["sni_hostname"] = tls.server_name

    return name


def _authorization(path: Path) -> str:
    try:
        token = path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        msg = f"token_file {path}: it cannot be read"
        raise SettingsError(msg) from error
    if not token or not token.isprintable():
        msg = f"token_file {path}: it holds no token"
        raise SettingsError(msg)
    if ":" in token:
        return f"Basic {base64.b64encode(token.encode()).decode()}"
    return f"Bearer {token}"
