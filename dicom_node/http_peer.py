"""A client for a peer's web service: who we are, how long it may take."""

from __future__ import annotations

import base64
from pathlib import Path

import httpx

from dicom_node import __version__
from dicom_node.errors import SettingsError

__all__ = ["http_client"]

_CONNECT_S = 10.0


def http_client(
    url: str, *, token_file: Path | None = None, timeout_s: float = 120.0
) -> httpx.Client:
    """Make a client whose paths are relative to a service root.

    Redirects are not followed: they could carry patient data and token elsewhere.
    Neither are the environment's proxies or ``.netrc`` used, which could as well;
    its certificates hold (``SSL_CERT_FILE``).

    Parameters
    ----------
    url : str
        The service root.
    token_file : pathlib.Path, optional
        A file that holds a bearer token, or ``user:password`` for Basic.
    timeout_s : float
        How long the peer may be silent, in seconds.

    Raises
    ------
    SettingsError
        The token cannot be read.

    """
    headers = {"User-Agent": f"dicom-node/{__version__}"}
    if token_file is not None:
        headers["Authorization"] = _authorization(token_file)
    return httpx.Client(
        base_url=url.rstrip("/") + "/",
        headers=headers,
        timeout=httpx.Timeout(timeout_s, connect=_CONNECT_S),
        follow_redirects=False,
        verify=httpx.create_ssl_context(),
        trust_env=False,
    )


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
